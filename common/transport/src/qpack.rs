//! QPACK (RFC 9204) without a dynamic table: each field section is read and written by itself.
//!
//! We announce a table of no bytes, so a peer has nothing to refer to but the static table, and no stream waits for another
//! one. What that costs is the repetition of long values; what it saves is memory that peers fill, and their control over
//! the order in which we read.

mod decode;
mod encode;
mod huffman;
mod integer;
mod static_table;

pub(crate) use self::decode::decode;
pub(crate) use self::encode::encode;

use thiserror::Error;

/// Why a section is not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum SectionError {
    /// It is no section, or refers to the dynamic table, which is empty (RFC 9204 §2.2.3).
    #[error("the field section cannot be decoded")]
    Broken,
    /// Its fields are longer than allowed.
    #[error("the field section is too large")]
    TooLarge,
}

/// What a field counts in addition to its name and value (RFC 9114 §4.2.2).
const FIELD_OVERHEAD: usize = 32;

//! Who wrote what, and when.

use serde::Serialize;

/// The place of an entry in the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JournalStamp {
    /// Its revision, from 1.
    pub revision: u64,
    /// When; milliseconds since the Unix epoch. Never before the entry before it.
    pub time_ms: u64,
    /// Who.
    pub actor: String,
}

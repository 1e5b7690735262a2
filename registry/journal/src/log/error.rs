//! Errors of the log, its proofs and its notes.

use thiserror::Error;

use crate::JournalError;

/// Why the log cannot respond, or a proof or note fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// A size that the tree does not have.
    #[error("the log has {size} entries, fewer than {asked}; catch up, or ask for fewer")]
    Size {
        /// The requested size.
        asked: u64,
        /// The size of the tree.
        size: u64,
    },
    /// An index that is not in a tree of this size.
    #[error("there is no entry {index} in a tree of {size}")]
    Index {
        /// The requested index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// A proof does not lead to the root.
    #[error("the proof does not hold: {0}; do not trust this log's answer")]
    Proof(&'static str),
    /// A note is not a checkpoint signed by the key.
    #[error("the checkpoint does not hold: {0}")]
    Note(&'static str),
    /// A key cannot be used.
    #[error("the log key cannot be used: {0}")]
    Key(&'static str),
    /// A path does not name a tile.
    #[error(
        "{0:?} is not the path of a tile: tile/LEVEL/INDEX[.p/WIDTH] or tile/entries/INDEX[.p/WIDTH] (C2SP tlog-tiles)"
    )]
    Path(String),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

//! What can go wrong with the log, its proofs and its notes.

use thiserror::Error;

use crate::JournalError;

/// Why the log has no answer, or a proof or note does not hold.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// A size that the tree does not have.
    #[error("size {asked} is above {size}, which is all there is; catch up, or ask for less")]
    Size {
        /// What was asked for.
        asked: u64,
        /// What there is.
        size: u64,
    },
    /// An index that is not in a tree of this size.
    #[error("there is no entry {index} in a tree of {size}")]
    Index {
        /// What was asked for.
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
    /// A path names no tile.
    #[error(
        "{0:?} is no path of a tile: tile/LEVEL/INDEX[.p/WIDTH] or tile/entries/INDEX[.p/WIDTH] (C2SP tlog-tiles)"
    )]
    Path(String),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

//! Where a journal ends.

use serde::{Deserialize, Serialize};

use crate::Hash;

/// The end of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Head {
    /// The last entry's revision; 0 when the journal is empty.
    pub revision: u64,
    /// The last entry's hash; [`Hash::ZERO`] when the journal is empty.
    pub hash: Hash,
}

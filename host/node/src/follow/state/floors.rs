//! The highest versions of assignments seen, in the folder.

use std::io;

use tamis_trust::VersionFloors;

use super::{MAX_BYTES, StateFolder};
use crate::NodeError;
use crate::documents::octets;

const FLOORS: &str = "seen.json";

/// What is wrong with the file, and the way out. It is written whole or not at all, so somebody else wrote it.
fn damaged(is_empty: bool, error: &serde_json::Error) -> String {
    let what = if is_empty { "it is empty".to_owned() } else { format!("it is damaged: {error}") };
    format!(
        "{what}. It has the highest versions that the registry assigned, without which an older assignment could be brought back: put it back from a copy; or, where the registry and the way to it are trusted, remove it, and the versions that come next are the lowest from then on"
    )
}

impl StateFolder {
    /// The highest versions seen.
    ///
    /// # Errors
    /// A file that cannot be read is an error: treated as missing, it would let an attacker bring back
    /// older assignments.
    pub(crate) fn floors(&self) -> Result<VersionFloors, NodeError> {
        let path = self.root.join(FLOORS);
        if !path.exists() {
            return Ok(VersionFloors::default());
        }
        let read = octets(&path, MAX_BYTES).map_err(io::Error::other);
        let floors = read.and_then(|bytes| {
            let read = serde_json::from_slice(&bytes);
            read.map_err(|error| io::Error::other(damaged(bytes.is_empty(), &error)))
        });
        floors.map_err(|source| NodeError::State { path, source })
    }

    pub(crate) fn keep_floors(&self, floors: &VersionFloors) -> io::Result<()> {
        self.write(&self.root.join(FLOORS), &serde_json::to_vec(floors)?)
    }
}

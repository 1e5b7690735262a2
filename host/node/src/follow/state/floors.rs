//! The highest versions of assignments seen, in the folder.

use std::io;

use tamis_trust::VersionFloors;

use super::{MAX_BYTES, StateFolder};
use crate::NodeError;
use crate::documents::octets;

const FLOORS: &str = "seen.json";

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
        let floors = read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        floors.map_err(|source| NodeError::State { path, source })
    }

    pub(crate) fn keep_floors(&self, floors: &VersionFloors) -> io::Result<()> {
        self.write(&self.root.join(FLOORS), &serde_json::to_vec(floors)?)
    }
}

//! The folder from which a following proxy starts. Nothing in it is trusted: everything is verified when it
//! is read.

mod artifacts;
mod floors;
mod plan;
mod tidy;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::NodeError;
use crate::store::ArtifactStore;

/// The folder of artifacts in it.
const STORE: &str = "store";
const TRIAL: &str = "trial";
/// Largest file in bytes that is read whole.
const MAX_BYTES: u64 = 1 << 30;

/// `parts.json` (the last plan), `seen.json` (the highest versions seen), `heard` (when the director's last
/// message arrived, in seconds since the Unix epoch), and `store/` (artifacts, as a proxy reads them).
#[derive(Debug, Clone)]
pub(crate) struct StateFolder {
    root: PathBuf,
}

impl StateFolder {
    pub(crate) fn open(root: &Path) -> Result<Self, NodeError> {
        let store = root.join(STORE);
        let failed = |source| NodeError::State { path: store.clone(), source };
        tamis_private::folder(root).map_err(failed)?;
        tamis_private::folder(&store).map_err(failed)?;
        tamis_private::narrow(root).map_err(failed)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Writes a file, as for a plan, and removes it.
    pub(crate) fn try_write(&self) -> Result<(), NodeError> {
        let path = self.root.join(TRIAL);
        let done = self.write(&path, b"").and_then(|()| fs::remove_file(&path));
        done.map_err(|source| NodeError::State { path, source })
    }

    pub(crate) fn store(&self) -> ArtifactStore {
        ArtifactStore::new(vec![self.root.join(STORE)])
    }

    /// Path of the stored policy metadata.
    pub(crate) fn policy(&self) -> PathBuf {
        self.root.join("policy.json")
    }

    /// Writes to a temporary file and renames it: a crash leaves the old file or the new one.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        tamis_private::put(path, bytes)
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

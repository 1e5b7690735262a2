//! The folder from which a following proxy starts. Nothing in it is trusted: everything is verified when it
//! is read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tamis_sync::{Activation, Replica};
use tamis_trust::{Digest, VersionFloors};

use crate::NodeError;
use crate::documents::octets;
use crate::store::{ArtifactStore, BUNDLES, MANIFEST};

const PARTS: &str = "parts.json";
const FLOORS: &str = "seen.json";
const LAST_MESSAGE: &str = "heard";
const STORE: &str = "store";
/// Largest file in bytes that is read whole.
const MAX_BYTES: u64 = 1 << 30;
/// Artifacts that are kept although no slot names them any more: a rollback then needs no fetch.
const KEPT: usize = 64;

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

    pub(crate) fn store(&self) -> ArtifactStore {
        ArtifactStore::new(vec![self.root.join(STORE)])
    }

    /// The last plan. Damaged parts, or all of it, are left out and reported.
    pub(crate) fn replica(&self) -> Replica {
        let path = self.root.join(PARTS);
        if !path.exists() {
            return Replica::new();
        }
        let read = octets(&path, MAX_BYTES)
            .and_then(|bytes| Replica::from_json(&bytes).map_err(|error| error.to_string()));
        match read {
            Ok((replica, damaged)) => {
                for part in damaged {
                    tracing::warn!(path = %path.display(), part, "a part is damaged and left out");
                }
                replica
            }
            Err(why) => {
                tracing::warn!(path = %path.display(), why, "the stored parts cannot be read");
                Replica::new()
            }
        }
    }

    pub(crate) fn keep_replica(&self, replica: &Replica) -> io::Result<()> {
        let bytes = replica.to_json().map_err(io::Error::other)?;
        self.write(&self.root.join(PARTS), &bytes)
    }

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

    /// When the last message of the director arrived, in seconds since the Unix epoch; 0: never.
    pub(crate) fn last_message(&self) -> u64 {
        let text = fs::read_to_string(self.root.join(LAST_MESSAGE)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    pub(crate) fn keep_last_message(&self, seconds: u64) -> io::Result<()> {
        self.write(&self.root.join(LAST_MESSAGE), seconds.to_string().as_bytes())
    }

    /// Path of the stored policy metadata.
    pub(crate) fn policy(&self) -> PathBuf {
        self.root.join("policy.json")
    }

    /// Path of the component of a manifest.
    pub(crate) fn component(&self, manifest: &Digest) -> PathBuf {
        self.root.join(STORE).join(format!("{}.wasm", manifest.hex()))
    }

    /// Stores manifest and bundles of a slot, unless they are stored already.
    pub(crate) fn keep_proof(&self, manifest: &Digest, slot: &Activation) -> io::Result<()> {
        let Some(text) = &slot.manifest else { return Ok(()) };
        let component = self.component(manifest);
        let files = [(MANIFEST, text.clone()), (BUNDLES, slot.bundles.join("\n"))];
        for (suffix, text) in files {
            let path = with_suffix(&component, suffix);
            if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                continue;
            }
            self.write(&path, text.as_bytes())?;
        }
        Ok(())
    }

    /// Removes artifacts that no slot names, except the newest 64.
    pub(crate) fn tidy(&self, named: &BTreeSet<String>) {
        let Ok(entries) = fs::read_dir(self.root.join(STORE)) else { return };
        let mut unnamed = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
            let component = path.extension().is_some_and(|ending| ending == "wasm");
            let stem = stem.filter(|stem| component && !named.contains(stem));
            let changed = fs::metadata(&path).and_then(|data| data.modified());
            if let (Some(_), Ok(changed)) = (stem, changed) {
                unnamed.push((changed, path));
            }
        }
        unnamed.sort();
        let most = unnamed.len().saturating_sub(KEPT);
        for (_, path) in unnamed.into_iter().take(most) {
            for path in [with_suffix(&path, MANIFEST), with_suffix(&path, BUNDLES), path] {
                // A file that stays only takes disk space.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Writes to a temporary file and renames it: a crash leaves the old file or the new one.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = with_suffix(path, ".new");
        let mut file = tamis_private::file(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // Names are stored in the folder, so it is synced too.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

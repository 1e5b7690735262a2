//! Artifacts on disk: a component, its manifest and its signatures in one folder.
//!
//! `NAME.wasm` is the component, `NAME.wasm.manifest.json` its OCI manifest, `NAME.wasm.sigstore.json` one
//! Sigstore bundle per line. Nothing in a store is trusted: [`crate::Node`] verifies what it reads.

use crate::documents::octets;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tamis_resources::MAX_COMPONENT_BYTES;
use tamis_trust::Digest;

/// Suffix of manifests.
pub(crate) const MANIFEST: &str = ".manifest.json";
/// Suffix of bundles.
pub(crate) const BUNDLES: &str = ".sigstore.json";
/// Largest manifest, or total of bundles, in bytes.
const MAX_SMALL_BYTES: u64 = 4 * 1024 * 1024;

/// The digests of manifests, with the paths of the components beside them: those of the first folder first, then by name.
pub type StoreIndex = HashMap<String, Vec<PathBuf>>;

/// The bytes of one artifact, as they are on disk.
#[derive(Debug, Clone)]
pub struct StoredArtifact {
    /// Path of the component.
    pub path: PathBuf,
    /// The component.
    pub component: Vec<u8>,
    /// Its manifest.
    pub manifest: Vec<u8>,
    /// Its bundles, one per line; empty when there is no such file.
    pub bundles: Vec<u8>,
}

/// Folders of artifacts.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    folders: Vec<PathBuf>,
}

impl ArtifactStore {
    /// A store of these folders. Of several artifacts of one digest, the first that can be used is.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// Its folders.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// A pass over the store as it is now.
    pub(crate) fn reading(&self) -> StoreReading {
        StoreReading { index: self.index(), digest: None, read: HashMap::new() }
    }

    /// The current digests of manifests. Reads every manifest; they are small.
    #[must_use]
    pub fn index(&self) -> StoreIndex {
        let mut index = StoreIndex::new();
        for folder in &self.folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                let Some(name) = path.to_str() else { continue };
                let Some(component) = name.strip_suffix(MANIFEST) else { continue };
                if let Ok(manifest) = read(&path, MAX_SMALL_BYTES) {
                    let digest = Digest::of(&manifest).to_string();
                    index.entry(digest).or_default().push(PathBuf::from(component));
                }
            }
        }
        index
    }
}

/// A pass over a store. What was read of the last digest is kept until another one is asked for: those that run one digest
/// share its bytes, and no others are in memory.
pub(crate) struct StoreReading {
    index: StoreIndex,
    digest: Option<Digest>,
    read: HashMap<usize, Result<Arc<StoredArtifact>, String>>,
}

impl StoreReading {
    /// The artifact at this place among those that have a manifest of this digest, or which of its files cannot be read;
    /// `None`: there are no more.
    pub(crate) fn copy(
        &mut self,
        digest: &Digest,
        at: usize,
    ) -> Option<Result<Arc<StoredArtifact>, String>> {
        if self.digest != Some(*digest) {
            (self.digest, self.read) = (Some(*digest), HashMap::new());
        }
        let path = self.index.get(&digest.to_string())?.get(at)?;
        let read = || StoredArtifact::read(path).map(Arc::new);
        Some(self.read.entry(at).or_insert_with(read).clone())
    }
}

impl StoredArtifact {
    /// Reads the three files of `component`. Without a bundle file the artifact has no signature.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn read(component: &Path) -> Result<Self, String> {
        let beside = |suffix: &str| {
            let mut name = component.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let bundles = beside(BUNDLES);
        Ok(Self {
            path: component.to_owned(),
            component: read(component, MAX_COMPONENT_BYTES)?,
            manifest: read(&beside(MANIFEST), MAX_SMALL_BYTES)?,
            bundles: if bundles.exists() { read(&bundles, MAX_SMALL_BYTES)? } else { Vec::new() },
        })
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    octets(path, limit).map_err(|why| format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests;

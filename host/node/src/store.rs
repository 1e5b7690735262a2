//! Artifacts on disk: a component, its manifest, its signatures, side by side.
//!
//! `NAME.wasm` is the component, `NAME.wasm.manifest.json` its OCI manifest, `NAME.wasm.sigstore.json` one Sigstore
//! bundle a line. Nothing in a store is believed: [`crate::Node`] verifies what it takes from it.

use crate::documents::octets;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tamis_trust::Digest;

/// Suffix of manifests.
pub(crate) const MANIFEST: &str = ".manifest.json";
/// Suffix of bundles.
pub(crate) const BUNDLES: &str = ".sigstore.json";
/// Bytes of a component; the engine refuses larger ones anyway.
const MAX_COMPONENT_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of a manifest or of all bundles.
const MAX_SMALL_BYTES: u64 = 4 * 1024 * 1024;

/// The bytes of one artifact, as they are on disk.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Where the component is.
    pub path: PathBuf,
    /// The component.
    pub component: Vec<u8>,
    /// Its manifest.
    pub manifest: Vec<u8>,
    /// Its bundles, a line each; empty when there is no such file.
    pub bundles: Vec<u8>,
}

/// Folders of artifacts.
#[derive(Debug, Clone)]
pub struct Store {
    folders: Vec<PathBuf>,
}

impl Store {
    /// A store of these folders; the first that has a digest wins.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// Its folders.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Which manifest has which digest now: digests to components. Reads every manifest, which is small.
    #[must_use]
    pub fn index(&self) -> HashMap<String, PathBuf> {
        let mut index = HashMap::new();
        for folder in &self.folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                let Some(name) = path.to_str() else { continue };
                let Some(component) = name.strip_suffix(MANIFEST) else { continue };
                if let Ok(manifest) = read(&path, MAX_SMALL_BYTES) {
                    let digest = Digest::of(&manifest).to_string();
                    index.entry(digest).or_insert_with(|| PathBuf::from(component));
                }
            }
        }
        index
    }
}

impl Artifact {
    /// Reads the three files beside `component`. A missing bundle file is an artifact nobody signed.
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

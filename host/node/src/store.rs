//! Artifacts on disk: a component, its manifest and its signatures in one folder.
//!
//! `NAME.wasm` is the component, `NAME.wasm.manifest.json` its OCI manifest, `NAME.wasm.sigstore.json` one
//! Sigstore bundle per line. Nothing in a store is trusted: [`crate::Node`] verifies what it reads.

mod bundles;
mod copies;

use crate::documents::octets;
use bundles::{BundleChoice, ChosenBundles, Places};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tamis_resources::MAX_COMPONENT_BYTES;
use tamis_trust::{Digest, MAX_MANIFEST_BYTES, Manifest, SignaturePolicy};

/// Suffix of manifests.
pub(crate) const MANIFEST: &str = ".manifest.json";
/// Suffix of bundles.
pub(crate) const BUNDLES: &str = ".sigstore.json";
/// Largest manifest in bytes.
const MAX_MANIFEST: u64 = MAX_MANIFEST_BYTES as u64;
/// Largest file of bundles in bytes that is taken as it is; from a larger one those that count are chosen.
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
    /// The manifest, parsed; `None`: it was not, or it cannot be.
    pub(crate) parsed: Option<Arc<Manifest>>,
    /// Where each bundle was in the file that is the proxy's own; `None`: they are all there, in this order.
    places: Option<Vec<Option<usize>>>,
}

/// Name of an artifact's component in a store, another for each name and version: `NAMESPACE-NAME-VERSION.wasm`, or with `~`
/// between the parts where a `-` or `.` in them would leave their ends open. No name and no version has a `~`.
#[must_use]
pub fn artifact_file_name(name: &str, version: &str) -> String {
    let plain = name
        .split_once('/')
        .is_some_and(|(namespace, name)| !namespace.contains('-') && !name.contains(['/', '.']));
    if plain {
        format!("{}-{version}.wasm", name.replace('/', "-"))
    } else {
        format!("{}~{version}.wasm", name.replace('/', "~"))
    }
}

/// Folders of artifacts.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    folders: Vec<PathBuf>,
}

impl ArtifactStore {
    /// A store of these folders. Of several artifacts of one digest, what can be used of them is put together.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// Its folders.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// A pass over the store as it is now. Of too many bundles, those that keys of these policies signed are taken.
    pub(crate) fn reading<'a>(&self, policies: &'a [SignaturePolicy]) -> StoreReading<'a> {
        StoreReading { index: self.index(), policies, read: None }
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
                if let Ok(manifest) = read(&path, MAX_MANIFEST) {
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
pub(crate) struct StoreReading<'a> {
    index: StoreIndex,
    policies: &'a [SignaturePolicy],
    read: Option<(Digest, ReadResult)>,
}

/// An artifact, or which of its files cannot be read; `None`: no manifest has its digest.
type ReadResult = Option<Result<Arc<StoredArtifact>, String>>;

impl StoreReading<'_> {
    /// The artifact whose manifest has this digest.
    pub(crate) fn artifact(&mut self, digest: &Digest) -> ReadResult {
        if let Some((known, read)) = &self.read
            && known == digest
        {
            return read.clone();
        }
        let paths = self.index.get(&digest.to_string());
        let read =
            paths.map(|paths| copies::from_copies(digest, paths, self.policies).map(Arc::new));
        self.read = Some((*digest, read.clone()));
        read
    }
}

impl StoredArtifact {
    /// Reads the three files of `component`. Without a bundle file the artifact has no signature; of a large one, the bundles
    /// about this artifact are read.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn read(component: &Path) -> Result<Self, String> {
        let (path, file) = (component.to_owned(), beside(component, BUNDLES));
        let component = read(component, MAX_COMPONENT_BYTES)?;
        let manifest = read(&beside(&path, MANIFEST), MAX_MANIFEST)?;
        let long = std::fs::metadata(&file).is_ok_and(|about| about.len() > MAX_SMALL_BYTES);
        let (bundles, places) = if long {
            let digest = Digest::of(&manifest);
            let mut choice = BundleChoice::new(&digest, &[]);
            let failed = |error| format!("{}: {error}", file.display());
            choice.read(&file, Places::Count).map_err(failed)?;
            let ChosenBundles { lines, places } = choice.chosen();
            (lines, Some(places))
        } else if file.exists() {
            (read(&file, MAX_SMALL_BYTES)?, None)
        } else {
            (Vec::new(), None)
        };
        Ok(Self { path, component, manifest, bundles, parsed: None, places })
    }

    /// What is recorded about its bundles, of what is recorded about the lines of the file that is the proxy's own.
    pub(crate) fn logged(&self, of_file: &[Option<u64>]) -> Vec<Option<u64>> {
        match &self.places {
            None => of_file.to_vec(),
            Some(places) => {
                let recorded = |place: &Option<usize>| of_file.get((*place)?).copied().flatten();
                places.iter().map(recorded).collect()
            }
        }
    }
}

/// The file of a component with another ending.
fn beside(component: &Path, suffix: &str) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    octets(path, limit).map_err(|why| format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests;

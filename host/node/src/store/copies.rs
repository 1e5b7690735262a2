//! An artifact put together from all copies of its manifest.
//!
//! Whoever can write into a folder of a store can put copies of a manifest beside other components and other signatures, and
//! add to what is there. The manifest says which component it is about, and a bundle proves by itself what it signs: so both
//! are found by their content, wherever they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tamis_resources::MAX_COMPONENT_BYTES;
use tamis_trust::{Digest, Manifest, SignaturePolicy};

use super::bundles::{BundleChoice, ChosenBundles, Places};
use super::{BUNDLES, MANIFEST, MAX_MANIFEST, MAX_SMALL_BYTES, StoredArtifact, artifact_file_name};
use super::{beside, read};

/// Bytes of components of the right size that are hashed to find the right one. Those under the names that this program
/// gives to them come first.
const HASHED_BYTES: u64 = 2 << 30;

/// The artifact of a manifest, of which there are copies beside these components.
///
/// # Errors
/// Which file cannot be read, where no component is the one of the manifest.
pub(super) fn from_copies(
    digest: &Digest,
    paths: &[PathBuf],
    policies: &[SignaturePolicy],
) -> Result<StoredArtifact, String> {
    let first = paths.first().ok_or("it has no path")?;
    let Some((manifest, parsed)) = manifest(digest, paths) else {
        return StoredArtifact::read(first);
    };
    let own = format!("{}.wasm", digest.hex());
    let ordered = ordered(
        paths,
        &[&own, &artifact_file_name(parsed.name().as_str(), &parsed.version().to_string())],
    );
    let Some((path, component)) = component(&ordered, &parsed) else {
        // Its refusal says what is wrong with it.
        return StoredArtifact::read(ordered.first().copied().unwrap_or(first));
    };
    let (bundles, places) = match ordered.as_slice() {
        [only] if is_small(&beside(only, BUNDLES)) => {
            let file = beside(only, BUNDLES);
            let bundles = if file.exists() { read(&file, MAX_SMALL_BYTES)? } else { Vec::new() };
            (bundles, None)
        }
        all => {
            let mut choice = BundleChoice::new(digest, policies);
            let others = all.iter().filter(|other| **other != path);
            for copy in std::iter::once(&path).chain(others) {
                let is_own = copy.file_name().is_some_and(|name| *name == *own);
                let places = if is_own { Places::Count } else { Places::Ignored };
                // What cannot be read of one copy, another may have.
                let _ = choice.read(&beside(copy, BUNDLES), places);
            }
            let ChosenBundles { lines, places } = choice.chosen();
            (lines, Some(places))
        }
    };
    let (path, parsed) = (path.to_owned(), Some(Arc::new(parsed)));
    Ok(StoredArtifact { path, component, manifest, bundles, parsed, places })
}

/// The manifest, from the first copy that still has that digest.
fn manifest(digest: &Digest, paths: &[PathBuf]) -> Option<(Vec<u8>, Manifest)> {
    let read = |path: &PathBuf| read(&beside(path, MANIFEST), MAX_MANIFEST).ok();
    let bytes = paths.iter().filter_map(read).find(|bytes| Digest::of(bytes) == *digest)?;
    let parsed = Manifest::parse(&bytes).ok()?;
    Some((bytes, parsed))
}

/// The paths, those with one of these names first.
fn ordered<'a>(paths: &'a [PathBuf], names: &[&str]) -> Vec<&'a Path> {
    let mut ordered: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let is_named = |path: &&Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| names.contains(&name))
    };
    ordered.sort_by_key(|path| !is_named(path));
    ordered
}

/// The first component that is the one of the manifest.
fn component<'a>(paths: &[&'a Path], manifest: &Manifest) -> Option<(&'a Path, Vec<u8>)> {
    let size = manifest.component_size();
    let most = HASHED_BYTES.checked_div(size.max(1)).unwrap_or(1).max(1);
    let has_size = |path: &&&Path| std::fs::metadata(path).is_ok_and(|about| about.len() == size);
    let tried = paths.iter().filter(has_size).take(usize::try_from(most).unwrap_or(usize::MAX));
    let mut found = tried.filter_map(|path| Some((*path, read(path, MAX_COMPONENT_BYTES).ok()?)));
    found.find(|(_, bytes)| manifest.check(bytes).is_ok())
}

fn is_small(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |about| about.len() <= MAX_SMALL_BYTES)
}

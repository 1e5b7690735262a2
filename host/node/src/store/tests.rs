//! Artifacts on disk, found by the digest of their manifest.

use super::*;
use tempfile::TempDir;

fn put(folder: &Path, name: &str, octets: &[u8]) {
    std::fs::write(folder.join(name), octets).unwrap();
}

#[test]
fn artifacts_are_found_by_the_digest_of_their_manifest_whatever_their_name() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    put(first.path(), "a.wasm.manifest.json", b"one");
    put(first.path(), "a.wasm", b"component");
    put(second.path(), "copy.wasm.manifest.json", b"one");
    put(second.path(), "b.wasm.manifest.json", b"two");
    put(second.path(), "stray.wasm", b"no manifest");
    std::fs::create_dir(second.path().join("folder.wasm.manifest.json")).unwrap();
    let nowhere = second.path().join("nowhere");
    let folders = vec![first.path().to_owned(), nowhere, second.path().to_owned()];
    let index = ArtifactStore::new(folders).index();
    assert_eq!(index.len(), 2);
    let (one, copy) = (first.path().join("a.wasm"), second.path().join("copy.wasm"));
    assert_eq!(index[&Digest::of(b"one").to_string()], [one, copy]);
    assert_eq!(index[&Digest::of(b"two").to_string()], [second.path().join("b.wasm")]);
}

#[test]
fn a_manifest_that_changes_is_found_under_its_new_digest_alone() {
    let folder = TempDir::new().unwrap();
    let store = ArtifactStore::new(vec![folder.path().to_owned()]);
    put(folder.path(), "a.wasm.manifest.json", b"one");
    assert!(store.index().contains_key(&Digest::of(b"one").to_string()));
    put(folder.path(), "a.wasm.manifest.json", b"two");
    let index = store.index();
    assert!(index.len() == 1 && index.contains_key(&Digest::of(b"two").to_string()));
}

#[test]
fn an_artifact_is_its_three_files_and_without_bundles_one_nobody_signed() {
    let folder = TempDir::new().unwrap();
    let component = folder.path().join("a.wasm");
    let missing = StoredArtifact::read(&component).unwrap_err();
    assert!(missing.contains("a.wasm"), "{missing}");
    put(folder.path(), "a.wasm", b"component");
    let missing = StoredArtifact::read(&component).unwrap_err();
    assert!(missing.contains("a.wasm.manifest.json"), "{missing}");
    put(folder.path(), "a.wasm.manifest.json", b"manifest");
    let artifact = StoredArtifact::read(&component).unwrap();
    assert_eq!(
        (artifact.component.as_slice(), artifact.manifest.as_slice()),
        (&b"component"[..], &b"manifest"[..])
    );
    assert!(artifact.bundles.is_empty());
    put(folder.path(), "a.wasm.sigstore.json", b"bundle\n");
    assert_eq!(StoredArtifact::read(&component).unwrap().bundles, b"bundle\n");
}

#[test]
fn a_file_over_its_limit_is_named_with_the_limit() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "a.wasm", b"");
    let manifest = std::fs::File::create(folder.path().join("a.wasm.manifest.json")).unwrap();
    manifest.set_len(MAX_MANIFEST + 1).unwrap();
    let why = StoredArtifact::read(&folder.path().join("a.wasm")).unwrap_err();
    assert!(why.contains("a.wasm.manifest.json") && why.contains("1048576"), "{why}");
    assert!(ArtifactStore::new(vec![folder.path().to_owned()]).index().is_empty());
}

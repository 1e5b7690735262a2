//! A folder before its first start, and before its second.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

fn run(folder: &Path, output: Output) -> Result<PreparedFolder> {
    super::run(folder, Ports { offset: 0, apps: true }, ForeignState::Refuse, output)
}

/// The example as it is in the repository.
fn shop() -> TempDir {
    let folder = TempDir::new().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    for entry in fs::read_dir(example).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}

fn all(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all(&path, files);
        } else {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
}

#[test]
fn everything_is_made_once_secrets_are_private_and_documents_are_left_alone() {
    let folder = shop();
    let mut documents = Vec::new();
    all(folder.path(), &mut documents);
    let prepared = run(folder.path(), Output::Json).unwrap();
    assert!(prepared.wrong.is_none() && prepared.token.is_some());
    assert_eq!(prepared.upgradable().unwrap().0, "tamis/retry");
    assert_eq!((pins(&prepared.documents).len(), prepared.signed.len()), (6, 6));

    let mut made = Vec::new();
    all(&folder.path().join(".tamis"), &mut made);
    for (path, _) in &made {
        let name = path.display().to_string();
        let secret = [".key", ".p8", "/token"].iter().any(|ending| name.ends_with(ending));
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert!(!secret || mode == 0o600, "{name} has mode {mode:o}");
    }
    for (path, octets) in &documents {
        assert_eq!(&fs::read(path).unwrap(), octets, "{}", path.display());
    }
    assert!(run(folder.path(), Output::Json).unwrap().signed.is_empty());
    let mut again = Vec::new();
    all(&folder.path().join(".tamis"), &mut again);
    // Tokens expire, so each start signs another.
    let not_token = |(path, _): &&(PathBuf, Vec<u8>)| !path.ends_with("token");
    let (made, again): (Vec<_>, Vec<_>) =
        (made.iter().filter(not_token).collect(), again.iter().filter(not_token).collect());
    assert!(made == again, "the second start makes nothing");
}

#[test]
fn a_component_that_was_altered_is_left_for_the_proxy_to_refuse_until_it_is_removed() {
    let folder = shop();
    let prepared = run(folder.path(), Output::Json).unwrap();
    let (name, version, file) = prepared.upgradable().unwrap();
    // A version of the user's own, pinned: the built-in one does not overwrite it.
    let lock = folder.path().join(".tamis/filters.lock.yaml");
    let digest = format!("sha256:{}", "a".repeat(64));
    let pin = Pin { service: "*".to_owned(), filter: name, version, digest: digest.clone() };
    filter::lock::pin(&lock, pin).unwrap();
    fs::write(&file, "mine").unwrap();
    run(folder.path(), Output::Json).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    assert!(filter::lock::read(&lock).unwrap().filters.iter().any(|pin| pin.digest == digest));
}

#[test]
fn only_paths_below_its_own_folder_are_made() {
    let folder = TempDir::new().unwrap();
    let maker = Maker { folder: folder.path(), output: Output::Json };
    for name in ["../x", ".tamis/../../x", "/etc/x", "certs/x", ".tamisx/y", ""] {
        assert!(!maker.is_missing(name), "{name}");
    }
    assert!(maker.is_missing(".tamis/certs/x"));
}

#[test]
fn a_folder_without_documents_is_prepared_with_nothing_and_one_that_is_not_there_is_an_error() {
    let folder = TempDir::new().unwrap();
    let prepared = run(folder.path(), Output::Json).unwrap();
    assert!(prepared.token.is_none() && prepared.upgradable().is_none());
    assert!(!folder.path().join(".tamis").exists());
    let said = format!("{:#}", run(&folder.path().join("nowhere"), Output::Json).err().unwrap());
    assert!(said.contains("nowhere") && said.contains("name their folder"), "{said}");
    fs::write(folder.path().join("bad.yaml"), "kind: [\n").unwrap();
    let wrong = run(folder.path(), Output::Json).unwrap().wrong.unwrap();
    assert!(wrong.starts_with("bad.yaml:"), "{wrong}");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = shop();
    fs::write(folder.path().join(".tamis"), "a file where a folder should be").unwrap();
    let said = format!("{:#}", run(folder.path(), Output::Json).err().unwrap());
    assert!(said.contains(".tamis cannot be used"), "{said}");
}

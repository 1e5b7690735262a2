//! Which files of a folder are sent.

use super::*;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

fn sent(files: &[(&str, &str)]) -> Result<Option<ApplyRequest>> {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let documents = Documents { file: folder.path().to_owned(), prune: true };
    request(&documents, Output::Json)
}

const SERVICE: &str = "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: app, namespace: test }\n\
    spec: { ports: [{ port: 80, protocol: http }], endpoints: [{ address: 127.0.0.1:9 }] }\n";
const LOCK: &str = "kind: FiltersLock\napiVersion: tamis.dev/v1alpha1\nfilters: []\n";

#[test]
fn documents_are_sent_as_they_are_written_and_locks_are_not() {
    let text = format!("# why\n{SERVICE}");
    let files =
        [("sub/a.yaml", text.as_str()), (".tamis/filters.lock.yaml", LOCK), ("README.md", "x")];
    let request = sent(&files).unwrap().unwrap();
    assert_eq!(request.sources, [SourceText { source: "sub/a.yaml".into(), text }]);
    assert!(request.prune && !request.confirm && request.files.is_empty());
}

#[test]
fn a_lock_among_other_documents_is_told() {
    let error = sent(&[("a.yaml", &format!("{SERVICE}---\n{LOCK}"))]).unwrap_err();
    assert!(error.to_string().contains("tamis pin"), "{error}");
}

#[test]
fn wrong_documents_are_not_sent() {
    assert!(sent(&[("a.yaml", SERVICE), ("b.yaml", "kind: [\n")]).unwrap().is_none());
    assert!(sent(&[]).unwrap_err().to_string().contains("no documents"));
}

#[test]
fn the_files_that_documents_name_go_with_them() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let folder = TempDir::new().unwrap();
    for entry in std::fs::read_dir(&shop).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let key = folder.path().join(".tamis/keys/local-dev.pub");
    std::fs::create_dir_all(key.parent().unwrap()).unwrap();
    std::fs::write(&key, "a key\n").unwrap();
    let documents = Documents { file: folder.path().to_owned(), prune: false };
    let request = request(&documents, Output::Json).unwrap().unwrap();
    let named: Vec<(&str, &str)> =
        request.files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    assert!(named.contains(&(".tamis/keys/local-dev.pub", "a key\n")), "{named:?}");
}

#[test]
fn no_file_outside_of_the_folder_is_read_whatever_names_it() {
    let outer = TempDir::new().unwrap();
    let root = outer.path().join("folder");
    std::fs::create_dir_all(root.join("keys")).unwrap();
    let secret = outer.path().join("secret.txt");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::write(root.join("keys/a.json"), "a").unwrap();
    std::fs::write(root.join("large"), vec![b'a'; (4 << 20) + 1]).unwrap();
    symlink(&secret, root.join("out")).unwrap();
    symlink(outer.path(), root.join("up")).unwrap();
    symlink("keys/a.json", root.join("in")).unwrap();
    let absolute = secret.to_str().unwrap();
    for (name, read) in [
        ("keys/a.json", "read"),
        ("./keys/./a.json", "read"),
        ("in", "read"),
        (absolute, "outside"),
        ("/proc/self/environ", "outside"),
        ("../secret.txt", "outside"),
        ("keys/../../secret.txt", "outside"),
        ("keys/../keys/a.json", "outside"),
        ("out", "outside"),
        ("up/secret.txt", "outside"),
        ("up/folder/keys/a.json", "read"),
        ("keys", "unreadable"),
        ("large", "unreadable"),
        ("nothing", "unreadable"),
        ("", "unreadable"),
    ] {
        let found = match file_of_document(&root, name) {
            Ok(octets) => {
                assert_eq!(octets, b"a", "{name}");
                "read"
            }
            Err(NamedFileFault::Outside) => "outside",
            Err(NamedFileFault::Unreadable(_)) => "unreadable",
        };
        assert_eq!(found, read, "{name}");
    }
}

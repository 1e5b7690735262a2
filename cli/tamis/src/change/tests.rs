//! Which files of a folder are sent.

use super::*;
use std::path::Path;
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

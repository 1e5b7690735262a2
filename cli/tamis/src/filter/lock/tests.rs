//! Locks on disk.

use super::*;
use std::path::PathBuf;
use tempfile::TempDir;

fn at() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("filters.lock.yaml");
    (folder, path)
}

fn a_pin(service: &str, version: &str, digit: &str) -> Pin {
    Pin {
        service: service.to_owned(),
        filter: "acme/agents".to_owned(),
        version: version.to_owned(),
        digest: format!("sha256:{}", digit.repeat(64)),
    }
}

#[test]
fn a_lock_that_is_not_there_is_empty_and_an_empty_one_can_be_read_again() {
    let (_folder, path) = at();
    assert!(read(&path).unwrap().filters.is_empty());
    write(&path, &FiltersLockSpec { filters: Vec::new() }).unwrap();
    assert!(read(&path).unwrap().filters.is_empty());
}

#[test]
fn a_pin_replaces_that_of_its_service_and_leaves_the_others() {
    let (_folder, path) = at();
    for (service, version, digit) in
        [("*", "1.0.0", "a"), ("shop/pay", "1.1.0", "b"), ("*", "1.2.0", "c")]
    {
        pin(&path, a_pin(service, version, digit)).unwrap();
    }
    let pins = read(&path).unwrap().filters;
    let told: Vec<_> =
        pins.iter().map(|pin| (pin.service.as_str(), pin.version.as_str())).collect();
    assert_eq!(told, [("*", "1.2.0"), ("shop/pay", "1.1.0")]);
    assert_eq!(pins[0].digest, a_pin("*", "", "c").digest);
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "nothing temporary is left"
    );
}

#[test]
fn a_broken_lock_is_named_with_its_place_and_not_overwritten() {
    let (_folder, path) = at();
    for text in [
        "kind: [\n",
        "kind: FiltersLock\napiVersion: tamis.dev/v1alpha1\nfilter: []\n",
        "kind: Other\n",
        "",
    ] {
        std::fs::write(&path, text).unwrap();
        let said = format!("{:#}", pin(&path, a_pin("*", "1.0.0", "a")).unwrap_err());
        assert!(said.contains("filters.lock.yaml"), "{said}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_file_that_nobody_reads_takes_no_pin() {
    for (name, read) in [
        ("a.yaml", true),
        ("a.YML", true),
        ("filters.lock", false),
        ("pins", false),
        (".yaml", false),
    ] {
        assert_eq!(is_document(Path::new(name)).is_ok(), read, "{name}");
    }
    let said = format!("{:#}", is_document(Path::new("tamis.lock")).unwrap_err());
    assert!(said.contains("tamis.lock") && said.contains(".tamis/filters.lock.yaml"), "{said}");
}

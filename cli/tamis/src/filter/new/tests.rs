//! Names people give, and the folder they get.

use super::*;
use crate::builtin::Description;
use tempfile::TempDir;

fn make(folder: PathBuf, namespace: &str) -> Result<ExitCode> {
    run(&Arguments { folder, namespace: namespace.to_owned() }, Output::Json)
}

#[test]
fn hostile_names_are_refused_with_the_rule_and_leave_nothing() {
    let root = TempDir::new().unwrap();
    let long = "a".repeat(300);
    for name in [
        "Ünï",
        "UPPER",
        "a b",
        "-a",
        "a-",
        "1a",
        "a_b",
        "a.b",
        "a\nb",
        "fn",
        "self",
        "test",
        "core",
        "tamis-sdk",
        &long,
    ] {
        let said = format!("{:#}", make(root.path().join(name), "acme").unwrap_err());
        assert!(said.contains('`') && said.contains("name"), "{name:?}: {said}");
        assert!(said.len() < 200, "{said}");
    }
    for folder in [root.path().join(".."), PathBuf::from("/"), PathBuf::from("."), PathBuf::new()] {
        assert!(make(folder, "acme").is_err());
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn hostile_namespaces_are_refused() {
    let root = TempDir::new().unwrap();
    for namespace in ["../x", "", "A", "a b", "acme\"", "a\nb", "@NAME@"] {
        let said = format!("{:#}", make(root.path().join("good"), namespace).unwrap_err());
        assert!(said.starts_with("--namespace"), "{namespace:?}: {said}");
    }
    assert!(!root.path().join("good").exists());
}

#[test]
fn a_folder_is_whole_with_every_blank_filled_and_is_made_once() {
    let root = TempDir::new().unwrap();
    // The path may lead anywhere; its last part is the name.
    let folder = root.path().join("deep/er/my-filter2");
    make(folder.clone(), "acme").unwrap();
    let description = fs::read_to_string(folder.join("filter.yaml")).unwrap();
    let description: Description = serde_norway::from_str(&description).unwrap();
    assert_eq!(description.name, "acme/my-filter2");
    for file in [
        "Cargo.toml",
        "src/lib.rs",
        "tests/cases.yaml",
        "README.md",
        "vendor/tamis/sdk/rust/Cargo.toml",
    ] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        for blank in ["@NAME@", "@NAMESPACE@", "@VERSION@"] {
            assert!(!text.contains(blank), "{file} has {blank}");
        }
    }
    assert!(folder.join("vendor/tamis/wit/worlds.wit").exists());
    let said = format!("{:#}", make(folder, "acme").unwrap_err());
    assert!(said.contains("is there already"), "{said}");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let said = format!("{:#}", make(root.path().join("file/filter"), "acme").unwrap_err());
    assert!(said.contains("file/filter") && said.contains("cannot be made"), "{said}");
}

//! The filters of `examples/filters`: each passes its tables, and runs under the Grant of its page.

use std::fs;
use std::path::PathBuf;
use tamis_e2e::tamis;

/// Name and folder of each.
fn examples() -> Vec<(String, PathBuf)> {
    let folder = tamis_e2e::root().join("examples/filters");
    let mut found: Vec<(String, PathBuf)> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    found.sort();
    assert!(found.len() >= 10, "{found:?}");
    found
}

/// As `cargo xtask filters` built it.
fn component(name: &str) -> String {
    let path = tamis_e2e::root().join(format!("target/example-components/{name}.wasm"));
    assert!(path.exists(), "{}: run `cargo xtask filters`", path.display());
    path.display().to_string()
}

#[test]
fn every_example_passes_its_tables() {
    for (name, folder) in examples() {
        let folder = folder.display().to_string();
        let done = tamis(
            &tamis_e2e::root(),
            &["filter", "test", &folder, "--component", &component(&name)],
        );
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let err = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() && said.contains("cases passed"), "{name}: {said}{err}");
    }
}

#[test]
fn every_example_starts_with_the_configuration_and_the_grant_of_its_page() {
    for (name, folder) in examples() {
        let page = fs::read_to_string(folder.join("README.md")).unwrap();
        let grant = fs::read_to_string(folder.join("grant.yaml")).unwrap();
        assert!(page.contains(&grant), "{name}: its page has another Grant than grant.yaml");
        let config = page.split("```json\n").nth(1).unwrap().split("\n```").next().unwrap();
        let root = tempfile::TempDir::new().unwrap();
        fs::write(root.path().join("grant.yaml"), grant).unwrap();
        let line = [
            "filter",
            "inspect",
            &component(&name),
            "--config",
            config,
            "--grant",
            "grant.yaml",
            "--json",
        ];
        let done = tamis(root.path(), &line);
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(value["declared"].get("reads").is_some(), "{name}: {}", value["declared"]);
    }
}

//! The page on running a registry: its commands run unchanged.

use std::fs;
use std::process::Stdio;

use tamis_e2e::{eventually, free_port, get, root, tamis};
use tempfile::TempDir;

use crate::docs::{Background, blocks, renumber, shell};

#[test]
fn the_page_on_running_a_registry_does_what_it_says() {
    let folder = TempDir::new().unwrap();
    let component = root().join("target/components/retry.wasm");
    fs::copy(component, folder.path().join("my-filter.wasm")).unwrap();
    // What the shell finds is what the other tests run.
    assert!(tamis(folder.path(), &["--version"]).status.success());
    let page = fs::read_to_string(root().join("docs/how-to/registry.md")).unwrap();
    let ports = [("5000".to_owned(), free_port().to_string())];
    let address = renumber("127.0.0.1:5000", &ports);
    let mut background = Vec::new();
    for (kind, commands) in blocks(&page) {
        let commands = renumber(&commands, &ports);
        match kind.as_str() {
            "background" => {
                let mut command = shell(folder.path(), &format!("exec {commands}"));
                command.stdout(Stdio::null()).stderr(Stdio::null());
                background.push(Background(command.spawn().unwrap()));
                eventually("the registry serves", || {
                    (get(&address, "/v2/").status == 401).then_some(())
                });
            }
            // Programs and machines that a test does not have; the conformance suite has them.
            "elsewhere" => {}
            _ => {
                let done = shell(folder.path(), &commands).output().unwrap();
                let said = String::from_utf8_lossy(&done.stderr).into_owned();
                assert!(done.status.success(), "{commands}\n{said}");
            }
        }
    }
    assert!(folder.path().join("registry/admin.token").exists());
    assert!(folder.path().join("pulled/acme-my-filter-0.1.0.wasm").exists());
    assert_eq!(background.len(), 1);
}

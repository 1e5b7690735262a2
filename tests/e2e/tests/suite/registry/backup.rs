//! A copy of journal and blobs is a complete registry.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{Caller, Registry, token};

/// Name, size and root of the log, without the signatures: their time differs.
fn checkpoint(caller: Caller<'_>) -> Vec<String> {
    let reply = caller.get("/log/checkpoint");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body.lines().take(3).map(str::to_owned).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn g23_a_restored_copy_has_the_same_log_and_serves_the_same_artifacts() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let secret = token(folder.path(), &[], "ci", "*", &["pull", "push", "observe"]);
    let registry = Registry::start(folder.path(), &[]);
    let caller = registry.caller(&secret);
    assert!(caller.push("acme/filter", "edge", b"layer"));
    let before = checkpoint(caller);
    registry.stop();

    copy(&folder.path().join("data"), &elsewhere.path().join("data"));
    let restored = Registry::start(elsewhere.path(), &[]);
    let caller = restored.caller(&secret);
    assert_eq!(checkpoint(caller), before);
    assert!(caller.has("acme/filter", "edge", b"layer"));
    // And it continues from there.
    assert!(caller.push("acme/filter", "next", b"another layer"));
    assert_ne!(checkpoint(caller), before);
}

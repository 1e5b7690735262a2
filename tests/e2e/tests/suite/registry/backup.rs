//! A copy of journal and blobs is a complete registry.

use std::fs;
use std::path::Path;

use tamis_e2e::{eventually, tamis};
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

#[test]
fn a_restored_registry_trusts_again_what_was_revoked_since_and_says_so() {
    let (folder, backup) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let secret = token(folder.path(), &[], "leak", "*", &["pull"]);
    Registry::start(folder.path(), &[]).stop();
    copy(&folder.path().join("data"), &backup.path().join("data"));
    let revoke = ["registry", "token", "revoke", "leak", "--data", "data"];
    assert!(tamis(folder.path(), &revoke).status.success());

    let restored = Registry::start(backup.path(), &["--restored"]);
    eventually("it says what has to be done", || {
        let said = restored.running.errors();
        (said.contains("what was revoked after the backup") && said.contains("rotate all tokens"))
            .then_some(())
    });
    assert_eq!(restored.caller(&secret).get("/v2/").status, 200);
    assert!(tamis(backup.path(), &revoke).status.success());
    eventually("it is revoked again", || {
        (restored.caller(&secret).get("/v2/").status == 401).then_some(())
    });
}

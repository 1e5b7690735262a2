//! Acknowledged pushes survive a kill.

use std::sync::Mutex;
use std::thread;

use tamis_e2e::eventually;
use tempfile::TempDir;

use super::{Caller, EMPTY, Registry, sha256, token};

/// An artifact whose push was acknowledged.
pub(super) struct PushedArtifact {
    pub(super) tag: String,
    pub(super) layer: String,
}

/// Pushes one artifact after the other until the registry is gone, and records each that was acknowledged.
pub(super) fn push_until_the_end(
    caller: Caller<'_>,
    who: &str,
    pushed: &Mutex<Vec<PushedArtifact>>,
) {
    for number in 0_u32.. {
        let (tag, layer) = (format!("{who}-{number}"), format!("layer {number} of {who}"));
        if !caller.push("acme/filter", &tag, layer.as_bytes()) {
            return;
        }
        pushed.lock().unwrap().push(PushedArtifact { tag, layer });
    }
}

/// How many of them are not there, as they were pushed.
pub(super) fn missing<'a>(caller: Caller<'_>, pushed: &'a [PushedArtifact]) -> Vec<&'a str> {
    let gone = |one: &&PushedArtifact| !caller.has("acme/filter", &one.tag, one.layer.as_bytes());
    pushed.iter().filter(gone).map(|one| one.tag.as_str()).collect()
}

#[test]
fn g19_no_acknowledged_push_is_lost_when_the_registry_is_killed() {
    let folder = TempDir::new().unwrap();
    let secret = token(folder.path(), &[], "ci", "*", &["pull", "push"]);
    let pushed = Mutex::new(Vec::new());
    for round in 0..5 {
        let registry = Registry::start(folder.path(), &[]);
        let address = registry.address.clone();
        let before = pushed.lock().unwrap().len();
        thread::scope(|scope| {
            for pusher in 0..4 {
                let (caller, pushed) =
                    (Caller { address: &address, token: Some(&secret) }, &pushed);
                scope.spawn(move || {
                    push_until_the_end(caller, &format!("round-{round}-{pusher}"), pushed);
                });
            }
            // Each time at another point of the traffic.
            eventually("some pushes are acknowledged", || {
                (pushed.lock().unwrap().len() >= before + 3 + 2 * round).then_some(())
            });
            registry.kill();
        });
        let registry = Registry::start(folder.path(), &[]);
        let pushed = pushed.lock().unwrap();
        assert_eq!(missing(registry.caller(&secret), &pushed), Vec::<&str>::new());
        registry.kill();
    }
}

#[test]
fn g19_an_upload_goes_on_after_a_kill_from_where_it_was_acknowledged() {
    let folder = TempDir::new().unwrap();
    let secret = token(folder.path(), &[], "ci", "*", &["pull", "push"]);
    let registry = Registry::start(folder.path(), &[]);
    let caller = registry.caller(&secret);
    let begun = caller.send("POST", "/v2/acme/filter/blobs/uploads/", &[], b"");
    let location = begun.header("location").unwrap().to_owned();
    let first = caller.send("PATCH", &location, &[("content-range", "0-4")], b"hello");
    assert_eq!((first.status, first.header("range")), (202, Some("0-4")));
    registry.kill();

    let registry = Registry::start(folder.path(), &[]);
    let caller = registry.caller(&secret);
    let status = caller.get(&location);
    assert_eq!((status.status, status.header("range")), (204, Some("0-4")));
    let digest = sha256(b"hello, world");
    let path = format!("{location}?digest={digest}");
    let last = caller.send("PUT", &path, &[("content-range", "5-11")], b", world");
    assert_eq!(last.status, 201, "{last:?}");
    assert_eq!(caller.get(&format!("/v2/acme/filter/blobs/{digest}")).body, "hello, world");
}

#[test]
fn g19_what_was_deleted_stays_deleted_after_a_kill() {
    let folder = TempDir::new().unwrap();
    let secret = token(folder.path(), &[], "ci", "*", &["pull", "push", "delete"]);
    let registry = Registry::start(folder.path(), &[]);
    let caller = registry.caller(&secret);
    assert!(caller.push("acme/filter", "edge", b"layer"));
    assert!(caller.push_blob("acme/filter", b"alone"));
    let blob = format!("/v2/acme/filter/blobs/{}", sha256(b"alone"));
    for path in ["/v2/acme/filter/manifests/edge", &blob] {
        assert_eq!(caller.send("DELETE", path, &[], b"").status, 202);
    }
    registry.kill();

    let registry = Registry::start(folder.path(), &[]);
    let caller = registry.caller(&secret);
    for path in ["/v2/acme/filter/manifests/edge", &blob] {
        assert_eq!(caller.get(path).status, 404);
    }
    let empty = format!("/v2/acme/filter/blobs/{}", sha256(EMPTY));
    assert_eq!(caller.get(&empty).status, 200);
}

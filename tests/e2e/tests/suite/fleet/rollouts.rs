//! Bad candidates, and the ways back.

use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

use tamis_e2e::{eventually, get};

use super::load::Load;
use super::plane::{EDGE, Plane, Registry, SLOT};
use crate::guests;

/// The second gateway.
const BACK: &str = "gateway:test/back";

/// Begins a rollout of a version of the guest.
fn begin(registry: &Registry, name: &str, major: u8, more: &[&str]) {
    let release = format!("test/guest@{major}.0.0");
    let mut all = vec!["rollout", "start", name, &release, "--service", "*"];
    all.extend_from_slice(more);
    registry.did(&all);
}

fn stage(registry: &Registry, name: &str) -> String {
    registry.did(&["rollout", "status", name])["stage"].as_str().unwrap().to_owned()
}

#[test]
fn g13_a_candidate_that_traps_on_one_request_in_a_hundred_returns_from_its_first_wave_by_itself() {
    let mut back = String::new();
    let (plane, registry, _edge, first) = Plane::running(|folder| {
        back = Plane::second_gateway(folder, "back");
        let one = "{ kind: Gateway, name: edge }";
        folder.edit("guest.yaml", one, &format!("{one}, {{ kind: Gateway, name: back }}"));
    });
    let _back = plane.gateway(BACK, "back");
    registry.serves(BACK, SLOT, &first);
    eventually("the second gateway serves", || (get(&back, "/").status == 200).then_some(()));
    let (inside, outside) = (Load::start(&plane.folder.http), Load::start(&back));
    let second =
        registry.release_of(&guests::brittle().display().to_string(), "test/guest", 2, "local-dev");

    // With this name, the first half contains the first gateway and not the second.
    let name = "guest-3";
    let waves = ["--wave", "50:1h", "--wave", "100:1h"];
    let gates = ["--max-trap-rate", "0.005", "--min-exchanges", "100"];
    begin(&registry, name, 2, &[waves, gates].concat());
    registry.serves(EDGE, SLOT, &second);
    let began = Instant::now();
    let ended = eventually("the gate takes it back", || {
        let view = registry.did(&["rollout", "status", name]);
        (view["ended"] == true).then_some(view)
    });
    println!("returned {:?} after the candidate first served: {}", began.elapsed(), ended["why"]);
    assert_eq!(ended["stage"], "returned", "{ended}");
    assert!(ended["why"].as_str().unwrap().contains("fault"), "{ended}");
    registry.serves(EDGE, SLOT, &first);
    registry.serves(BACK, SLOT, &first);
    assert!(!inside.failed().is_empty(), "the candidate did fail where it ran");
    outside.nothing_failed();
    let failed = inside.failed().len();
    inside.more(200);
    assert_eq!(inside.failed().len(), failed, "nothing fails once it is back");
}

#[test]
fn g14_a_rollback_fetches_nothing_and_the_kill_switch_needs_no_blobs_at_all() {
    let (plane, registry, _gateway, first) = Plane::running(|_| ());
    let load = Load::start(&plane.folder.http);
    let file = |digest: &str| {
        let data = std::fs::metadata(plane.kept(digest)).unwrap();
        (data.ino(), data.mtime_nsec())
    };
    let before = file(&first);
    let second = registry.release(2);
    registry.pin(2);
    registry.serves(EDGE, SLOT, &second);
    let began = Instant::now();
    registry.did(&["rollback", "*", "test/guest", "--confirm"]);
    registry.serves(EDGE, SLOT, &first);
    println!("rolled back within {:?}", began.elapsed());
    assert_eq!(file(&first), before, "a component that is fetched is a new file");

    registry.release(3);
    begin(&registry, "guest-kill", 3, &["--wave", "100:1h"]);
    let third =
        registry.did(&["rollout", "status", "guest-kill"])["to"].as_str().unwrap().to_owned();
    registry.serves(EDGE, SLOT, &third);
    registry.without_blobs(|| {
        let began = Instant::now();
        registry.did(&["rollout", "kill", "guest-kill", "--reason", "a test"]);
        registry.serves(EDGE, SLOT, &first);
        println!("killed within {:?}", began.elapsed());
    });
    assert_eq!(stage(&registry, "guest-kill"), "returned");
    assert_eq!(file(&first), before, "a component that is fetched is a new file");
    load.nothing_failed();
}

#[test]
fn a_candidate_in_the_shadow_is_compared_and_fails_before_anybody_notices() {
    let (plane, registry, _gateway, first) = Plane::running(|_| ());
    let load = Load::start(&plane.folder.http);
    registry.release_of(&guests::brittle().display().to_string(), "test/guest", 2, "local-dev");
    let shadow = ["--shadow-samples", "100000", "--shadow-differences", "0"];
    begin(&registry, "guest-shadow", 2, &[&["--wave", "100:1h"][..], &shadow].concat());
    assert_eq!(stage(&registry, "guest-shadow"), "in the shadow");
    let ended = eventually("what differs takes it back", || {
        let view = registry.did(&["rollout", "status", "guest-shadow"]);
        (view["ended"] == true).then_some(view)
    });
    println!("{} {}", ended["why"], ended["differences"]);
    assert_eq!(ended["stage"], "returned", "{ended}");
    registry.serves(EDGE, SLOT, &first);

    // A candidate that decides the same proceeds to its wave, and to the end.
    let third = registry.release(3);
    let shadow = ["--shadow-samples", "100", "--min-exchanges", "100"];
    begin(&registry, "guest-same", 3, &[&["--wave", "100"][..], &shadow].concat());
    registry.serves(EDGE, SLOT, &third);
    eventually("it ends well", || (stage(&registry, "guest-same") == "done").then_some(()));
    load.nothing_failed();
}

//! Revoked filters, and files that were replaced by hand.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tamis_e2e::get;
use tamis_trust::Manifest;

use super::plane::{EDGE, Plane, Registry, SLOT, alter, json, said};

/// How soon a revoked filter must have ended on a connected proxy.
const REVOKED: Duration = Duration::from_secs(5);

/// Revokes, and waits until the gateway itself refuses to run the guest; returns how long that took.
fn revoked(what: &[&str], code: &str) -> Duration {
    let (plane, registry, _gateway, first) = Plane::running(|_| ());
    let mut all = vec!["revoke"];
    all.extend_from_slice(what);
    all.extend(["--reason", "a test"]);
    let mut all: Vec<&str> =
        all.iter().map(|&word| if word == "FIRST" { &*first } else { word }).collect();
    // What would stop is shown first, and without a word of consent nothing does.
    let state = || (registry.did(&["pins"]), registry.did(&["revoke", "list"]));
    let before = state();
    let shown = registry.did(&[&all[..], &["--now", "--dry-run"]].concat());
    assert_eq!(shown["stops"][0]["service"], "test/edge", "{shown}");
    let stops = shown["stops"].as_array().unwrap();
    assert!(stops.iter().any(|stop| stop["slot"] == SLOT), "{shown}");
    let refused = registry.ask(&[&all[..], &["--now"]].concat());
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    let problem = json(&refused)["problem"].clone();
    assert_eq!(problem["refusals"][0]["code"], "guard.revoke", "{problem}");
    let words = problem.to_string();
    for part in ["test/edge", "omit --now", "pin another version", "confirm"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert_eq!(state(), before, "nothing was revoked");
    assert_eq!(get(&plane.folder.http, "/").status, 200);
    // By default the pin is removed, and what runs keeps running.
    let told = registry.did(&all);
    assert_eq!(told["stops"][0]["service"], "test/edge", "{told}");
    assert_eq!(get(&plane.folder.http, "/").status, 200);
    // The status says that it runs on, and how to end it.
    let on = registry.slot(EDGE, SLOT, "runs what is revoked", |one| !one["revoked"].is_null());
    assert_eq!(on["state"], "serving", "{on}");
    let words = on["revoked"].to_string();
    assert!(words.contains("without --now") && words.contains("pin another version"), "{on}");
    let status = said(&registry.tells(&["status"]));
    assert!(status.contains(&format!("{SLOT} runs what is revoked")), "{status}");
    assert!(!status.contains("all well"), "{status}");
    all.extend(["--now", "--confirm"]);
    let began = Instant::now();
    registry.did(&all);
    plane.slot_says(SLOT, &format!("refused:{code}"));
    let took = began.elapsed();
    assert!(took < REVOKED, "{took:?}");
    let before = plane.backend.count();
    assert_eq!(get(&plane.folder.http, "/").status, 503, "it fails closed");
    assert_eq!(plane.backend.count(), before);
    let slot = registry.slot(EDGE, SLOT, "runs nothing", |one| one["running"].is_null());
    assert!(slot["why"].as_str().unwrap().contains("revoked"), "{slot}");
    assert!(slot["revoked"].is_null(), "it runs no more: {slot}");
    took
}

#[test]
fn g15_a_revoked_digest_ends_on_a_connected_proxy_within_seconds() {
    let took = revoked(&["digest", "FIRST"], "pin.revoked");
    println!("{took:?} from the command to the end");
}

#[test]
fn g15_what_a_revoked_key_signed_ends_on_a_connected_proxy_within_seconds() {
    let took = revoked(&["key", "local-dev"], "trust.revoked-key");
    println!("{took:?} from the command to the end");
}

#[test]
fn g16_a_state_folder_edited_by_hand_runs_nothing_else_and_the_next_report_says_so() {
    let (plane, registry, gateway, first) = Plane::running(|_| ());
    gateway.end("-INT");
    // Nothing is left that could repair it.
    let component = registry.component(&first);
    let elsewhere = component.with_extension("elsewhere");
    fs::rename(&component, &elsewhere).unwrap();
    alter(&plane.kept(&first));
    let _gateway = plane.again();
    let began = Instant::now();
    let slot = registry.slot(EDGE, SLOT, "is refused", |one| {
        one["state"] == "refused"
            && one["refusal"]["code"] == "trust.altered"
            && one["running"].is_null()
    });
    assert_eq!(slot["refusal"], alteration(&plane, &registry, &first), "whole, as trust wrote it");
    println!("shown within {:?}, of reports every second", began.elapsed());
    assert_eq!(get(&plane.folder.http, "/").status, 503, "it fails closed");
    fs::rename(&elsewhere, &component).unwrap();
    registry.serves(EDGE, SLOT, &first);
    assert!(plane.edited("/healed"));
}

/// What `trust` says of the component that the gateway keeps of this manifest.
fn alteration(plane: &Plane, registry: &Registry, manifest: &str) -> Value {
    let kept = fs::read(plane.kept(manifest)).unwrap();
    let read = Manifest::parse(&fs::read(registry.blob(manifest)).unwrap()).unwrap();
    let error = read.check(&kept).unwrap_err();
    json!({
        "code": "trust.altered",
        "rule": format!("the component must be the one the manifest names ({error})"),
        "setBy": format!("the manifest {manifest}"),
        "remedy": "fetch the component again, or pin the digest of its own signed manifest",
    })
}

#[test]
fn g16_an_older_state_put_back_by_hand_is_not_run_once_a_newer_one_was() {
    let (plane, registry, gateway, first) = Plane::running(|_| ());
    let parts = plane.folder.file("state-edge/parts.json");
    let older = fs::read(&parts).unwrap();
    let second = registry.release(2);
    registry.pin(2);
    registry.serves(EDGE, SLOT, &second);
    gateway.end("-INT");
    plane.relay.cut();
    fs::write(&parts, older).unwrap();
    let _gateway = plane.again();
    plane.slot_says(SLOT, "refused:assign.rollback");
    assert!(plane.kept(&first).exists(), "it is refused for its age alone");
    plane.relay.to(&[&registry.proxies]);
    registry.serves(EDGE, SLOT, &second);
}

//! Registries that serve what nobody signed, and changes that do not work.

use std::fs;

use tamis_e2e::tamis;

use super::load::Load;
use super::plane::{EDGE, Plane, SLOT, alter};

#[test]
fn g1_a_component_altered_in_the_registry_never_runs_and_the_true_one_does() {
    let (plane, registry, _gateway, first) = Plane::running(|_| ());
    let load = Load::start(&plane.folder.http);
    let second = registry.release(2);
    // The registry itself verifies what it pins, so the file is altered afterwards.
    plane.relay.cut();
    registry.pin(2);
    let component = registry.component(&second);
    let intact = alter(&component);
    plane.relay.to(&[&registry.proxies]);
    registry.keeps(EDGE, SLOT, &first, "artifact.unreadable");
    assert!(plane.edited("/kept"));
    assert!(!plane.kept(&second).exists(), "what is not as signed is not even kept");
    fs::write(component, intact).unwrap();
    registry.serves(EDGE, SLOT, &second);
    load.nothing_failed();
}

#[test]
fn g1_another_director_at_the_registrys_address_directs_nobody() {
    let (plane, registry, _gateway, first) = Plane::running(|_| ());
    let load = Load::start(&plane.folder.http);
    // An attacker who took over the registry has its certificate and its address, adds a key of his own to
    // the trusted ones, and signs with it.
    let made = tamis(plane.folder.path(), &["keys", "generate", ".tamis/keys/stranger"]);
    assert!(made.status.success());
    let stranger = "{ name: stranger, publicKeyFile: .tamis/keys/stranger.pub }]";
    plane.folder.edit("mesh.yaml", "local-dev.pub }]", &format!("local-dev.pub }}, {stranger}"));
    let other = plane.registry("other", &[]);
    other.did(&["apply", "-f", ".", "--confirm"]);
    let theirs = crate::guests::behaviour().display().to_string();
    other.release_of(&theirs, "test/guest", 66, "stranger");
    other.pin(66);
    plane.relay.cut();
    plane.relay.to(&[&other.proxies]);
    other.keeps(EDGE, SLOT, &first, "assign.signature");
    assert!(plane.edited("/kept"));
    plane.relay.cut();
    plane.relay.to(&[&registry.proxies]);
    registry.serves(EDGE, SLOT, &first);
    load.nothing_failed();
}

#[test]
fn g2_what_cannot_be_fetched_configured_or_tested_leaves_what_runs_untouched() {
    let (plane, registry, _gateway, first) = Plane::running(|_| ());
    let load = Load::start(&plane.folder.http);
    for (config, code) in [("refuse", "filter.configure"), ("trap-always", "filter.selftest")] {
        plane.folder.edit("guest.yaml", "do: edit", &format!("do: {config}"));
        registry.did(&["apply", "-f", ".", "--confirm"]);
        registry.keeps(EDGE, SLOT, &first, code);
        assert!(plane.edited("/kept"));
        plane.folder.edit("guest.yaml", &format!("do: {config}"), "do: edit");
        registry.did(&["apply", "-f", ".", "--confirm"]);
        registry.serves(EDGE, SLOT, &first);
    }
    let second = registry.release(2);
    plane.relay.cut();
    registry.pin(2);
    let component = registry.component(&second);
    let elsewhere = component.with_extension("elsewhere");
    fs::rename(&component, &elsewhere).unwrap();
    plane.relay.to(&[&registry.proxies]);
    registry.slot(EDGE, SLOT, "keeps its last good version", |one| {
        one["state"] == "kept-last-good" && one["running"]["digest"] == first.as_str()
    });
    assert!(plane.edited("/kept"));
    fs::rename(&elsewhere, &component).unwrap();
    registry.serves(EDGE, SLOT, &second);
    load.nothing_failed();
}

#[test]
fn g1_a_manifest_damaged_in_the_registry_reaches_nobody_and_holds_up_only_those_who_run_it() {
    let (plane, registry, _gateway, first) = Plane::running(|folder| {
        Plane::second_gateway(folder, "zone");
    });
    let _zone = plane.gateway("gateway:test/zone", "zone");
    let load = Load::start(&plane.folder.http);
    let manifest = registry.blob(&first);
    registry.kill();
    // It would still know what it has read before.
    let intact = alter(&manifest);
    let registry = plane.registry("data", &[]);
    plane.relay.to(&[&registry.proxies]);
    let telemetry = plane.folder.file(".tamis/store/tamis-telemetry-0.1.0.wasm");
    let telemetry = telemetry.display().to_string();
    let next = registry.release_of(&telemetry, "tamis/telemetry", 9, "local-dev");
    registry.did(&["pin", "*", "tamis/telemetry@9.0.0", "--confirm"]);
    registry.serves("gateway:test/zone", "test/telemetry", &next);
    assert!(plane.edited("/as-before"));
    fs::write(manifest, intact).unwrap();
    registry.serves(EDGE, "test/telemetry", &next);
    registry.serves(EDGE, SLOT, &first);
    load.nothing_failed();
}

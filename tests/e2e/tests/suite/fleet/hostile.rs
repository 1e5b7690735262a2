//! Registries that serve what nobody signed, and changes that do not work.

use std::fs;

use serde_json::json;
use tamis_e2e::tamis;
use tamis_trust::Digest;

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
fn bundles_of_strangers_cut_no_proxy_off_and_crowd_no_signature_out() {
    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
    let (plane, registry, _gateway, first) = Plane::running(|_| ());
    let put = |path: &str, kind: &str, body: &[u8]| {
        let method = if path.contains("uploads") { "POST" } else { "PUT" };
        let reply = registry.send(method, &format!("/v2/beta/junk/{path}"), kind, body);
        assert_eq!(reply.status, 201, "{}", reply.body);
    };
    let upload = |octets: &[u8]| {
        let path = format!("blobs/uploads/?digest={}", Digest::of(octets));
        put(&path, "application/octet-stream", octets);
    };
    let of = |kind: &str, octets: &[u8]| json!({ "mediaType": kind, "digest": Digest::of(octets).to_string(), "size": octets.len() });
    let subject = fs::read(registry.blob(&first)).unwrap();
    upload(b"{}");
    // Fewer than are chosen from, and together longer than a line to a proxy.
    for nth in 0..25 {
        let octets = format!("{{\"nth\":{nth}}}{}", " ".repeat(250_000)).into_bytes();
        upload(&octets);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "artifactType": BUNDLE,
            "config": of("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [of(BUNDLE, &octets)], "subject": of(IMAGE, &subject),
        });
        let manifest = manifest.to_string();
        put(&format!("manifests/{}", Digest::of(manifest.as_bytes())), IMAGE, manifest.as_bytes());
    }
    // What comes afterwards arrives, and what was crowded is still signed.
    let second = registry.release(2);
    registry.pin(2);
    registry.serves(EDGE, SLOT, &second);
    registry.did(&["rollback", "*", "test/guest", "--confirm"]);
    registry.serves(EDGE, SLOT, &first);
    assert!(plane.edited("/kept"));
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

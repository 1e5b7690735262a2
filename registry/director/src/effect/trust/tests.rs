use serde_json::json;
use tamis_resources::Resource;
use tamis_trust::{BuildInput, PrivateKey, build, code, sign};

use super::*;
use crate::change::Change;
use crate::effect::ChangeEffect;
use crate::fixture::{JWT, World, applied, document, pinned, removed};
use crate::record::{
    ApplyRecord, DocumentRecord, FileRecord, PinRecord, RevocationRecord, RevocationTarget,
};

/// The year 2027.
const NOW: u64 = 1_800_000_000;
const FILE: &str = "keys/release.pub";

/// A mesh in which one filter is signed by the first of two trusted keys.
struct Scene {
    world: World,
    keys: [PrivateKey; 3],
    manifest: String,
    bundle: String,
}

impl Scene {
    fn new() -> Self {
        Self::signed_by(None)
    }

    /// The same with what a Grant asks for.
    fn signed_by(signed_by: Option<Value>) -> Self {
        let keys = [(); 3].map(|()| PrivateKey::generate().unwrap());
        let manifest = build(b"\0asm a component", &BuildInput::new(JWT, "1.0.0")).unwrap();
        let bundle = sign(&keys[0], &manifest).unwrap();
        let manifest = String::from_utf8(manifest).unwrap();
        let mut scene = Self { world: World::mesh(), keys, manifest, bundle };
        let change = scene.policy(|_| ());
        let files = vec![FileRecord { path: FILE.to_owned(), text: scene.pem(0) }];
        scene.world.append("ada", ApplyRecord { files, ..applied([change]) });
        let pin = PinRecord { digest: scene.digest(), ..pinned("*", JWT, "1.0.0") };
        scene.world.append("ada", pin);
        if let Some(asked) = signed_by {
            let grant = json!({ "filter": JWT, "signedBy": asked });
            scene.world.append("ada", applied([document("Grant", JWT, &grant)]));
        }
        scene.world.is_well();
        scene
    }

    fn digest(&self) -> Digest {
        Digest::of(self.manifest.as_bytes())
    }

    fn pem(&self, at: usize) -> String {
        self.keys[at].public_key().to_pem()
    }

    fn spec(&self) -> Value {
        json!({
            "namespaces": ["*"], "threshold": 1,
            "keys": [
                { "name": "release", "publicKeyFile": FILE },
                { "name": "ops", "publicKey": self.pem(1) },
            ],
        })
    }

    /// The policy of all filters, changed.
    fn policy(&self, change: impl FnOnce(&mut Value)) -> DocumentRecord {
        let mut spec = self.spec();
        change(&mut spec);
        document("TrustPolicy", "security/all", &spec)
    }

    fn effect(&mut self, change: ApplyRecord) -> ChangeEffect {
        self.world.plans.effect(&self.world.state, &Change::Apply(change)).unwrap()
    }

    /// What a change stops. Nothing is known of the artifact of the router.
    fn stopped(&self, effect: &ChangeEffect) -> Vec<DistrustedSlot> {
        let (bundles, logged) = ([self.bundle.clone()], [Some(7)]);
        let signed = |digest: &Digest| {
            let manifest = self.manifest.as_str();
            (*digest == self.digest()).then_some(SignedManifest {
                manifest,
                bundles: &bundles,
                logged: &logged,
            })
        };
        effect.trust.as_ref().map(|trust| trust.stopped(&signed, NOW)).unwrap_or_default()
    }
}

/// What a row of the table expects: the code with a part of the reason, and the place of a problem.
type Expected = (Option<(&'static str, &'static str)>, Option<&'static str>);

const NOTHING: Expected = (None, None);

fn stops(code: &'static str, says: &'static str) -> Expected {
    (Some((code, says)), None)
}

fn fault(code: &'static str, says: &'static str, place: &'static str) -> Expected {
    (Some((code, says)), Some(place))
}

#[test]
fn every_field_of_a_trust_policy_is_judged_by_what_runs() {
    let mut scene = Scene::new();
    let id = scene.keys[0].public_key().id().to_string();
    let (digest, other) = (scene.digest().to_string(), Digest::of(b"other").to_string());
    let (own, stranger) = (scene.pem(0), scene.pem(2));
    let rows: Vec<(&str, Value, Expected)> = vec![
        ("keys", json!([{ "name": "release", "publicKey": own }]), NOTHING),
        ("keys", json!([{ "name": "renamed", "publicKey": own }]), NOTHING),
        (
            "keys",
            json!([{ "name": "release", "publicKey": stranger }]),
            stops(code::UNKNOWN_KEY, "is not in the policy"),
        ),
        (
            "keys",
            json!([{ "name": "release", "publicKey": "no key" }]),
            fault(code::UNKNOWN_KEY, "has a fault", "/spec/keys/0"),
        ),
        (
            "keys",
            json!([{ "name": "release", "publicKeyFile": "keys/missing.pub" }]),
            fault(code::UNKNOWN_KEY, "no key that counts", "/spec/keys/0/publicKeyFile"),
        ),
        (
            "keys",
            json!([{ "name": "a", "publicKey": own }, { "name": "a", "publicKey": stranger }]),
            fault(code::UNKNOWN_KEY, "has a fault", "/spec/keys/1/name"),
        ),
        (
            "keys",
            json!([{ "name": "release", "publicKey": own, "expires": "2026-01-01T00:00:00Z" }]),
            stops(code::EXPIRED, "expired at 2026-01-01"),
        ),
        (
            "keys",
            json!([{ "name": "release", "publicKey": own, "expires": "2030-01-01T00:00:00Z" }]),
            NOTHING,
        ),
        (
            "keys",
            json!([{ "name": "release", "publicKey": own, "notBefore": "2030-01-01T00:00:00Z" }]),
            stops(code::EXPIRED, "not valid before 2030-01-01"),
        ),
        (
            "threshold",
            json!(2),
            stops(
                code::THRESHOLD,
                "must be signed by 2 distinct keys, but only 1 counts (release)",
            ),
        ),
        (
            "threshold",
            json!(3),
            fault(
                code::THRESHOLD,
                "by 3 distinct keys, but only 1 counts (release)",
                "/spec/threshold",
            ),
        ),
        ("namespaces", json!(["acme/*"]), NOTHING),
        ("namespaces", json!(["acme/route"]), stops(code::UNKNOWN_KEY, "but no policy does")),
        ("floorVersions", json!({ JWT: "1.0.0", "acme/route": "9.0.0" }), NOTHING),
        (
            "floorVersions",
            json!({ JWT: "1.0.1" }),
            stops(code::REVOKED_DIGEST, "1.0.1 or later, this is 1.0.0"),
        ),
        ("revokedDigests", json!([other]), NOTHING),
        ("revokedDigests", json!([digest]), stops(code::REVOKED_DIGEST, "revokedDigests lists")),
        ("revokedKeys", json!(["ops"]), NOTHING),
        ("revokedKeys", json!(["release"]), stops(code::REVOKED_KEY, "\"release\" is revoked")),
        ("revokedKeys", json!([id]), stops(code::REVOKED_KEY, "is revoked")),
        ("revokedKeys", json!([{ "key": "release", "fromIndex": 8 }]), NOTHING),
        (
            "revokedKeys",
            json!([{ "key": "release", "fromIndex": 7 }]),
            stops(code::REVOKED_KEY, "recorded at 7"),
        ),
        (
            "revokedKeys",
            json!(["nobody"]),
            fault(code::REVOKED_DIGEST, "cannot be read", "/spec/revokedKeys"),
        ),
        // A later start refuses it; what runs keeps running.
        ("stalenessBound", json!("1ms"), NOTHING),
    ];
    let held = &scene.world.state.documents()["TrustPolicy/security/all"];
    let Resource::TrustPolicy(spec) = held.resource() else { panic!() };
    let spec = serde_json::to_value(spec).unwrap();
    let fields: BTreeSet<&str> = spec.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(rows.iter().map(|row| row.0).collect::<BTreeSet<_>>(), fields, "all are there");
    for (field, value, (stops, place)) in rows {
        let what = format!("{field}: {value}");
        let change = scene.policy(|spec| spec[field] = value);
        let read = crate::documents::read(&change).unwrap();
        let effect = scene.effect(applied([change]));
        let stopped = scene.stopped(&effect);
        let Some((code, says)) = stops else {
            assert!(stopped.is_empty() && effect.problems.is_empty(), "{what}: {stopped:?}");
            continue;
        };
        let slots: Vec<_> =
            stopped.iter().map(|it| (&*it.service, &*it.slot, it.nodes.len())).collect();
        let wanted =
            [("shop/a", "shop/a-jwt", 2), ("shop/b", "shop/b-jwt", 2), ("shop/c", "shop/c-jwt", 2)];
        assert_eq!(slots, wanted, "{what}");
        for DistrustedSlot { before, after, why, .. } in &stopped {
            assert_eq!((&*why.code, before.refused.is_none()), (code, true), "{what}: {why}");
            assert!(why.rule.contains(says) && !why.remedy.is_empty(), "{what}: {why}");
            assert_eq!((after.refused.as_deref(), after.digest), (Some(code), None), "{what}");
        }
        let at = |one: &Problem| (one.of.clone().unwrap(), one.place.start);
        let found: Vec<_> = effect.problems.iter().map(at).collect();
        let wanted = |place| ("TrustPolicy/security/all".to_owned(), read.place(place, "").start);
        let wanted: Vec<_> = place.map(wanted).into_iter().collect();
        assert_eq!(found, wanted, "{what}: {:?}", effect.problems);
    }
}

#[test]
fn policies_that_come_go_and_move_are_judged_as_changed_ones_are() {
    let mut scene = Scene::new();
    let closer = |spec: &Value, key: &str| {
        let mut spec = spec.clone();
        spec["namespaces"] = json!(["acme/*"]);
        spec["keys"] = json!([{ "name": "other", "publicKey": key }]);
        document("TrustPolicy", "security/acme", &spec)
    };
    let spec = scene.spec();
    let gone = "TrustPolicy/security/all";
    let moved = ApplyRecord {
        documents: vec![document("TrustPolicy", "safety/all", &spec)],
        ..removed(gone)
    };
    let file = |text: String| ApplyRecord {
        files: vec![FileRecord { path: FILE.to_owned(), text }],
        ..ApplyRecord::default()
    };
    let rows = [
        ("a closer one of a stranger", applied([closer(&spec, &scene.pem(2))]), true),
        ("a closer one of the same key", applied([closer(&spec, &scene.pem(0))]), false),
        ("one that is gone", removed(gone), true),
        ("one under another name", moved, false),
        ("another key in its file", file(scene.pem(2)), true),
        ("the same key in its file", file(scene.pem(0)), false),
        ("nothing", ApplyRecord::default(), false),
    ];
    for (what, change, ends) in rows {
        let effect = scene.effect(change);
        assert_eq!(scene.stopped(&effect).len(), if ends { 3 } else { 0 }, "{what}");
    }
}

#[test]
fn a_policy_that_leaves_security_decides_nothing_any_more() {
    let mut scene = Scene::new();
    let entries = std::mem::take(&mut scene.world.entries);
    scene.world = World::guarded();
    for entry in entries {
        scene.world.raw(&entry.actor, &entry.kind, entry.body);
    }
    let grant = document("Grant", "security/jwt", &json!({ "filter": JWT }));
    scene.world.append("ada", applied([grant]));
    let own = document("TrustPolicy", "acme/all", &scene.spec());
    let moved = ApplyRecord { documents: vec![own], ..removed("TrustPolicy/security/all") };
    let effect = scene.effect(moved);
    let stopped = scene.stopped(&effect);
    assert_eq!(stopped.len(), 3);
    assert!(stopped[0].why.rule.contains("no policy does"), "{:?}", stopped[0].why);
}

#[test]
fn a_key_that_a_grant_asks_for_by_name_is_missed_under_another_name() {
    let mut scene = Scene::signed_by(Some(json!({ "keys": ["release"] })));
    let own = scene.pem(0);
    let renamed = |spec: &mut Value| spec["keys"] = json!([{ "name": "team", "publicKey": own }]);
    let change = scene.policy(renamed);
    let effect = scene.effect(applied([change.clone()]));
    let stopped = scene.stopped(&effect);
    assert_eq!(stopped.len(), 3);
    assert!(stopped[0].why.rule.contains("its grant asks for 1"), "{:?}", stopped[0].why);
    // Together with the Grant it is no change of what may run.
    let grant = json!({ "filter": JWT, "signedBy": { "keys": ["team"] } });
    let effect = scene.effect(applied([change, document("Grant", JWT, &grant)]));
    assert!(effect.trust.is_some() && scene.stopped(&effect).is_empty());
}

#[test]
fn what_is_refused_already_is_not_stopped_by_a_change() {
    let mut scene = Scene::new();
    let digest = scene.digest();
    let revoked = |now| RevocationRecord {
        what: RevocationTarget::Digest { digest },
        reason: "so".to_owned(),
        now,
    };
    let threshold = |scene: &Scene| applied([scene.policy(|spec| spec["threshold"] = json!(2))]);
    // It runs on where its revocation stops nothing.
    scene.world.append("ada", revoked(false));
    let change = threshold(&scene);
    let effect = scene.effect(change);
    assert_eq!(scene.stopped(&effect).len(), 3);
    scene.world.append("ada", revoked(true));
    let change = threshold(&scene);
    let effect = scene.effect(change);
    assert!(effect.trust.is_some() && scene.stopped(&effect).is_empty());
}

#[test]
fn a_policy_of_other_filters_makes_nobody_verify_what_it_does_not_cover() {
    let mut scene = Scene::new();
    let mut spec = scene.spec();
    for (covers, count) in [("other/*", 0), ("acme/jwt", 1), ("acme/*", 2)] {
        spec["namespaces"] = json!([covers]);
        let effect = scene.effect(applied([document("TrustPolicy", "security/more", &spec)]));
        let digests = effect.trust.as_ref().unwrap().digests();
        assert_eq!(digests.len(), count, "{covers}: {digests:?}");
    }
}

#[test]
fn other_changes_say_nothing_of_trust() {
    let mut scene = Scene::new();
    let grant = json!({ "filter": JWT, "limits": { "memory": "8MiB" } });
    assert!(scene.effect(applied([document("Grant", JWT, &grant)])).trust.is_none());
    let pin = Change::Pin(pinned("shop/a", JWT, "1.1.0"));
    let World { state, plans, .. } = &mut scene.world;
    assert!(plans.effect(state, &pin).unwrap().trust.is_none());
}

//! Promises of the second signature: whose signature counts, for what, and that no altered byte is
//! accepted.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::borrow::Cow;

use super::*;
use crate::bundle::MAX_BUNDLES;
use crate::refused::{Refused, code};
use crate::{
    BuildInput, SignaturePolicy, Timestamp, VerificationRequest, build, config_digest, sign,
    verify_manifest,
};

const NOW: u64 = 1_800_000_000;

struct Scene {
    keys: Vec<PrivateKey>,
    director: DirectorKeys,
    config: Value,
    assignment: Assignment,
}

fn trusted(keys: &[PrivateKey]) -> Value {
    let one = |(at, key): (usize, &PrivateKey)| json!({ "name": format!("d{at}"), "publicKey": key.public_key().to_pem() });
    keys.iter().enumerate().map(one).collect()
}

fn scene(threshold: usize) -> Scene {
    let keys: Vec<PrivateKey> = (0..3).map(|_| PrivateKey::generate().unwrap()).collect();
    let document = json!({ "keys": trusted(&keys), "threshold": threshold });
    let config = json!({ "attempts": 3, "on": ["503", "reset"] });
    let assignment = Assignment {
        service: "shop/checkout".to_owned(),
        slot: "shop/retries".to_owned(),
        filter: "acme/retry".parse().unwrap(),
        manifest: Digest::of(b"a manifest"),
        config: config_digest(&config),
        version: 7,
        issued: NOW - 10,
        expires: NOW + 3600,
        mode: AssignmentMode::Serve,
    };
    let director = DirectorKeys::from_json(document.to_string().as_bytes()).unwrap();
    Scene { keys, director, config, assignment }
}

impl Scene {
    fn sign(&self, at: usize) -> String {
        sign_assignment(&self.keys[at], &self.assignment).unwrap()
    }

    /// The envelope of the first key for an assignment that differs.
    fn signed_after(&self, change: impl FnOnce(&mut Assignment)) -> String {
        let mut assignment = self.assignment.clone();
        change(&mut assignment);
        sign_assignment(&self.keys[0], &assignment).unwrap()
    }

    /// An envelope of the first key around any statement.
    fn statement_after(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut value = serde_json::to_value(self.assignment.statement().unwrap()).unwrap();
        change(&mut value);
        bundle(&self.keys[0], PAYLOAD_TYPE, value.to_string().as_bytes()).unwrap()
    }

    fn asked<'a>(&'a self, envelopes: &'a [&'a [u8]]) -> AssignmentRequest<'a> {
        AssignmentRequest {
            service: "shop/checkout",
            slot: "shop/retries",
            manifest: &self.assignment.manifest,
            config: &self.config,
            envelopes,
            director: &self.director,
            floor: 7,
            now: NOW,
        }
    }

    fn verify(&self, envelopes: &[String]) -> Result<Assignment, Refused> {
        let envelopes: Vec<&[u8]> = envelopes.iter().map(String::as_bytes).collect();
        verify_assignment(&self.asked(&envelopes))
    }

    fn refusal(&self, envelopes: &[String]) -> Cow<'static, str> {
        let refused = self.verify(envelopes).unwrap_err();
        for part in [&refused.rule, &refused.set_by, &refused.remedy] {
            assert!(!part.is_empty() && !part.contains('\n'), "{refused}");
        }
        refused.code
    }
}

#[test]
fn what_the_director_signs_is_assigned() {
    let scene = scene(2);
    assert_eq!(scene.verify(&[scene.sign(2), scene.sign(0)]).unwrap(), scene.assignment);
    let shadow = scene.signed_after(|it| it.mode = AssignmentMode::Shadow);
    assert_eq!(scene.refusal(&[scene.sign(1), shadow]), code::ASSIGN_THRESHOLD);
}

#[test]
fn an_envelope_is_a_statement_of_its_own_type_about_the_manifest() {
    let scene = scene(1);
    let envelope = crate::bundle::Envelope::parse(scene.sign(0).as_bytes()).unwrap();
    let (manifest, config) = (scene.assignment.manifest.hex(), scene.assignment.config);
    assert_eq!(
        String::from_utf8(envelope.payload).unwrap(),
        format!(
            "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{{\"name\":\"acme/retry\",\
             \"digest\":{{\"sha256\":\"{manifest}\"}},\"annotations\":{{}}}}],\
             \"predicateType\":\"https://tamis.dev/assignment/v1\",\"predicate\":{{\
             \"service\":\"shop/checkout\",\"slot\":\"shop/retries\",\"config\":\"{config}\",\
             \"version\":7,\"issued\":1799999990,\"expires\":1800003600,\"mode\":\"serve\"}}}}"
        )
    );
}

#[test]
fn each_rule_that_refuses_has_its_code() {
    let scene = scene(1);
    let rows: Vec<(&str, Vec<String>)> = vec![
        (code::ASSIGN_MISSING, vec![]),
        (code::ASSIGN_SIGNATURE, vec!["rubbish".to_owned()]),
        (code::ASSIGN_SIGNATURE, vec![scene.sign(0); MAX_BUNDLES + 1]),
        (
            code::ASSIGN_SIGNATURE,
            vec![sign_assignment(&PrivateKey::generate().unwrap(), &scene.assignment).unwrap()],
        ),
        (
            code::ASSIGN_OTHER_SERVICE,
            vec![scene.signed_after(|it| it.service = "shop/cart".to_owned())],
        ),
        (code::ASSIGN_OTHER_SLOT, vec![scene.signed_after(|it| it.slot = "shop/jwt".to_owned())]),
        (
            code::ASSIGN_OTHER_DIGEST,
            vec![scene.signed_after(|it| it.manifest = Digest::of(b"another"))],
        ),
        (
            code::ASSIGN_OTHER_CONFIG,
            vec![scene.signed_after(|it| it.config = config_digest(&json!({})))],
        ),
        (code::ASSIGN_ROLLBACK, vec![scene.signed_after(|it| it.version = 6)]),
        (code::ASSIGN_EXPIRED, vec![scene.signed_after(|it| it.expires = NOW)]),
        (
            code::ASSIGN_EXPIRED,
            vec![scene.signed_after(|it| it.issued = NOW + CLOCK_SKEW_SECONDS + 1)],
        ),
    ];
    for (code, envelopes) in rows {
        assert_eq!(scene.refusal(&envelopes), code);
    }
    let early = scene.signed_after(|it| it.issued = NOW + CLOCK_SKEW_SECONDS);
    assert!(scene.verify(&[early]).is_ok(), "clocks differ a little");
}

#[test]
fn a_key_counts_once_and_for_one_assignment_only() {
    let scene = scene(2);
    assert_eq!(scene.refusal(&[scene.sign(0), scene.sign(0)]), code::ASSIGN_THRESHOLD);
    let newer = scene.signed_after(|it| it.version = 8);
    assert_eq!(scene.refusal(&[newer, scene.sign(1)]), code::ASSIGN_THRESHOLD);
}

#[test]
fn what_lies_beside_a_good_assignment_does_not_hurt_and_the_newest_counts() {
    let scene = scene(1);
    let old = scene.signed_after(|it| it.version = 3);
    let elsewhere = scene.signed_after(|it| {
        it.version = 90;
        it.service = "shop/cart".to_owned();
    });
    let newest = scene.signed_after(|it| it.version = 9);
    let beside = ["rubbish".to_owned(), old.clone(), elsewhere.clone(), scene.sign(1), newest];
    assert_eq!(scene.verify(&beside).unwrap().version, 9);
    // When several envelopes do not match, the closest one is reported.
    assert_eq!(scene.refusal(&[elsewhere, old]), code::ASSIGN_ROLLBACK);
}

#[test]
fn a_director_key_outside_its_time_does_not_count() {
    let mut scene = scene(1);
    let mut keys = scene.director.keys().to_vec();
    keys[0].expires = Some(Timestamp(NOW));
    keys[1].not_before = Some(Timestamp(NOW + 1));
    scene.director = DirectorKeys::new(keys, 1).unwrap();
    for at in [0, 1] {
        assert_eq!(scene.refusal(&[scene.sign(at)]), code::ASSIGN_SIGNATURE);
    }
    let refused = scene.verify(&[scene.sign(0)]).unwrap_err();
    assert!(refused.rule.contains("key \"d0\" expired"), "{refused}");
    assert!(refused.remedy.contains("1 of d2"), "{refused}");
}

#[test]
fn author_and_director_never_pass_for_each_other_even_with_one_key() {
    let mut scene = scene(1);
    let manifest = build(b"\0asm", &BuildInput::new("acme/retry", "1.4.2")).unwrap();
    scene.assignment.manifest = Digest::of(&manifest);
    let by_author = sign(&scene.keys[0], &manifest).unwrap();
    let by_director = scene.sign(0);
    assert!(scene.verify(std::slice::from_ref(&by_director)).is_ok());
    let refused = scene.verify(std::slice::from_ref(&by_author)).unwrap_err();
    assert_eq!(refused.code, code::ASSIGN_SIGNATURE);
    assert!(refused.rule.contains("predicate type"), "{refused}");

    let policy = json!({
        "name": "acme", "namespaces": ["*"], "threshold": 1, "keys": trusted(&scene.keys),
    });
    let policy = SignaturePolicy::from_json(policy.to_string().as_bytes()).unwrap();
    let verify = |bundle: &str| {
        verify_manifest(&VerificationRequest {
            pinned: &scene.assignment.manifest,
            name: None,
            manifest: &manifest,
            bundles: &[bundle.as_bytes()],
            logged: &[],
            policies: std::slice::from_ref(&policy),
            policy_age: std::time::Duration::ZERO,
            now: NOW,
        })
    };
    assert!(verify(&by_author).is_ok());
    assert_eq!(verify(&by_director).unwrap_err().code, code::WRONG_SUBJECT);
}

#[test]
fn a_signed_statement_that_is_no_assignment_is_refused() {
    let scene = scene(1);
    let refused = |change: fn(&mut Value)| {
        assert_eq!(scene.refusal(&[scene.statement_after(change)]), code::ASSIGN_SIGNATURE);
    };
    assert!(scene.verify(&[scene.statement_after(|_| {})]).is_ok());
    refused(|it| it["predicate"]["extra"] = json!(1));
    refused(|it| it["predicate"]["mode"] = json!("dry"));
    refused(|it| it["predicate"]["version"] = json!(-1));
    refused(|it| it["predicate"]["version"] = json!(0));
    refused(|it| it["predicate"]["version"] = json!("8"));
    refused(|it| it["predicate"]["service"] = json!("a\nb"));
    refused(|it| it["predicate"]["slot"] = json!(""));
    refused(|it| it["predicate"]["issued"] = json!(u64::MAX));
    refused(|it| drop(it["predicate"].as_object_mut().unwrap().remove("config")));
    refused(|it| it["predicateType"] = json!("https://tamis.dev/assignment/v2"));
    refused(|it| it["_type"] = json!("https://in-toto.io/Statement/v0.1"));
    refused(|it| it["subject"][0]["name"] = json!("retry"));
    refused(|it| it["subject"] = json!([it["subject"][0], it["subject"][0]]));
    refused(|it| it["subject"] = json!([]));
}

#[test]
fn an_assignment_nobody_would_accept_is_not_signed() {
    let scene = scene(1);
    let changes: [fn(&mut Assignment); 5] = [
        |it| it.service.clear(),
        |it| it.slot = "x".repeat(PLACE_BYTES + 1),
        |it| it.slot = "a\rb".to_owned(),
        |it| it.version = 0,
        |it| it.expires = it.issued,
    ];
    for change in changes {
        let mut assignment = scene.assignment.clone();
        change(&mut assignment);
        let error = sign_assignment(&scene.keys[0], &assignment).unwrap_err();
        assert!(error.to_string().contains("must"), "{error}");
    }
}

#[test]
fn director_keys_that_contradict_themselves_are_refused() {
    let keys = trusted(&[PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap()]);
    let read = |value: Value| DirectorKeys::from_json(value.to_string().as_bytes());
    assert_eq!(read(json!({ "keys": keys, "threshold": 2 })).unwrap().threshold(), 2);
    for bad in [
        json!({ "keys": keys, "threshold": 0 }),
        json!({ "keys": keys, "threshold": 3 }),
        json!({ "keys": [], "threshold": 0 }),
        json!({ "keys": [keys[0], keys[0]], "threshold": 1 }),
        json!({ "keys": keys, "threshold": 1, "more": 1 }),
    ] {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
    let one = read(json!({ "keys": keys, "threshold": 1 })).unwrap().keys()[0].clone();
    assert!(DirectorKeys::new(vec![one.clone(), one], 1).is_err());
}

#[test]
fn what_was_seen_only_rises_and_survives_a_restart() {
    let mut assignment = scene(1).assignment;
    let mut seen = VersionFloors::default();
    assert_eq!(seen.floor("shop/checkout", "shop/retries"), 0);
    assert!(seen.take(&assignment) && !seen.take(&assignment));
    assignment.version = 3;
    assert!(!seen.take(&assignment));
    let text = serde_json::to_string(&seen).unwrap();
    assert_eq!(text, r#"{"shop/checkout":{"shop/retries":7}}"#);
    let again: VersionFloors = serde_json::from_str(&text).unwrap();
    assert_eq!((again.floor("shop/checkout", "shop/retries"), again), (7, seen));
}

#[test]
fn no_flipped_bit_of_an_envelope_is_ever_accepted() {
    let scene = scene(1);
    let good = scene.sign(0);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut altered = good.clone().into_bytes();
            altered[at] ^= 1 << bit;
            assert!(verify_assignment(&scene.asked(&[&altered])).is_err(), "byte {at} bit {bit}");
        }
    }
}

fn assigned(asked: &AssignmentRequest<'_>) -> bool {
    verify_assignment(asked).is_ok()
}

fn flipped(text: &str, at: prop::sample::Index, flip: u8) -> Option<String> {
    let mut octets = text.as_bytes().to_vec();
    let at = at.index(octets.len());
    octets[at] ^= flip;
    String::from_utf8(octets).ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_flipped_byte_of_an_input_is_ever_accepted(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let scene = scene(1);
        let good = scene.sign(0);
        let envelopes = [good.as_bytes()];
        let asked = scene.asked(&envelopes);
        prop_assert!(assigned(&asked));
        if let Some(service) = flipped(asked.service, at, flip) {
            prop_assert_eq!(assigned(&AssignmentRequest { service: &service, ..asked }), false);
        }
        if let Some(slot) = flipped(asked.slot, at, flip) {
            prop_assert_eq!(assigned(&AssignmentRequest { slot: &slot, ..asked }), false);
        }
        let manifest = flipped(&asked.manifest.to_string(), at, flip);
        if let Some(manifest) = manifest.and_then(|text| text.parse::<Digest>().ok()) {
            prop_assert_eq!(assigned(&AssignmentRequest { manifest: &manifest, ..asked }), false);
        }
        let config = flipped(&asked.config.to_string(), at, flip);
        if let Some(config) = config.and_then(|text| serde_json::from_str::<Value>(&text).ok()) {
            // A flip may only change the notation (an upper-case exponent, for example): the same value,
            // the same digest.
            let same = config_digest(&config) == scene.assignment.config;
            prop_assert_eq!(assigned(&AssignmentRequest { config: &config, ..asked }), same);
            prop_assert_eq!(config == scene.config, same);
        }
        let document = json!({ "keys": trusted(&scene.keys[..1]), "threshold": 1 });
        let keys = flipped(&document.to_string(), at, flip);
        if let Some(director) = keys.and_then(|text| DirectorKeys::from_json(text.as_bytes()).ok()) {
            // A flip in the key's name changes its name, not which key it is.
            let same = director.keys()[0].key == scene.keys[0].public_key();
            prop_assert_eq!(assigned(&AssignmentRequest { director: &director, ..asked }), same);
        }
    }

    #[test]
    fn no_spliced_envelope_is_ever_accepted(
        at in any::<prop::sample::Index>(), cut in 0usize..40, put in "[\\x00-\\x7f]{0,40}",
    ) {
        let scene = scene(1);
        let good = scene.sign(0);
        let from = at.index(good.len());
        let spliced = [&good[..from], &put, &good[(from + cut).min(good.len())..]].concat();
        prop_assert_eq!(scene.verify(std::slice::from_ref(&spliced)).is_ok(), spliced == good);
    }
}

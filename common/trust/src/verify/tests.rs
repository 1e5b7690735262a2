//! Promises of the verifier: what it accepts, what it refuses and with which code, and that no altered byte
//! is accepted as a different statement.

use std::borrow::Cow;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::bundle::PAYLOAD_TYPE;
use crate::lines::bundle_lines;
use crate::sign::{bundle, sign, statement, to_json};
use crate::{BuildInput, PrivateKey, Timestamp, build};

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 a component";
const NOW: u64 = 1_800_000_000;

struct Scene {
    keys: Vec<PrivateKey>,
    manifest: Vec<u8>,
    policy: Value,
}

fn scene(threshold: usize) -> Scene {
    let keys: Vec<PrivateKey> = (0..3).map(|_| PrivateKey::generate().unwrap()).collect();
    let trusted: Vec<Value> = keys
        .iter()
        .enumerate()
        .map(
            |(at, key)| json!({ "name": format!("k{at}"), "publicKey": key.public_key().to_pem() }),
        )
        .collect();
    Scene {
        keys,
        manifest: build(COMPONENT, &BuildInput::new("acme/retry", "1.4.2")).unwrap(),
        policy: json!({ "name": "acme", "namespaces": ["acme/*"], "threshold": threshold, "keys": trusted }),
    }
}

impl Scene {
    fn policy(&self) -> SignaturePolicy {
        SignaturePolicy::from_json(self.policy.to_string().as_bytes()).unwrap()
    }

    fn sign(&self, at: usize) -> String {
        sign(&self.keys[at], &self.manifest).unwrap()
    }

    fn verify(&self, bundles: &[String]) -> Result<VerifiedFilter, Refused> {
        let bundles: Vec<&[u8]> = bundles.iter().map(String::as_bytes).collect();
        self.verify_under(&bundles, &[self.policy()])
    }

    fn verify_under(
        &self,
        bundles: &[&[u8]],
        policies: &[SignaturePolicy],
    ) -> Result<VerifiedFilter, Refused> {
        self.verify_logged(bundles, &[], policies, Duration::ZERO)
    }

    fn verify_logged(
        &self,
        bundles: &[&[u8]],
        logged: &[Option<u64>],
        policies: &[SignaturePolicy],
        policy_age: Duration,
    ) -> Result<VerifiedFilter, Refused> {
        let (pinned, manifest) = (&Digest::of(&self.manifest), &self.manifest);
        let (name, now) = (Some("acme/retry"), NOW);
        let request = VerificationRequest {
            pinned,
            name,
            manifest,
            bundles,
            logged,
            policies,
            policy_age,
            now,
        };
        verify(&request, COMPONENT)
    }

    fn refusal(&self, bundles: &[String]) -> Cow<'static, str> {
        self.verify(bundles).unwrap_err().code
    }

    /// A correctly signed bundle by the first key whose statement was changed before it was signed.
    fn signed_after(&self, change: impl FnOnce(&mut Value)) -> String {
        let payload = statement(&Manifest::parse(&self.manifest).unwrap());
        let mut value = serde_json::to_value(payload).unwrap();
        change(&mut value);
        bundle(&self.keys[0], PAYLOAD_TYPE, value.to_string().as_bytes()).unwrap()
    }
}

/// The bundle with this JSON changed after it was signed.
fn changed(text: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    change(&mut value);
    value.to_string()
}

#[test]
fn what_is_signed_verifies() {
    let scene = scene(2);
    let verified = scene.verify(&[scene.sign(1), scene.sign(0)]).unwrap();
    assert_eq!(verified.digest, Digest::of(&scene.manifest));
    assert_eq!(verified.name.as_str(), "acme/retry");
    assert_eq!(verified.version.to_string(), "1.4.2");
    assert_eq!(verified.signers, [SignerName("k0".to_owned()), SignerName("k1".to_owned())]);
}

#[test]
fn the_bundle_is_what_cosign_writes() {
    let scene = scene(1);
    let value: Value = serde_json::from_str(&scene.sign(0)).unwrap();
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&value), ["mediaType", "verificationMaterial", "dsseEnvelope"]);
    assert_eq!(members(&value["dsseEnvelope"]), ["payload", "payloadType", "signatures"]);
    let envelope = Envelope::parse(scene.sign(0).as_bytes()).unwrap();
    let digest = Digest::of(&scene.manifest).hex();
    assert_eq!(
        String::from_utf8(envelope.payload).unwrap(),
        format!(
            "{{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{{\"name\":\"acme/retry\",\
             \"digest\":{{\"sha256\":\"{digest}\"}},\"annotations\":{{\
             \"org.opencontainers.image.title\":\"acme/retry\",\
             \"org.opencontainers.image.version\":\"1.4.2\"}}}}],\
             \"predicateType\":\"https://sigstore.dev/cosign/sign/v1\",\"predicate\":{{}}}}"
        )
    );
}

#[test]
fn the_same_key_twice_counts_once() {
    let scene = scene(2);
    assert_eq!(scene.refusal(&[scene.sign(0), scene.sign(0)]), code::THRESHOLD);
    let other_hint = changed(&scene.sign(0), |value| {
        value["verificationMaterial"]["publicKey"]["hint"] =
            json!(scene.keys[1].public_key().id().to_string());
    });
    assert_eq!(scene.refusal(&[scene.sign(0), other_hint]), code::THRESHOLD);
}

#[test]
fn a_bundle_without_name_or_hint_is_fine_as_cosign_writes_it_so() {
    let scene = scene(1);
    let bundle = scene.signed_after(|value| {
        value["subject"][0].as_object_mut().unwrap().remove("name");
    });
    let bundle = changed(&bundle, |value| {
        value["verificationMaterial"]["publicKey"] = json!({});
        value["verificationMaterial"]["tlogEntries"] = json!([]);
        value["dsseEnvelope"]["signatures"][0]["keyid"] = json!("");
    });
    assert!(scene.verify(&[bundle]).is_ok());
}

#[test]
fn rubbish_beside_a_good_bundle_does_not_hurt() {
    let scene = scene(1);
    let stranger = sign(&PrivateKey::generate().unwrap(), &scene.manifest).unwrap();
    assert!(scene.verify(&["rubbish".to_owned(), stranger, scene.sign(2)]).is_ok());
}

#[test]
fn however_many_bundles_are_beside_an_artifact_the_good_one_counts() {
    let scene = scene(2);
    let (one, two) = (scene.sign(0), scene.sign(1));
    let stranger = sign(&PrivateKey::generate().unwrap(), &scene.manifest).unwrap();
    // It names a trusted key but was not signed by it.
    let forged = changed(&stranger, |value| {
        let named: Value = serde_json::from_str(&one).unwrap();
        value["verificationMaterial"] = named["verificationMaterial"].clone();
    });
    for rubbish in
        ["{}".to_owned(), String::new(), "x".repeat(300_000), stranger, forged.clone(), one.clone()]
    {
        for many in [1, 32, 33, 200] {
            let mut bundles = vec![rubbish.clone(); many];
            bundles.insert(many / 2, two.clone());
            bundles.push(one.clone());
            let verified = scene.verify(&bundles);
            assert!(verified.is_ok(), "{many}: {verified:?}");
        }
    }
    // As many as fit into the file beside an artifact.
    let mut bundles = vec!["{}".to_owned(); 1 << 17];
    bundles.extend([two, one.clone()]);
    assert!(scene.verify(&bundles).is_ok());
    let policies = [scene.policy()];
    let manifest = Digest::of(&scene.manifest);
    assert!(crate::is_by(one.as_bytes(), &manifest, &policies));
    assert!(!crate::is_by(forged.as_bytes(), &manifest, &policies), "a name proves nothing");
    let other = scene.signed_after(|statement| {
        statement["subject"][0]["digest"]["sha256"] = json!("0".repeat(64));
    });
    let about_another = "a good signature of something else is anybody's to bring";
    assert!(!crate::is_by(other.as_bytes(), &manifest, &policies), "{about_another}");
    assert!(scene.verify(&vec![one; 200]).is_err(), "one key is one key");
}

#[test]
fn signatures_that_do_not_count_are_told_apart() {
    let scene = scene(1);
    let good = scene.sign(0);
    let stranger = sign(&PrivateKey::generate().unwrap(), &scene.manifest).unwrap();
    let other = build(COMPONENT, &BuildInput::new("acme/retry", "1.4.3")).unwrap();
    let rows: Vec<(&str, String)> = vec![
        (code::UNKNOWN_KEY, stranger),
        (code::WRONG_SUBJECT, sign(&scene.keys[0], &other).unwrap()),
        (
            code::BAD_SIGNATURE,
            changed(&good, |value| {
                let theirs: Value =
                    serde_json::from_str(&sign(&scene.keys[0], &other).unwrap()).unwrap();
                value["dsseEnvelope"]["signatures"] = theirs["dsseEnvelope"]["signatures"].clone();
            }),
        ),
        (
            code::FORMAT,
            changed(&good, |value| {
                let one = value["dsseEnvelope"]["signatures"][0].clone();
                value["dsseEnvelope"]["signatures"] = json!([one, one]);
            }),
        ),
        (code::FORMAT, changed(&good, |value| value["dsseEnvelope"]["signatures"] = json!([]))),
        (
            code::FORMAT,
            changed(&good, |value| {
                value["verificationMaterial"] = json!({ "certificate": { "rawBytes": "AAAA" } });
            }),
        ),
        (
            code::FORMAT,
            changed(&good, |value| {
                value["verificationMaterial"]["certificate"] = json!({ "rawBytes": "AAAA" });
            }),
        ),
        (
            code::FORMAT,
            changed(&good, |value| {
                value["dsseEnvelope"]["payloadType"] = json!("application/json");
            }),
        ),
        (
            code::FORMAT,
            changed(&good, |value| {
                value["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.2");
            }),
        ),
        (code::FORMAT, changed(&good, |value| value["messageSignature"] = json!({}))),
        (
            code::FORMAT,
            good.replacen("\"dsseEnvelope\":", "\"dsseEnvelope\":{},\"dsseEnvelope\":", 1),
        ),
        (code::FORMAT, format!("{}{good}", " ".repeat(crate::MAX_BUNDLE_BYTES))),
        (
            code::WRONG_SUBJECT,
            scene.signed_after(|value| {
                value["predicateType"] = json!("https://spdx.dev/Document");
            }),
        ),
        (
            code::FORMAT,
            scene.signed_after(|value| {
                value["_type"] = json!("https://in-toto.io/Statement/v0.1");
            }),
        ),
        (code::WRONG_SUBJECT, scene.signed_after(|value| value["subject"] = json!([]))),
        (
            code::FORMAT,
            scene.signed_after(|value| {
                let one = value["subject"][0].clone();
                value["subject"] = json!([one, one]);
            }),
        ),
        (
            code::WRONG_NAME,
            scene.signed_after(|value| value["subject"][0]["name"] = json!("beta/x")),
        ),
        (
            code::WRONG_NAME,
            scene.signed_after(|value| {
                value["subject"][0]["annotations"][TITLE] = json!("beta/x");
            }),
        ),
        (
            code::WRONG_NAME,
            scene.signed_after(|value| {
                value["subject"][0]["annotations"][VERSION] = json!("9.9.9");
            }),
        ),
        (
            code::WRONG_NAME,
            scene.signed_after(|value| {
                value["subject"][0]["annotations"] = json!({ TITLE: "acme/retry" });
            }),
        ),
    ];
    for (at, (wanted, bundle)) in rows.into_iter().enumerate() {
        let refused = scene.verify(&[bundle]).unwrap_err();
        assert_eq!(refused.code, wanted, "row {at}: {refused}");
    }
    let manifest = Manifest::parse(&scene.manifest).unwrap();
    let other_type =
        bundle(&scene.keys[0], "text/plain", &to_json(&statement(&manifest)).unwrap()).unwrap();
    assert_eq!(scene.refusal(&[other_type]), code::FORMAT);
    assert_eq!(scene.refusal(&[]), code::UNSIGNED);
}

#[test]
fn a_duplicate_member_inside_a_signed_payload_is_refused() {
    let scene = scene(1);
    let manifest = Manifest::parse(&scene.manifest).unwrap();
    let payload = String::from_utf8(to_json(&statement(&manifest)).unwrap()).unwrap();
    let twice = payload.replacen("\"subject\":", "\"subject\":[],\"subject\":", 1);
    let bundle = bundle(&scene.keys[0], PAYLOAD_TYPE, twice.as_bytes()).unwrap();
    assert_eq!(scene.refusal(&[bundle]), code::FORMAT);
}

#[test]
fn the_policy_decides() {
    type Change = fn(&Scene, &mut Value);
    let rows: [(&str, Change); 7] = [
        (code::REVOKED_DIGEST, |scene, policy| {
            policy["revokedDigests"] = json!([Digest::of(&scene.manifest).to_string()]);
        }),
        (code::REVOKED_DIGEST, |_, policy| {
            policy["floorVersions"] = json!({ "acme/retry": "1.4.3" });
        }),
        (code::REVOKED_KEY, |_, policy| policy["revokedKeys"] = json!(["k0"])),
        (code::REVOKED_KEY, |scene, policy| {
            policy["revokedKeys"] = json!([scene.keys[0].public_key().id().to_string()]);
            policy["keys"].as_array_mut().unwrap().remove(0);
        }),
        (code::EXPIRED, |_, policy| {
            policy["keys"][0]["expires"] = json!(Timestamp(NOW).to_string());
        }),
        (code::EXPIRED, |_, policy| {
            policy["keys"][0]["notBefore"] = json!(Timestamp(NOW + 1).to_string());
        }),
        (code::UNKNOWN_KEY, |_, policy| policy["namespaces"] = json!(["beta/*"])),
    ];
    for (at, (wanted, change)) in rows.into_iter().enumerate() {
        let mut scene = scene(1);
        let mut policy = scene.policy.clone();
        change(&scene, &mut policy);
        scene.policy = policy;
        let refused = scene.verify(&[scene.sign(0)]).unwrap_err();
        assert_eq!(refused.code, wanted, "row {at}: {refused}");
    }
    let mut scene = scene(3);
    scene.policy["revokedKeys"] = json!(["k2"]);
    let refused = scene.verify(&[]).unwrap_err();
    assert_eq!(refused.remedy, "add keys to the policy: it requires 3, 2 can count now");
    scene.policy["threshold"] = json!(1);
    scene.policy["keys"][0]["expires"] = json!(Timestamp(NOW + 1).to_string());
    scene.policy["keys"][0]["notBefore"] = json!(Timestamp(NOW).to_string());
    scene.policy["floorVersions"] = json!({ "acme/retry": "1.4.2" });
    assert!(scene.verify(&[scene.sign(0)]).is_ok());
}

#[test]
fn the_closest_policy_decides_but_every_revocation_holds() {
    let scene = scene(1);
    let good = scene.sign(0);
    let mut wide = scene.policy.clone();
    wide["namespaces"] = json!(["*"]);
    wide["name"] = json!("wide");
    wide["threshold"] = json!(3);
    let read = |value: &Value| SignaturePolicy::from_json(value.to_string().as_bytes()).unwrap();
    let run = |wide: &Value| scene.verify_under(&[good.as_bytes()], &[read(wide), scene.policy()]);
    assert!(run(&wide).is_ok());
    let mut revoking = wide.clone();
    revoking["revokedKeys"] = json!(["k0"]);
    assert_eq!(run(&revoking).unwrap_err().code, code::REVOKED_KEY);
    revoking["revokedDigests"] = json!([Digest::of(&scene.manifest).to_string()]);
    assert_eq!(run(&revoking).unwrap_err().code, code::REVOKED_DIGEST);
    assert_eq!(run(&scene.policy).unwrap_err().code, code::UNKNOWN_KEY, "a tie is refused");
    assert_eq!(scene.verify_under(&[good.as_bytes()], &[]).unwrap_err().code, code::UNKNOWN_KEY);
}

#[test]
fn a_refusal_says_which_rule_who_set_it_and_the_way_out() {
    let scene = scene(2);
    let refused = scene.verify(&[scene.sign(0)]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "refused (trust.threshold): acme/retry 1.4.2 must be signed by 2 distinct keys, but only 1 counts (k0); set by trust \
         policy \"acme\"; to satisfy it: sign it with 2 of the keys k0, k1, k2: \
         `tamis filter sign COMPONENT --name acme/retry --version 1.4.2 --key KEY.key --key KEY.key --store STORE --pin LOCK`, \
         in a folder of `tamis up` with `--key .tamis/keys/KEY.key --key .tamis/keys/KEY.key --store .tamis/store \
         --pin .tamis/filters.lock.yaml` \
         (where a registry directs the proxies, without `--pin`, and then `tamis filter push`); \
         or, if you trust another key, add its `.pub` file to `spec.keys` of the policy"
    );
}

#[test]
fn the_pinned_name_is_the_manifests() {
    let scene = scene(1);
    let (pinned, good) = (Digest::of(&scene.manifest), scene.sign(0));
    let request = VerificationRequest {
        pinned: &pinned,
        name: Some("acme/other"),
        manifest: &scene.manifest,
        bundles: &[good.as_bytes()],
        logged: &[],
        policies: &[scene.policy()],
        policy_age: Duration::ZERO,
        now: NOW,
    };
    assert_eq!(verify(&request, COMPONENT).unwrap_err().code, code::WRONG_NAME);
    assert!(verify_manifest(&VerificationRequest { name: None, ..request }).is_ok());
    assert_eq!(
        verify(&VerificationRequest { name: None, ..request }, b"other").unwrap_err().code,
        code::ALTERED
    );
}

/// A manifest that was parsed before decides nothing unless it is the pinned one.
#[test]
fn a_parsed_manifest_counts_only_if_it_is_the_pinned_one() {
    let scene = scene(1);
    let (pinned, signed) = (Digest::of(&scene.manifest), scene.sign(0));
    let request = VerificationRequest {
        pinned: &pinned,
        name: None,
        manifest: &scene.manifest,
        bundles: &[signed.as_bytes()],
        logged: &[],
        policies: &[scene.policy()],
        policy_age: Duration::ZERO,
        now: NOW,
    };
    let own = Arc::new(Manifest::parse(&scene.manifest).unwrap());
    let other = build(b"other", &BuildInput::new("acme/other", "1.0.0")).unwrap();
    let other = Arc::new(Manifest::parse(&other).unwrap());
    let expected = verify(&request, COMPONENT).unwrap();
    assert_eq!(expected.manifest, own);
    for parsed in [&own, &other] {
        assert_eq!(verify_parsed(&request, parsed, COMPONENT).unwrap(), expected);
        let refused = verify_parsed(&request, parsed, b"other").unwrap_err();
        assert_eq!(refused.code, code::ALTERED);
    }
    let altered = VerificationRequest { pinned: &other.digest(), ..request };
    for parsed in [&own, &other] {
        let refused = verify_parsed(&altered, parsed, COMPONENT).unwrap_err();
        assert_eq!(refused.code, code::ALTERED);
    }
}

/// Manifest and component: *every* single-byte change is refused. Bundle and policy: a change is
/// refused, or (white space, the unsigned hint or keyid, a policy's own wording) leaves the very same
/// statement standing, by a key that did sign.
#[test]
fn no_changed_byte_is_accepted_as_a_different_statement() {
    let scene = scene(1);
    let good = scene.sign(0);
    let accepted = scene.verify(std::slice::from_ref(&good)).unwrap();
    let pinned = Digest::of(&scene.manifest);
    let policies = [scene.policy()];
    let run = |manifest: &[u8], bundle: &[u8], policies: &[SignaturePolicy], component: &[u8]| {
        let bundles = &[bundle];
        let name = Some("acme/retry");
        let (logged, policy_age) = (&[], Duration::ZERO);
        let request = VerificationRequest {
            pinned: &pinned,
            name,
            manifest,
            bundles,
            logged,
            policies,
            policy_age,
            now: NOW,
        };
        verify(&request, component)
    };
    for flip in [0x01, 0x20, 0x80] {
        for at in 0..scene.manifest.len() {
            let altered = flipped(&scene.manifest, at, flip);
            let refused = run(&altered, good.as_bytes(), &policies, COMPONENT).unwrap_err();
            assert_eq!(refused.code, code::ALTERED);
        }
        for at in 0..COMPONENT.len() {
            let altered = flipped(COMPONENT, at, flip);
            let refused = run(&scene.manifest, good.as_bytes(), &policies, &altered).unwrap_err();
            assert_eq!(refused.code, code::ALTERED);
        }
        let hint = good.find("\"hint\":\"").unwrap() + 8;
        for at in 0..good.len() {
            let altered = flipped(good.as_bytes(), at, flip);
            if let Ok(verified) = run(&scene.manifest, &altered, &policies, COMPONENT) {
                assert_eq!(verified, accepted);
                assert!((hint..hint + 44).contains(&at), "byte {at} lies outside the hint");
            }
        }
        let policy = scene.policy.to_string();
        for at in 0..policy.len() {
            let Ok(altered) = SignaturePolicy::from_json(&flipped(policy.as_bytes(), at, flip))
            else {
                continue;
            };
            if let Ok(verified) = run(&scene.manifest, good.as_bytes(), &[altered], COMPONENT) {
                let statement = (verified.digest, verified.name, verified.version);
                assert_eq!(
                    statement,
                    (accepted.digest, accepted.name.clone(), accepted.version.clone())
                );
                assert_eq!(verified.signers.len(), 1);
            }
        }
    }
}

#[test]
fn a_key_revoked_from_an_index_on_still_counts_for_what_was_recorded_before() {
    let mut scene = scene(1);
    let (bundle, id) = (scene.sign(0), scene.keys[0].public_key().id());
    let verify = |scene: &Scene, logged: &[Option<u64>]| {
        let policies = [scene.policy()];
        scene.verify_logged(&[bundle.as_bytes()], logged, &policies, Duration::ZERO)
    };
    for key in ["k0".to_owned(), id.to_string()] {
        scene.policy["revokedKeys"] = json!([{ "key": key, "fromIndex": 40 }]);
        assert!(verify(&scene, &[Some(39)]).is_ok());
        for (logged, evidence) in [
            (&[Some(40)][..], "recorded at 40"),
            (&[Some(u64::MAX)], "recorded at 18446744073709551615"),
            (&[None], "did not record"),
            (&[], "did not record"),
        ] {
            let refused = verify(&scene, logged).unwrap_err();
            assert_eq!(refused.code, code::REVOKED_KEY);
            assert!(refused.rule.contains(evidence), "{refused}");
            assert!(refused.remedy.starts_with("sign it with 1 of the keys k1, k2: "), "{refused}");
        }
    }
    // A digest is revoked at once, whenever its signature was recorded.
    scene.policy["revokedDigests"] = json!([Digest::of(&scene.manifest).to_string()]);
    assert_eq!(verify(&scene, &[Some(0)]).unwrap_err().code, code::REVOKED_DIGEST);
}

#[test]
fn each_bundle_has_its_own_place_in_the_log() {
    let mut scene = scene(2);
    scene.policy["revokedKeys"] = json!([{ "key": "k0", "fromIndex": 40 }]);
    let (one, other) = (scene.sign(0), scene.sign(1));
    let (bundles, policies) = ([one.as_bytes(), other.as_bytes()], [scene.policy()]);
    let verify = |logged| scene.verify_logged(&bundles, logged, &policies, Duration::ZERO);
    assert!(verify(&[Some(7), None]).is_ok(), "k1 is not revoked, it needs no log");
    assert_eq!(verify(&[None, Some(7)]).unwrap_err().code, code::THRESHOLD);
}

#[test]
fn a_policy_older_than_its_bound_lets_nothing_new_run_and_says_so() {
    let scene = scene(1);
    let bundle = scene.sign(0);
    let verify = |policies: &[SignaturePolicy], hours: u64| {
        let age = Duration::from_secs(hours * 3600);
        scene.verify_logged(&[bundle.as_bytes()], &[], policies, age)
    };
    let unbounded = scene.policy();
    assert!(verify(std::slice::from_ref(&unbounded), 10_000).is_ok());
    let mut wide = scene.policy.clone();
    wide["stalenessBound"] = json!("24h");
    wide["namespaces"] = json!(["*"]);
    wide["name"] = json!("wide");
    let policies = [unbounded, SignaturePolicy::from_json(wide.to_string().as_bytes()).unwrap()];
    assert!(verify(&policies, 24).is_ok());
    let refused = verify(&policies, 25).unwrap_err();
    assert_eq!(refused.code, code::STALE);
    assert!(refused.set_by.contains("wide"), "a wider policy's bound holds too: {refused}");
    assert!(refused.remedy.contains("what runs keeps running"), "{refused}");
}

fn flipped(bytes: &[u8], at: usize, flip: u8) -> Vec<u8> {
    let mut altered = bytes.to_vec();
    altered[at] ^= flip;
    altered
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rubbish_never_panics_and_is_never_accepted(
        bundle in proptest::collection::vec(any::<u8>(), 0..400),
        manifest in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let scene = scene(1);
        prop_assert!(scene.verify_under(&bundle_lines(&bundle), &[scene.policy()]).is_err());
        prop_assert!(Manifest::parse(&manifest).is_err());
        prop_assert!(SignaturePolicy::from_json(&manifest).is_err());
    }

    #[test]
    fn a_spliced_bundle_never_becomes_another_statement(
        at in any::<prop::sample::Index>(),
        cut in 0usize..40,
        put in "[\\x00-\\x7f]{0,40}",
    ) {
        let scene = scene(1);
        let good = scene.sign(0);
        let from = at.index(good.len());
        let spliced = [&good[..from], &put, &good[(from + cut).min(good.len())..]].concat();
        let wanted = scene.verify(&[good]).unwrap();
        if let Ok(verified) = scene.verify(&[spliced]) {
            prop_assert_eq!(verified, wanted);
        }
    }
}

#[test]
fn a_policy_that_narrows_asks_for_more_and_never_decides() {
    let scene = scene(1);
    let bundles = [scene.sign(0), scene.sign(1)];
    let bundles: Vec<&[u8]> = bundles.iter().map(String::as_bytes).collect();
    let other = |keys: &[usize], threshold: usize, more: Value| {
        let mut policy = json!({ "name": "own", "namespaces": ["acme/retry"], "narrows": true, "threshold": threshold });
        // Names of its own, so that nobody becomes somebody else by them.
        policy["keys"] = keys
            .iter()
            .map(|at| json!({ "name": format!("k{}", at + 1), "publicKey": scene.keys[*at].public_key().to_pem() }))
            .collect();
        policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        SignaturePolicy::from_json(policy.to_string().as_bytes()).unwrap()
    };
    let decides = scene.policy();
    let signers =
        |policies: &[SignaturePolicy]| scene.verify_under(&bundles, policies).map(|it| it.signers);
    let known = Ok(vec![SignerName("k0".to_owned()), SignerName("k1".to_owned())]);
    let none = json!({});
    // Closer than the one that decides, and it decides nothing: neither who is known nor that nothing is asked.
    for narrowing in [other(&[0], 1, none.clone()), other(&[0, 1], 2, none.clone())] {
        assert_eq!(signers(&[decides.clone(), narrowing]), known);
    }
    for (narrowing, code) in [
        (other(&[2], 1, none.clone()), code::UNKNOWN_KEY),
        (other(&[0, 2], 2, none.clone()), code::THRESHOLD),
        (
            other(&[0], 1, json!({ "floorVersions": { "acme/retry": "2.0.0" } })),
            code::REVOKED_DIGEST,
        ),
        (other(&[0, 1], 2, json!({ "revokedKeys": ["k1"] })), code::REVOKED_KEY),
    ] {
        let refused = scene.verify_under(&bundles, &[decides.clone(), narrowing.clone()]);
        let refused = refused.unwrap_err();
        // A key that is revoked leaves one good signature of two.
        let codes = [code, code::THRESHOLD];
        assert!(codes.contains(&&*refused.code), "{narrowing:?}: {refused:?}");
        assert!(refused.set_by.contains("own"), "{refused:?}");
        // Alone it lets nothing run, whoever signed.
        assert!(scene.verify_under(&bundles, &[narrowing]).is_err());
    }
    let alone = scene.verify_under(&bundles, &[other(&[0], 1, none.clone())]).unwrap_err();
    assert_eq!((&*alone.code, alone.set_by.as_str()), (code::UNKNOWN_KEY, "default deny"));
    // As many as one likes, but not without end.
    let many = |count: usize| {
        let narrowing = (0..count).map(|_| other(&[0], 1, json!({})));
        std::iter::once(decides.clone()).chain(narrowing).collect::<Vec<_>>()
    };
    assert!(signers(&many(MAX_NARROWING)).is_ok());
    assert!(signers(&many(MAX_NARROWING + 1)).unwrap_err().remedy.contains("merge"));
}

#[test]
fn a_policy_that_is_wrong_trusts_nobody_about_what_it_speaks_of() {
    let wrong = json!({ "name": "p", "namespaces": ["acme/*"], "keys": [{ "name": "k", "publicKey": "none" }], "threshold": 1 });
    let scene = scene(1);
    let all = json!({ "namespaces": ["*"] });
    let mut wide = scene.policy.clone();
    wide.as_object_mut().unwrap().extend(all.as_object().unwrap().clone());
    for narrows in [false, true] {
        let mut wrong = wrong.clone();
        wrong["narrows"] = json!(narrows);
        let (policy, error) = SignaturePolicy::read_or_nobody(&wrong);
        assert!(error.is_some() && policy.keys().is_empty() && policy.narrows() == narrows);
        let (wide, none) = SignaturePolicy::read_or_nobody(&wide);
        assert!(none.is_none());
        let bundle = scene.sign(0);
        assert!(scene.verify_under(&[bundle.as_bytes()], std::slice::from_ref(&wide)).is_ok());
        assert!(scene.verify_under(&[bundle.as_bytes()], &[wide, policy]).is_err());
    }
}

#[test]
fn what_a_wrong_policy_withdraws_stays_withdrawn_where_another_decides() {
    let scene = scene(1);
    let bundle = scene.sign(0);
    let key = scene.keys[0].public_key();
    let digest = Digest::of(&scene.manifest).to_string();
    let wide = |more: Value| {
        let mut policy = json!({ "name": "all", "namespaces": ["*"], "threshold": 1,
            "keys": [{ "name": "author", "publicKey": key.to_pem() }, { "name": "k", "publicKey": "none" }] });
        policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (policy, error) = SignaturePolicy::read_or_nobody(&policy);
        assert!(error.is_some(), "{policy:?}");
        let policies = [scene.policy(), policy];
        let verified =
            scene.verify_logged(&[bundle.as_bytes()], &[], &policies, Duration::from_secs(60));
        verified.map_err(|refused| refused.code.into_owned())
    };
    assert!(wide(json!({})).is_ok(), "the closer one decides");
    assert!(wide(json!({ "revokedDigests": [format!("sha256:{}", "0".repeat(64))] })).is_ok());
    for (more, code) in [
        (json!({ "revokedDigests": [digest] }), code::REVOKED_DIGEST),
        (json!({ "floorVersions": { "acme/retry": "9.0.0" } }), code::REVOKED_DIGEST),
        (json!({ "revokedKeys": [key.id().to_string()] }), code::REVOKED_KEY),
        (json!({ "revokedKeys": ["author"] }), code::REVOKED_KEY),
        (json!({ "revokedKeys": [{ "key": "author", "fromIndex": 4 }] }), code::REVOKED_KEY),
        (json!({ "stalenessBound": "10s" }), code::STALE),
        // What cannot be read may be this.
        (json!({ "revokedDigests": ["sha256:1"] }), code::REVOKED_DIGEST),
        (json!({ "revokedDigests": "sha256:1" }), code::REVOKED_DIGEST),
        (json!({ "revokedKeys": ["k"] }), code::REVOKED_DIGEST),
        (json!({ "revokedKeys": ["somebody"] }), code::REVOKED_DIGEST),
        (json!({ "revokedKeys": [{ "key": "author", "from": 4 }] }), code::REVOKED_DIGEST),
        (json!({ "floorVersions": { "acme/retry": "9" } }), code::REVOKED_DIGEST),
        (json!({ "floorVersions": ["acme/retry"] }), code::REVOKED_DIGEST),
        (json!({ "stalenessBound": 10 }), code::REVOKED_DIGEST),
        (json!({ "revoked": [digest] }), code::REVOKED_DIGEST),
        (json!({ "keys": 7, "revokedKeys": ["author"] }), code::REVOKED_DIGEST),
    ] {
        assert_eq!(wide(more.clone()).map(drop), Err(code.to_owned()), "{more}");
    }
}

#[test]
fn a_policy_that_nothing_can_satisfy_says_truly_why() {
    let scene = scene(1);
    let bundle = scene.sign(0);
    let refused = |more: Value| {
        let mut policy = scene.policy.clone();
        policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (policy, error) = SignaturePolicy::read_or_nobody(&policy);
        assert!(error.is_some(), "{more}");
        scene.verify_under(&[bundle.as_bytes()], &[policy]).unwrap_err()
    };
    let above = refused(json!({ "threshold": 4 }));
    assert_eq!(above.code, code::THRESHOLD);
    assert!(
        above.rule.ends_with("must be signed by 4 distinct keys, but only 1 counts (k0)"),
        "{above}"
    );
    assert!(above.remedy.contains("it requires 4, 3 can count now"), "{above}");
    assert_eq!(refused(json!({ "threshold": u64::MAX })).code, code::THRESHOLD);
    // Not satisfied either where its keys count less: nothing else of it is lost.
    let revoked = refused(json!({ "threshold": 4, "revokedKeys": ["k0"] }));
    assert_eq!(revoked.code, code::REVOKED_KEY, "{revoked}");
    for (more, says) in [
        (json!({ "keys": [{ "name": "k0", "publicKey": "none" }] }), "key \"k0\""),
        (json!({ "keys": [] }), "no key that counts"),
        (json!({ "revokedKeys": ["somebody"] }), "cannot be read"),
        (json!({ "threshold": 0 }), "threshold 0 must lie between"),
    ] {
        let why = refused(more.clone());
        assert!(
            why.rule.contains(says) && !why.rule.contains("not in the policy"),
            "{more}: {why}"
        );
        assert!(why.set_by.contains("trust policy") && why.remedy.contains("correct"), "{why}");
    }
}

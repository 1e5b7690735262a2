use serde_json::json;
use tamis_trust::Digest;

use super::*;

const NODE: &str = "sidecar:shop/pay/0";

fn token() -> Digest {
    Digest::of(b"token")
}

/// A ledger to which these entries were applied, one a second from second 1,000 on.
fn folded(entries: &[(&str, Value)]) -> IdentityLedger {
    let mut ledger = IdentityLedger::default();
    for (time_ms, (kind, body)) in (1_000_000..).step_by(1_000).zip(entries) {
        ledger.apply(time_ms, "ada", kind, body);
    }
    ledger
}

fn created() -> (&'static str, Value) {
    let body = json!({ "event": "created", "token": token(), "node": NODE, "expires": 5_000 });
    ("identity-token", body)
}

fn svid(serial: &str, not_after: u64) -> Value {
    json!({ "node": NODE, "id": "spiffe://shop.example/pay", "serial": serial, "notAfter": not_after })
}

fn joined() -> (&'static str, Value) {
    let mut body = svid("aa", 2_000);
    body["token"] = json!(token());
    ("identity-joined", body)
}

fn shown(name: &str, signed: i64) -> PeerCertificate {
    let common_name = Some(name.to_owned());
    PeerCertificate { common_name, not_before: signed - 60, not_after: signed + 3_600 }
}

#[test]
fn a_join_uses_its_token_and_renewals_replace_the_svid_unless_they_are_older() {
    let renewed = |serial: &str, not_after| {
        ("identity-renewed", json!({ "svids": [svid(serial, not_after)] }))
    };
    for (more, serial, recorded_ms) in [
        (vec![], "aa", 1_001_000),
        (vec![renewed("bb", 2_500)], "bb", 1_002_000),
        (vec![renewed("bb", 1_999)], "aa", 1_001_000),
        (vec![renewed("bb", 2_500), renewed("cc", 2_400)], "bb", 1_002_000),
    ] {
        let ledger = folded(&[vec![created(), joined()], more].concat());
        let (_, member) = ledger.members().next().unwrap();
        assert_eq!((member.svid.serial.as_str(), member.recorded_ms), (serial, recorded_ms));
        assert_eq!(member.joined_ms, 1_001_000);
        let (_, state) = ledger.tokens().tokens().next().unwrap();
        assert_eq!(state.used, Some(1_001));
    }
    // Nobody joined: a renewal of an unknown proxy makes no member.
    assert_eq!(folded(&[renewed("bb", 2_500)]).members().count(), 0);
}

#[test]
fn a_revocation_is_of_the_svids_up_to_it_and_a_later_token_admits_again() {
    let revoked = ("identity-revoked", json!({ "node": NODE, "reason": "stolen" }));
    let before = folded(&[created(), joined()]);
    assert!(before.revocation(NODE).is_none());
    let ledger = folded(&[created(), joined(), revoked.clone()]);
    let known = ledger.revocation(NODE).unwrap();
    assert_eq!((known.by.as_str(), known.reason.as_str(), known.until), ("ada", "stolen", 1_002));
    for (name, signed, refused) in [
        (NODE, 1_000, true),
        (NODE, 1_002, true),
        (NODE, 1_003, false),
        ("sidecar:shop/pay/1", 1_000, false),
    ] {
        let found = ledger.revocation_of(&shown(name, signed)).is_some();
        assert_eq!(found, refused, "{name} {signed}");
    }
    assert!(!known.readmitted);
    assert!(folded(&[revoked.clone(), created()]).revocation(NODE).unwrap().readmitted);
    let unused = folded(&[created(), revoked]);
    assert!(unused.tokens().tokens().all(|(_, one)| one.withdrawn));
}

#[test]
fn what_cannot_be_read_changes_nothing_and_only_people_make_every_replica_rotate() {
    for (kind, body, rotated) in [
        ("identity-rotated", json!({ "asked": true }), 1_000),
        ("identity-rotated", json!({ "asked": false }), 0),
        ("identity-rotated", json!({}), 0),
        ("identity-joined", json!({ "node": 7 }), 0),
        ("identity-token", json!({ "event": "eaten" }), 0),
        ("pinned", json!({ "asked": true }), 0),
    ] {
        let ledger = folded(&[(kind, body.clone())]);
        assert_eq!(ledger.rotated(), rotated, "{kind} {body}");
        assert_eq!(ledger.members().count() + ledger.tokens().tokens().count(), 0);
    }
}

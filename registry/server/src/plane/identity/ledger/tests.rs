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

/// A serial number of an SVID that goes back to a token.
fn serial_of(token: &Digest) -> String {
    let first = token.as_bytes()[0] & 0x3f | 0x40;
    format!("{first:02x}{}{}", &token.hex()[2..16], "7".repeat(16))
}

fn shown(name: &str, serial: &str, signed: i64) -> PeerCertificate {
    let (common_name, serial) = (Some(name.to_owned()), serial.to_owned());
    PeerCertificate { common_name, serial, not_before: signed - 60, not_after: signed + 3_600 }
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
fn a_revoked_proxy_is_revoked_until_it_joins_again_whenever_its_svids_were_signed() {
    let revoked = ("identity-revoked", json!({ "node": NODE, "reason": "stolen" }));
    let before = folded(&[created(), joined()]);
    assert!(before.revocation(NODE).is_none());
    let ledger = folded(&[created(), joined(), revoked.clone()]);
    let known = ledger.revocation(NODE).unwrap();
    assert_eq!((known.by.as_str(), known.reason.as_str(), known.until), ("ada", "stolen", 1_002));
    assert!(!known.readmitted);
    assert!(folded(&[revoked.clone(), created()]).revocation(NODE).unwrap().readmitted);
    let unused = folded(&[created(), revoked.clone()]);
    assert!(unused.tokens().tokens().all(|(_, one)| one.withdrawn));

    let again = |seed: &[u8], key: Option<Digest>| {
        let mut body = svid("bb", 2_600);
        (body["token"], body["key"]) = (json!(Digest::of(seed)), json!(key));
        ("identity-joined", body)
    };
    let key = Some(Digest::of(b"key"));
    let rejoined = [created(), joined(), revoked.clone(), again(b"second", key)];
    let twice = [&rejoined[..], std::slice::from_ref(&revoked)].concat();
    let third = [&twice[..], &[again(b"third", key)]].concat();
    let by_former = [created(), joined(), revoked.clone(), again(b"second", None)];
    let upgraded = [&by_former[..], &[again(b"third", key)]].concat();
    let (first, second) = (serial_of(&token()), serial_of(&Digest::of(b"second")));
    let (of_third, other) = (serial_of(&Digest::of(b"third")), "4a".repeat(16));
    let all = [&first, &second, &of_third, &other, &"1".to_owned()];
    // Which of these serial numbers are accepted, of SVIDs that were signed before, in and long after the revocation.
    type Row<'a> = (&'a str, &'a [(&'static str, Value)], [&'a [&'a String]; 3]);
    let later = all.as_slice();
    let rows: [Row<'_>; 6] = [
        ("revoked", &rejoined[..3], [&[], &[], &[]]),
        ("joined again", &rejoined, [&[&second], &[&second], &[&second]]),
        ("revoked again", &twice, [&[], &[], &[]]),
        ("joined once more", &third, [&[&of_third], &[&of_third], &[&of_third]]),
        ("joined by an earlier release", &by_former, [&[&second], &[&second], later]),
        (
            "joined after that",
            &upgraded,
            [&[&second, &of_third], &[&second, &of_third], &[&second, &of_third]],
        ),
    ];
    for (what, entries, accepted) in rows {
        let ledger = folded(entries);
        for (signed, accepted) in [1_000, 1_002, 9_000].into_iter().zip(accepted) {
            for serial in all {
                let refused = ledger.revocation_of(&shown(NODE, serial, signed)).is_some();
                assert_eq!(refused, !accepted.contains(&serial), "{what}: {serial} of {signed}");
            }
        }
        assert!(ledger.revocation_of(&shown("sidecar:shop/pay/1", &first, 1_000)).is_none());
    }
}

#[test]
fn what_is_remembered_of_joins_after_a_revocation_is_bounded() {
    let revoked = ("identity-revoked", json!({ "node": NODE, "reason": "stolen" }));
    let joins = (0..MAX_ADMITTED as u32 + 5).map(|at| {
        let mut body = svid("bb", 2_600);
        body["token"] = json!(Digest::of(&at.to_be_bytes()));
        ("identity-joined", body)
    });
    let ledger = folded(&std::iter::once(revoked).chain(joins).collect::<Vec<_>>());
    assert_eq!(ledger.revocation(NODE).unwrap().admitted.len(), MAX_ADMITTED);
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

use super::*;

const NODE: &str = "sidecar:shop/pay/0";

fn key(seed: u8) -> Digest {
    Digest::of(&[seed])
}

fn used(token: &JoinToken) -> JoinRecord {
    JoinRecord::Used { token: token.hash(), key: Some(key(1)) }
}

fn created(ledger: &mut JoinLedger, seed: u64, expires: u64) -> JoinToken {
    let token = JoinToken::generate(Random::seeded(seed)).unwrap();
    let record =
        JoinRecord::Created { token: token.hash(), node: NODE.to_owned(), expires, maker: None };
    ledger.apply(&record, 100);
    token
}

#[test]
fn a_token_admits_its_proxy_once_and_every_other_use_is_refused_with_its_reason() {
    let mut ledger = JoinLedger::default();
    let token = created(&mut ledger, 1, 200);
    let unknown = JoinToken::generate(Random::seeded(99)).unwrap();
    let rows = [
        (&unknown, NODE, 150, "join.unknown"),
        (&token, "sidecar:shop/pay/1", 150, "join.other-node"),
        (&token, NODE, 200, "join.expired"),
        (&token, NODE, u64::MAX, "join.expired"),
    ];
    for (token, node, now, code) in rows {
        assert_eq!(ledger.admit(token, node, Some(&key(1)), now).unwrap_err().code(), code);
    }
    let record = ledger.admit(&token, NODE, Some(&key(1)), 150).unwrap();
    assert_eq!(record, Some(used(&token)));
    ledger.apply(&used(&token), 199);
    // Asked again with the same key: nothing more is written.
    for now in [150, 199] {
        assert_eq!(ledger.admit(&token, NODE, Some(&key(1)), now), Ok(None));
    }
    // A replay: with another key, in the name of another proxy, after it expired; and written twice, also with another key.
    ledger.apply(&JoinRecord::Used { token: token.hash(), key: Some(key(2)) }, 300);
    for (node, by, now) in [
        (NODE, 2, 199),
        ("sidecar:shop/pay/1", 1, 199),
        ("sidecar:shop/pay/1", 2, 199),
        (NODE, 1, 200),
        (NODE, 1, 999),
    ] {
        let refusal = ledger.admit(&token, node, Some(&key(by)), now).unwrap_err();
        let (at, node) = ("1970-01-01T00:03:19Z".to_owned(), NODE.to_owned());
        assert_eq!(refusal, JoinRefusal::Replayed { at, node });
    }
}

#[test]
fn withdrawn_tokens_of_a_proxy_admit_nobody_and_later_ones_do() {
    let mut ledger = JoinLedger::default();
    let (first, before) = (created(&mut ledger, 1, 200), created(&mut ledger, 2, 200));
    ledger.apply(&used(&first), 110);
    ledger.apply(&JoinRecord::Withdrawn { node: "sidecar:shop/other/0".to_owned() }, 120);
    assert!(ledger.admit(&before, NODE, Some(&key(1)), 150).is_ok());
    assert_eq!(ledger.admit(&first, NODE, Some(&key(1)), 150), Ok(None));
    ledger.apply(&JoinRecord::Withdrawn { node: NODE.to_owned() }, 120);
    let after = created(&mut ledger, 3, 200);
    assert_eq!(ledger.admit(&before, NODE, Some(&key(1)), 150), Err(JoinRefusal::Withdrawn));
    assert_eq!(ledger.admit(&first, NODE, Some(&key(1)), 150).unwrap_err().code(), "join.replayed");
    assert!(ledger.admit(&after, NODE, Some(&key(1)), 150).is_ok());
    assert_eq!(ledger.tokens().count(), 3);
}

#[test]
fn a_record_of_an_unknown_token_changes_nothing_and_a_token_is_made_once() {
    let mut ledger = JoinLedger::default();
    let token = JoinToken::generate(Random::seeded(1)).unwrap();
    ledger.apply(&used(&token), 1);
    assert_eq!(ledger, JoinLedger::default());
    let token = created(&mut ledger, 1, 200);
    ledger.apply(&used(&token), 110);
    // Made again, it would be fresh again.
    created(&mut ledger, 1, 900);
    assert_eq!(ledger.admit(&token, NODE, Some(&key(2)), 150).unwrap_err().code(), "join.replayed");
}

#[test]
fn a_use_that_was_recorded_without_its_key_admits_nobody_again() {
    let mut ledger = JoinLedger::default();
    let token = created(&mut ledger, 1, 200);
    let former = serde_json::json!({ "event": "used", "token": token.hash() });
    ledger.apply(&serde_json::from_value(former).unwrap(), 110);
    assert_eq!(ledger.admit(&token, NODE, None, 150).unwrap_err().code(), "join.replayed");
    for by in [1, 2] {
        assert_eq!(
            ledger.admit(&token, NODE, Some(&key(by)), 150).unwrap_err().code(),
            "join.replayed"
        );
    }
}

#[test]
fn a_token_is_read_by_the_letter_and_never_shown_by_accident() {
    let token = JoinToken::generate(Random::seeded(7)).unwrap();
    let text = token.reveal();
    assert_eq!(text.len(), PREFIX.len() + 64);
    assert_eq!(text.parse(), Ok(token.clone()));
    assert_eq!(format!("{token:?}"), "JoinToken(secret)");
    let (upper, short) = (text.to_uppercase(), text.get(..text.len() - 1).unwrap());
    for bad in ["", "tamis-join-", &upper, short, &format!("{text}0"), &text.replace("join", "x")] {
        assert_eq!(bad.parse::<JoinToken>(), Err(JoinTokenError), "{bad}");
    }
}

#[test]
fn a_record_survives_the_journal_and_contains_no_token() {
    let token = JoinToken::generate(Random::seeded(1)).unwrap();
    let records = [
        JoinRecord::Created {
            token: token.hash(),
            node: NODE.to_owned(),
            expires: 200,
            maker: None,
        },
        used(&token),
        JoinRecord::Used { token: token.hash(), key: None },
        JoinRecord::Withdrawn { node: NODE.to_owned() },
    ];
    for record in records {
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<JoinRecord>(&json).unwrap(), record);
        assert!(!json.contains(token.reveal().strip_prefix(PREFIX).unwrap()), "{json}");
    }
}

#[test]
fn a_token_is_forgotten_a_month_after_it_expired() {
    let mut ledger = JoinLedger::default();
    let old = created(&mut ledger, 1, 200);
    let fresh = JoinToken::generate(Random::seeded(2)).unwrap();
    for (second, known) in [(200 + KNOWN, 2), (201 + KNOWN, 1)] {
        let (node, expires) = (NODE.to_owned(), second + 10);
        let token = fresh.hash();
        ledger.apply(&JoinRecord::Created { token, node, expires, maker: None }, second);
        let third = JoinToken::generate(Random::seeded(second)).unwrap().hash();
        ledger.apply(
            &JoinRecord::Created { token: third, node: NODE.to_owned(), expires, maker: None },
            second,
        );
        let there = ledger.tokens().filter(|(hash, _)| [old.hash(), fresh.hash()].contains(hash));
        assert_eq!(there.count(), known, "{second}");
    }
    assert_eq!(ledger.admit(&old, NODE, Some(&key(1)), 0), Err(JoinRefusal::Unknown));
}

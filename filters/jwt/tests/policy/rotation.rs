//! Keys that are fetched and change.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use super::*;

/// An issuer's key: made of its number, published under `k<number>`.
fn pair(number: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap()
}

fn set(numbers: &[u8]) -> Value {
    let key = |number: &u8| {
        let x = URL_SAFE_NO_PAD.encode(pair(*number).public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": format!("k{number}"), "x": x, "use": "sig"})
    };
    json!({"keys": numbers.iter().map(key).collect::<Vec<_>>()})
}

fn token(number: u8) -> String {
    let header = format!(r#"{{"alg":"EdDSA","kid":"k{number}"}}"#);
    let claims = claims_with("exp", json!(NOW + 6000));
    let signed = [header, claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = pair(number).sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn without_keys_it_is_the_proxys_trouble() {
    let mut scene = Scene::followed();
    let decision = scene.show(&token(1));
    assert_eq!(decision.reason.as_deref(), Some("jwt.no-keys"));
    assert!(matches!(decision.verdict, request::Verdict::Answer(reply) if reply.status == 503));
}

#[test]
fn an_unknown_key_brings_the_new_set_early() {
    let mut scene = Scene::followed();
    *scene.host.served.borrow_mut() = Some(set(&[1]));
    assert!(scene.tick().is_empty());
    assert_eq!(scene.reason(&token(1)), "passes");

    *scene.host.served.borrow_mut() = Some(set(&[2]));
    assert_eq!(scene.reason(&token(2)), "jwt.unknown-key");
    assert!(scene.host.read(&wish_key("https://idp/keys")).is_some());
    scene.tick();
    assert_eq!(scene.host.fetches.get(), 1, "made-up key ids must not hurry the fetch");
    scene.now_ms += 10_000;
    scene.tick();
    assert_eq!(scene.host.fetches.get(), 2);
    assert!(scene.host.read(&wish_key("https://idp/keys")).is_none());
    assert_eq!(scene.reason(&token(2)), "passes");
    assert_eq!(scene.reason(&token(1)), "jwt.unknown-key", "remembered beyond its key");
}

#[test]
fn a_failing_server_keeps_the_old_keys_and_is_asked_less_and_less() {
    let mut scene = Scene::followed();
    *scene.host.served.borrow_mut() = Some(set(&[1]));
    scene.tick();
    *scene.host.served.borrow_mut() = None;
    scene.now_ms += 300_000;
    assert_eq!(scene.tick().len(), 1);
    assert_eq!(scene.reason(&token(1)), "passes");
    scene.host.fetches.set(0);
    for _ in 0..300 {
        scene.now_ms += 1000;
        scene.tick();
    }
    assert!((6..=12).contains(&scene.host.fetches.get()), "{}", scene.host.fetches.get());
    *scene.host.served.borrow_mut() = Some(json!({"keys": []}));
    scene.now_ms += 60_000;
    assert_eq!(scene.tick().len(), 1, "an empty set is a failure");
    assert_eq!(scene.reason(&token(1)), "passes");
}

#[test]
fn an_unchanged_set_keeps_remembered_tokens() {
    let mut scene = Scene::followed();
    *scene.host.served.borrow_mut() = Some(set(&[1]));
    scene.tick();
    assert_eq!(scene.reason(&token(1)), "passes");
    scene.host.native.take_counts();
    scene.now_ms += 300_000;
    scene.tick();
    assert_eq!(scene.host.fetches.get(), 2);
    assert_eq!(scene.reason(&token(1)), "passes");
    assert_eq!(scene.host.native.take_counts(), (0, 0));
}

#[test]
fn keys_nobody_confirms_are_dropped() {
    let mut scene = Scene::followed();
    *scene.host.served.borrow_mut() = Some(set(&[1]));
    scene.tick();
    assert_eq!(scene.reason(&token(1)), "passes");
    scene.host.stored.borrow_mut().clear();
    scene.now_ms += 1000;
    assert_eq!(scene.reason(&token(1)), "jwt.no-keys");
}

//! Remembered tokens: what they cost, and when they expire.

use super::*;

#[test]
fn a_token_seen_before_costs_no_crypto_call() {
    let mut scene = Scene::new(|_| {});
    let token = sign(&claims());
    let first = scene.show(&token);
    assert_eq!(scene.host.native.take_counts(), (1, 1));
    for _ in 0..100 {
        assert_eq!(scene.show(&token), first);
    }
    assert_eq!(scene.host.native.take_counts(), (0, 0));
}

#[test]
fn a_long_token_is_known_by_its_hash() {
    let mut scene = Scene::new(|_| {});
    let token = sign(&claims_with("padding", json!("x".repeat(4000))));
    scene.show(&token);
    scene.host.native.take_counts();
    assert_eq!(scene.reason(&token), "passes");
    assert_eq!(scene.host.native.take_counts(), (0, 1));
}

#[test]
fn a_remembered_token_expires() {
    let mut scene = Scene::new(|_| {});
    let token = sign(&claims());
    assert_eq!(scene.reason(&token), "passes");
    scene.now_ms += 659_999;
    assert_eq!(scene.reason(&token), "passes");
    scene.now_ms += 1;
    assert_eq!(scene.reason(&token), "jwt.expired");
    assert_eq!(scene.policy.remembered(), 0);
}

#[test]
fn the_number_of_tokens_is_bounded_and_used_ones_stay() {
    let mut scene = Scene::new(|config| config["cacheSize"] = json!(10));
    let used = sign(&claims());
    for n in 0..200 {
        scene.show(&sign(&claims_with("n", json!(n))));
        scene.show(&used);
        assert!(scene.policy.remembered() <= 10);
    }
    assert_eq!(scene.host.native.take_counts().0, 201);
}

#[test]
fn a_size_of_none_remembers_nothing() {
    let mut scene = Scene::new(|config| config["cacheSize"] = json!(0));
    let token = sign(&claims());
    scene.show(&token);
    scene.show(&token);
    assert_eq!(scene.host.native.take_counts().0, 2);
}

use serde_json::json;
use tamis_api::RevokeRequest;
use tamis_director::RecordBody;
use tamis_trust::PrivateKey;

use super::*;
use crate::plane::fixture::{FILTER, SignedRouter};

const SLOT: &str = "acme/route";

/// The gateway of `acme` reports that it runs the router.
async fn runs(scene: &SignedRouter) {
    let report = json!({
        "node": "gateway:acme/edge",
        "slots": [{
            "slot": SLOT, "filter": FILTER,
            "running": {
                "digest": scene.digest.to_string(), "config": Digest::of(b"{}").to_string(),
                "version": "1.0.0", "assignment": 1, "since_ms": 1,
            },
        }],
        "statistics": [],
    });
    let report = RecordBody::from_body("node-reported", &report).unwrap().unwrap();
    let control = &scene.world.control;
    control.commit("operator", |_| Ok((vec![report.clone()], ()))).await.unwrap();
}

/// What the status says of revoked code, as the command asks for it.
async fn marked(control: &Control) -> Vec<(String, Refused)> {
    control.know_signatures().await;
    let proxies = control.status(None).proxies;
    let slots = proxies.into_iter().flat_map(|proxy| proxy.slots.into_iter());
    slots.filter_map(|slot| Some((slot.slot, slot.revoked?))).collect()
}

#[tokio::test]
async fn revoked_code_that_runs_on_is_marked_with_the_way_to_end_it() {
    for of_key in [false, true] {
        let scene = SignedRouter::new().await;
        let (control, root) = (&scene.world.control, scene.world.holder("root"));
        runs(&scene).await;
        assert!(marked(control).await.is_empty());
        let id = scene.key.public_key().id().to_string();
        let (digest, key) = match of_key {
            false => (Some(scene.digest.to_string()), None),
            true => (None, Some("release".to_owned())),
        };
        let revoke = |now| RevokeRequest {
            digest: digest.clone(),
            key: key.clone(),
            from_index: None,
            reason: "leaks tokens".to_owned(),
            now,
            confirm: true,
            dry_run: false,
        };
        control.revoke(&root, &revoke(false)).await.unwrap();
        let found = marked(control).await;
        let [(slot, why)] = found.as_slice() else { panic!("of a key: {of_key}: {found:?}") };
        assert_eq!(slot, SLOT);
        let (code, again) = match of_key {
            false => ("pin.revoked", format!("tamis revoke digest {} --now", scene.digest)),
            true => ("trust.revoked-key", format!("tamis revoke key {id} --now")),
        };
        assert_eq!(why.code, code);
        assert!(why.rule.ends_with("it was revoked without --now, so what runs goes on"), "{why}");
        assert!(why.remedy.contains("pin another version") && why.remedy.contains(&again), "{why}");
        // Who lost a key, and how, is for security alone.
        assert_eq!(why.rule.contains("leaks tokens"), !of_key, "{why}");
        // Also what the documents say of it.
        let gateway = control.resource("Gateway", "acme", "edge").unwrap();
        assert!(!gateway.summary.ok && gateway.programmed.iter().any(|one| !one.status));

        control.revoke(&root, &revoke(true)).await.unwrap();
        let (_, why) = marked(control).await.pop().unwrap();
        assert!(why.rule.ends_with("its proxy has not reported that it ended it"), "{why}");
        assert!(why.remedy.contains("log of the proxy"), "{why}");
    }
}

#[tokio::test]
async fn a_revocation_of_something_else_marks_nothing() {
    let scene = SignedRouter::new().await;
    let (control, root) = (&scene.world.control, scene.world.holder("root"));
    runs(&scene).await;
    let (other, stranger) = (
        Digest::of(b"other").to_string(),
        PrivateKey::generate().unwrap().public_key().id().to_string(),
    );
    for (digest, key) in [(Some(other), None), (None, Some(stranger))] {
        let request = RevokeRequest {
            digest,
            key,
            from_index: None,
            reason: "so".to_owned(),
            now: true,
            confirm: true,
            dry_run: false,
        };
        control.revoke(&root, &request).await.unwrap();
        assert!(marked(control).await.is_empty());
    }
}

use serde_json::json;

use super::*;
use crate::plane::fixture::World;

const FILTER: &str = "acme/route";

fn request(what: &RevocationTarget, now: bool, confirm: bool, dry_run: bool) -> RevokeRequest {
    let (digest, key) = match what {
        RevocationTarget::Digest { digest } => (Some(digest.to_string()), None),
        RevocationTarget::Key { key, .. } => (None, Some(key.clone())),
    };
    let reason = "leaks tokens".to_owned();
    RevokeRequest { digest, key, from_index: None, reason, now, confirm, dry_run }
}

/// A mesh with a gateway whose router is not pinned yet, and the record that pins it.
async fn unpinned(world: &World) -> (Digest, RecordBody) {
    let document = |api: &str, kind: &str, key: &str, spec: Value| {
        let (namespace, name) = key.split_once('/').unwrap();
        let metadata = json!({ "name": name, "namespace": namespace });
        let text = json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec });
        let text = text.to_string();
        let digest = Digest::of(text.as_bytes()).to_string();
        json!({ "key": format!("{kind}/{key}"), "source": "", "digest": digest, "text": text })
    };
    let (kubernetes, ours) = ("gateway.networking.k8s.io/v1", "tamis.dev/v1alpha1");
    let listeners = json!([{ "name": "http", "port": 8080, "protocol": "HTTP" }]);
    let router = json!({
        "targetRefs": [{ "kind": "Gateway", "name": "edge" }], "filter": FILTER, "phase": "traffic", "order": 10,
    });
    let documents = json!({ "documents": [
        document(kubernetes, "Gateway", "acme/edge", json!({ "listeners": listeners })),
        document(ours, "FilterAttachment", "acme/route", router),
        document(ours, "Filter", FILTER, json!({ "world": "route-policy" })),
        document(ours, "Grant", "security/route", json!({ "filter": FILTER })),
    ] });
    let applied = RecordBody::from_body("applied", &documents).unwrap().unwrap();
    world.control.commit("operator", |_| Ok((vec![applied.clone()], ()))).await.unwrap();
    let digest = Digest::of(b"a manifest");
    let pin = json!({
        "service": "acme/edge", "filter": FILTER, "version": "1.0.0", "digest": digest.to_string(),
    });
    (digest, RecordBody::from_body("pinned", &pin).unwrap().unwrap())
}

/// A revocation that waits for its turn to write while somebody else pins what it revokes.
async fn revoked_meanwhile(
    world: &World,
    pin: &RecordBody,
    asked: RevokeRequest,
) -> Result<RevocationView, ApiProblem> {
    let writer = world.control.writer("operator").await;
    let (control, holder) = (world.control.clone(), world.holder("root"));
    let revokes = tokio::spawn(async move { control.revoke(&holder, &asked).await });
    // It finds out what it stops, and waits.
    tokio::task::yield_now().await;
    let control = &world.control;
    control.commit_in(writer, "operator", |_| Ok((vec![pin.clone()], ()))).await.unwrap();
    revokes.await.unwrap()
}

#[tokio::test]
async fn a_revocation_stops_nothing_unasked_that_was_pinned_while_it_waited() {
    for (confirm, dry_run) in [(false, false), (true, false), (false, true)] {
        let world = World::new().await;
        let (digest, pin) = unpinned(&world).await;
        let asked = request(&RevocationTarget::Digest { digest }, true, confirm, dry_run);
        let done = revoked_meanwhile(&world, &pin, asked).await;
        let is_revoked = world.control.state().revoked_digests().contains_key(&digest);
        assert_eq!(is_revoked, confirm, "confirm: {confirm}, dry run: {dry_run}");
        if confirm || dry_run {
            let stops = done.unwrap().stops;
            assert!(!stops.is_empty(), "it names what was pinned meanwhile");
            assert!(stops.iter().all(|stop| stop.service == "acme/edge"), "{stops:?}");
        } else {
            let refused = done.unwrap_err();
            assert_eq!(refused.refusals[0].code, director::code::REVOKE);
        }
    }
}

#[tokio::test]
async fn a_revocation_without_now_needs_no_confirmation() {
    let world = World::new().await;
    let (digest, pin) = unpinned(&world).await;
    let asked = request(&RevocationTarget::Digest { digest }, false, false, false);
    let done = revoked_meanwhile(&world, &pin, asked).await.unwrap();
    assert!(!done.stops.is_empty() && !done.now);
}

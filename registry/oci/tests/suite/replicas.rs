//! Several replicas, one journal.

use axum::body::Body;
use http::{Method, StatusCode};
use tamis_journal::BlobDigest;
use tamis_oci::{TokenSecret, Verb};

use crate::client::{Registry, image, send};

#[tokio::test]
async fn what_one_replica_acknowledged_the_other_serves_at_once() {
    let registry = Registry::new().await;
    let (_, other) = registry.replica().await;
    registry.push("a", "1", b"layer").await;
    let blob = format!("/v2/a/blobs/{}", BlobDigest::of(b"layer"));
    for path in ["/v2/a/manifests/1", "/v2/a/tags/list", &blob] {
        let token = Some(registry.token());
        let reply = send(&other, token, Method::GET, path, &[], Body::empty()).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_token_made_at_one_replica_opens_the_other_at_once() {
    let registry = Registry::new().await;
    let (_, other) = registry.replica().await;
    let secret = TokenSecret::generate().unwrap();
    let everywhere = ["*".parse().unwrap()];
    registry.store.create_token("new", &secret, &everywhere, &[Verb::Pull]).await.unwrap();
    let token = Some(secret.expose());
    let reply = send(&other, token, Method::GET, "/v2/", &[], Body::empty()).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn what_one_replica_deleted_the_other_serves_no_more_once_it_followed() {
    let registry = Registry::new().await;
    registry.push("a", "1", b"layer").await;
    let (store, other) = registry.replica().await;
    registry.delete("/v2/a/manifests/1").await;
    let follow = tokio::spawn(async move { store.follow().await });
    let (path, token) = ("/v2/a/manifests/1", Some(registry.token()));
    loop {
        let reply = send(&other, token, Method::GET, path, &[], Body::empty()).await;
        if reply.status == StatusCode::NOT_FOUND {
            break;
        }
        tokio::task::yield_now().await;
    }
    follow.abort();
}

#[tokio::test]
async fn of_two_replicas_that_push_one_version_one_wins() {
    let registry = Registry::new().await;
    let (_, other) = registry.replica().await;
    registry.push("a", "first", b"one").await;
    registry.push("a", "second", b"two").await;
    let (one, two) = (image(b"one"), image(b"two"));
    let headers = [("content-type", crate::client::IMAGE)];
    let path = "/v2/a/manifests/1.0.0";
    let (mine, theirs) = tokio::join!(
        registry.put("a", "1.0.0", &one),
        send(&other, Some(registry.token()), Method::PUT, path, &headers, two.to_string().into()),
    );
    let mut statuses = [mine.status, theirs.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::CREATED, StatusCode::CONFLICT]);
}

#[tokio::test]
async fn a_registry_opened_again_has_all_it_had() {
    let registry = Registry::new().await;
    let digest = registry.push("a", "1.0.0", b"layer").await;
    registry.push("b", "1.0.0", b"layer").await;
    registry.delete("/v2/b/manifests/1.0.0").await;
    let (_, again) = registry.replica().await;
    let get = |path: String| {
        let (again, token) = (again.clone(), registry.token().to_owned());
        async move { send(&again, Some(&token), Method::GET, &path, &[], Body::empty()).await }
    };
    let manifest = get("/v2/a/manifests/1.0.0".to_owned()).await;
    assert_eq!(manifest.header("docker-content-digest"), digest.to_string());
    let blob = get(format!("/v2/a/blobs/{}", BlobDigest::of(b"layer"))).await;
    assert_eq!(blob.body, "layer");
    assert_eq!(get("/v2/b/manifests/1.0.0".to_owned()).await.status, StatusCode::NOT_FOUND);
}

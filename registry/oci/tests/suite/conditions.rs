//! `If-None-Match` (RFC 9110 §13.1.2), for what the registry gives an entity tag.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::json;
use tamis_journal::BlobDigest;

use crate::client::{IMAGE, Registry, image};

/// What a request with these lines of `If-None-Match` is answered.
async fn ask(
    registry: &Registry,
    method: Method,
    path: &str,
    lines: &[&str],
) -> crate::client::Reply {
    let headers: Vec<_> = lines.iter().map(|line| ("if-none-match", *line)).collect();
    registry.send(method, path, &headers, Body::empty()).await
}

#[tokio::test]
async fn what_a_client_has_already_is_not_sent_again() {
    let registry = Registry::new().await;
    let manifest = registry.push("a", "latest", b"layer").await;
    let blob = BlobDigest::of(b"layer");
    for (path, digest) in [
        (format!("/v2/a/blobs/{blob}"), &blob),
        (format!("/v2/a/manifests/{manifest}"), &manifest),
        ("/v2/a/manifests/latest".to_owned(), &manifest),
    ] {
        let given = registry.get(&path).await.header("etag").to_owned();
        assert_eq!(given, format!("\"{digest}\""), "{path}");
        let (weak, listed) = (format!("W/{given}"), format!("\"x\", {given}"));
        for lines in [&[given.as_str()][..], &[&weak], &[&listed], &["\"x\"", &given], &["*"]] {
            for method in [Method::GET, Method::HEAD] {
                let reply = ask(&registry, method.clone(), &path, lines).await;
                assert_eq!(reply.status, StatusCode::NOT_MODIFIED, "{method} {path} {lines:?}");
                assert!(reply.body.is_empty(), "{method} {path}");
                assert_eq!(reply.header("etag"), given);
                assert_eq!(reply.header("docker-content-digest"), digest.to_string());
                assert_eq!(reply.header("content-type"), "", "fields of a body that is not sent");
            }
        }
        // Another tag, and what is no list of tags, which a read may ignore.
        for lines in [&["\"other\""][..], &["W/\"other\""], &[given.trim_matches('"')], &[""]] {
            let reply = ask(&registry, Method::GET, &path, lines).await;
            assert_eq!(reply.status, StatusCode::OK, "{path} {lines:?}");
            assert!(!reply.body.is_empty());
        }
    }
}

#[tokio::test]
async fn a_condition_is_judged_before_a_range_and_after_rights_and_existence() {
    let registry = Registry::new().await;
    let blob = registry.push_blob("a", b"0123456789").await;
    let (path, tag) = (format!("/v2/a/blobs/{blob}"), format!("\"{blob}\""));
    for (condition, status, body) in
        [(tag.as_str(), StatusCode::NOT_MODIFIED, ""), ("\"x\"", StatusCode::PARTIAL_CONTENT, "23")]
    {
        let headers = [("range", "bytes=2-3"), ("if-range", &tag), ("if-none-match", condition)];
        let reply = registry.send(Method::GET, &path, &headers, Body::empty()).await;
        assert_eq!((reply.status, reply.body.as_ref()), (status, body.as_bytes()), "{condition}");
    }
    let other = BlobDigest::of(b"other");
    for path in [
        format!("/v2/a/blobs/{other}"),
        format!("/v2/b/blobs/{blob}"),
        "/v2/a/manifests/none".to_owned(),
    ] {
        let reply = ask(&registry, Method::GET, &path, &["*"]).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
    }
    let stranger = registry.called_by(None);
    let reply = ask(&stranger, Method::GET, &path, &[&tag]).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "who may not read learns nothing");
}

#[tokio::test]
async fn a_tag_that_moved_is_sent_whole() {
    let registry = Registry::new().await;
    let first = registry.push("a", "latest", b"first").await;
    let had = format!("\"{first}\"");
    let path = "/v2/a/manifests/latest";
    assert_eq!(ask(&registry, Method::GET, path, &[&had]).await.status, StatusCode::NOT_MODIFIED);
    let second = registry.push("a", "latest", b"second").await;
    let reply = ask(&registry, Method::GET, path, &[&had]).await;
    assert_eq!((reply.status, reply.header("etag")), (StatusCode::OK, &*format!("\"{second}\"")));
}

#[tokio::test]
async fn a_push_that_must_write_over_nothing_does_not() {
    let registry = Registry::new().await;
    let first = registry.push("a", "latest", b"first").await;
    registry.push_blob("a", b"second").await;
    let (second, had) = (image(b"second").to_string(), format!("\"{first}\""));
    let push = async |reference: &str, condition: &str| {
        let headers = [("content-type", IMAGE), ("if-none-match", condition)];
        let path = format!("/v2/a/manifests/{reference}");
        registry.send(Method::PUT, &path, &headers, second.clone()).await.status
    };
    assert_eq!(push("latest", "*").await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(push("latest", &had).await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(push("latest", "latest").await, StatusCode::BAD_REQUEST, "it protects something");
    let kept = registry.get("/v2/a/manifests/latest").await;
    assert_eq!(kept.header("docker-content-digest"), first.to_string());
    assert_eq!(registry.get("/v2/a/tags/list").await.json()["tags"], json!(["latest"]));
    assert_eq!(push("next", "*").await, StatusCode::CREATED);
    assert_eq!(push("latest", "\"other\"").await, StatusCode::CREATED);
}

//! The limits of the registry.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use serde_json::json;
use tamis_journal::BlobDigest;
use tamis_oci::Limits;

use crate::client::{IMAGE, Registry, descriptor, image};

#[tokio::test]
async fn a_manifest_of_four_mebibytes_is_taken_and_one_more_byte_is_not() {
    let registry = Registry::new().await;
    registry.push("a", "1", b"layer").await;
    let mut manifest = image(b"layer").to_string();
    manifest.push_str(&" ".repeat((4 << 20) - manifest.len()));
    let headers = [("content-type", IMAGE)];
    let path = "/v2/a/manifests/large";
    let reply = registry.send(Method::PUT, path, &headers, manifest.clone()).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(registry.get(path).await.body.len(), 4 << 20);
    manifest.push(' ');
    let length = manifest.len().to_string();
    let said = [("content-type", IMAGE), ("content-length", &length)];
    for headers in [&headers[..], &said] {
        let reply = registry.send(Method::PUT, path, headers, manifest.clone()).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(reply.code(), "SIZE_INVALID");
    }
}

#[tokio::test]
async fn a_blob_above_the_limit_is_cut_off_and_thrown_away() {
    let registry = Registry::with(Limits { max_blob_bytes: 10, ..Limits::default() }).await;
    registry.push_blob("a", b"0123456789").await;
    let reply = registry.send(Method::POST, "/v2/a/blobs/uploads/", &[], Body::empty()).await;
    let location = reply.header("location").to_owned();
    let pieces = (0..4).map(|_| Ok::<_, std::io::Error>(Bytes::from("0123")));
    let body = Body::from_stream(stream::iter(pieces.collect::<Vec<_>>()));
    let reply = registry.send(Method::PATCH, &location, &[], body).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(registry.get(&location).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn lengths_that_contradict_each_other_are_refused() {
    let registry = Registry::new().await;
    let reply = registry.send(Method::POST, "/v2/a/blobs/uploads/", &[], Body::empty()).await;
    let location = reply.header("location").to_owned();
    let headers = [("content-range", "0-9"), ("content-length", "5")];
    let reply = registry.send(Method::PATCH, &location, &headers, "hello").await;
    assert_eq!((reply.status, reply.code()), (StatusCode::BAD_REQUEST, "SIZE_INVALID".into()));
    for range in ["5", "4-0", "a-b", ""] {
        let reply =
            registry.send(Method::PATCH, &location, &[("content-range", range)], "hello").await;
        assert_eq!(reply.code(), "BLOB_UPLOAD_INVALID", "{range}");
    }
}

#[tokio::test]
async fn a_subject_has_so_many_referrers_and_no_more() {
    let registry = Registry::with(Limits { max_referrers: 2, ..Limits::default() }).await;
    registry.push("a", "1", b"layer").await;
    let mut referrer = image(b"layer");
    referrer["subject"] = descriptor(IMAGE, b"subject");
    for number in 0..2 {
        referrer["annotations"] = json!({ "number": number.to_string() });
        assert_eq!(registry.put("a", "x", &referrer).await.status, StatusCode::CREATED);
    }
    // An existing referrer may be pushed again.
    assert_eq!(registry.put("a", "y", &referrer).await.status, StatusCode::CREATED);
    referrer["annotations"] = json!({ "number": "2" });
    let full = registry.put("a", "x", &referrer).await;
    assert_eq!((full.status, full.code()), (StatusCode::FORBIDDEN, "DENIED".into()));
    referrer["annotations"] = json!({ "long": "a".repeat(70_000) });
    assert_eq!(registry.put("a", "x", &referrer).await.code(), "MANIFEST_INVALID");
}

#[tokio::test]
async fn a_manifest_refers_to_as_much_as_an_entry_can_hold_and_no_more() {
    let registry = Registry::new().await;
    registry.push_blob("a", b"{}").await;
    let mut manifest = image(b"0");
    let mut layers = Vec::new();
    for number in 0..399_u32 {
        let bytes = number.to_string();
        registry.push_blob("a", bytes.as_bytes()).await;
        layers.push(descriptor("application/wasm", bytes.as_bytes()));
    }
    manifest["layers"] = json!(layers);
    assert_eq!(registry.put("a", &"t".repeat(128), &manifest).await.status, StatusCode::CREATED);
    layers.push(json!({ "mediaType": "a/b", "digest": BlobDigest::of(b"more"), "size": 4 }));
    manifest["layers"] = json!(layers);
    let refused = registry.put("a", "1", &manifest).await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::BAD_REQUEST, "MANIFEST_INVALID".into())
    );
}

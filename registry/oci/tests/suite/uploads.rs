//! Blobs in and out.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use tamis_journal::{BlobDigest, DigestAlgorithm, Hasher};

use crate::client::{Registry, Reply};

async fn begin(registry: &Registry) -> String {
    let reply = registry.send(Method::POST, "/v2/a/blobs/uploads/", &[], Body::empty()).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    reply.header("location").to_owned()
}

async fn patch(registry: &Registry, location: &str, range: &str, body: &'static str) -> Reply {
    let headers = [("content-range", range)];
    registry.send(Method::PATCH, location, &headers, body).await
}

async fn finish(registry: &Registry, location: &str, digest: &BlobDigest) -> Reply {
    let path = format!("{location}?digest={digest}");
    registry.send(Method::PUT, &path, &[], Body::empty()).await
}

#[tokio::test]
async fn chunks_in_order_become_a_blob_and_others_are_refused_with_the_right_place() {
    let registry = Registry::new().await;
    let location = begin(&registry).await;
    let first = patch(&registry, &location, "0-4", "hello").await;
    assert_eq!((first.status, first.header("range")), (StatusCode::ACCEPTED, "0-4"));
    for range in ["0-4", "6-10", "99-103"] {
        let wrong = patch(&registry, &location, range, "xxxxx").await;
        assert_eq!(wrong.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!((wrong.header("range"), wrong.header("location")), ("0-4", location.as_str()));
    }
    let status = registry.get(&location).await;
    assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-4"));
    patch(&registry, &location, "5-10", " world").await;
    let digest = BlobDigest::of(b"hello world");
    let done = finish(&registry, &location, &digest).await;
    assert_eq!(done.status, StatusCode::CREATED);
    assert_eq!(done.header("docker-content-digest"), digest.to_string());
    assert_eq!(registry.get(done.header("location")).await.body, "hello world");
    let gone = registry.get(&location).await;
    assert_eq!((gone.status, gone.code()), (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN".into()));
}

#[tokio::test]
async fn a_stream_without_a_length_is_taken_in_pieces() {
    let registry = Registry::new().await;
    let location = begin(&registry).await;
    let piece = Bytes::from(vec![7; 100_000]);
    let pieces: Vec<Result<Bytes, std::io::Error>> = (0..30).map(|_| Ok(piece.clone())).collect();
    let body = Body::from_stream(stream::iter(pieces));
    let reply = registry.send(Method::PATCH, &location, &[], body).await;
    assert_eq!(reply.header("range"), "0-2999999");
    let digest = BlobDigest::of(&vec![7; 3_000_000]);
    assert_eq!(finish(&registry, &location, &digest).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn what_came_before_a_body_broke_off_is_kept() {
    let registry = Registry::new().await;
    let location = begin(&registry).await;
    let broken = vec![Ok(Bytes::from("hello")), Err(std::io::Error::other("gone"))];
    let body = Body::from_stream(stream::iter(broken));
    let reply = registry.send(Method::PATCH, &location, &[], body).await;
    assert_eq!(reply.code(), "BLOB_UPLOAD_INVALID");
    assert_eq!(registry.get(&location).await.header("range"), "0-4");
    patch(&registry, &location, "5-10", " world").await;
    let done = finish(&registry, &location, &BlobDigest::of(b"hello world")).await;
    assert_eq!(done.status, StatusCode::CREATED);
}

#[tokio::test]
async fn bytes_of_another_digest_never_become_a_blob() {
    let registry = Registry::new().await;
    let digest = BlobDigest::of(b"right");
    let location = begin(&registry).await;
    patch(&registry, &location, "0-4", "wrong").await;
    let refused = finish(&registry, &location, &digest).await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into())
    );
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let refused = registry.send(Method::POST, &path, &[], "wrong").await;
    assert_eq!(refused.code(), "DIGEST_INVALID");
    let missing = registry.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(missing.code(), "BLOB_UNKNOWN");
    for bad in ["", "?digest=", "?digest=sha256:00", "?digest=md5:00"] {
        let location = begin(&registry).await;
        let refused = registry.send(Method::PUT, &format!("{location}{bad}"), &[], "x").await;
        assert_eq!(refused.code(), "DIGEST_INVALID", "{bad}");
    }
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let registry = Registry::new().await;
    let location = begin(&registry).await;
    assert_eq!(registry.delete(&location).await.status, StatusCode::NO_CONTENT);
    assert_eq!(registry.delete(&location).await.code(), "BLOB_UPLOAD_UNKNOWN");
    let bad = registry.delete("/v2/a/blobs/uploads/..").await;
    assert_eq!(bad.code(), "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_blob_is_served_whole_and_in_ranges_with_its_digest() {
    let registry = Registry::new().await;
    let digest = registry.push_blob("a", b"0123456789").await;
    let path = format!("/v2/a/blobs/{digest}");
    let head = registry.send(Method::HEAD, &path, &[], Body::empty()).await;
    assert_eq!((head.header("content-length"), head.body.len()), ("10", 0));
    assert_eq!(head.header("accept-ranges"), "bytes");
    let etag = format!("\"{digest}\"");
    for (headers, status, body, range) in [
        (vec![("range", "bytes=2-4")], 206, "234", "bytes 2-4/10"),
        (vec![("range", "bytes=-2")], 206, "89", "bytes 8-9/10"),
        (vec![("range", "bytes=2-4"), ("if-range", &etag)], 206, "234", "bytes 2-4/10"),
        (vec![("range", "bytes=2-4"), ("if-range", "\"other\"")], 200, "0123456789", ""),
        (vec![], 200, "0123456789", ""),
    ] {
        let reply = registry.send(Method::GET, &path, &headers, Body::empty()).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-range")), (status, range));
        assert_eq!((reply.body.as_ref(), reply.header("etag")), (body.as_bytes(), etag.as_str()));
        assert_eq!(reply.header("docker-content-digest"), digest.to_string());
    }
    let beyond = [("range", "bytes=10-")];
    let reply = registry.send(Method::GET, &path, &beyond, Body::empty()).await;
    assert_eq!(reply.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(reply.header("content-range"), "bytes */10");
}

#[tokio::test]
async fn empty_blobs_and_sha512_are_blobs_like_others() {
    let registry = Registry::new().await;
    for bytes in [&b""[..], b"content"] {
        let mut hasher = Hasher::new(DigestAlgorithm::Sha512);
        hasher.update(bytes);
        for digest in [hasher.finish(), BlobDigest::of(bytes)] {
            let path = format!("/v2/a/blobs/uploads/?digest-algorithm=sha512&digest={digest}");
            let reply = registry.send(Method::POST, &path, &[], bytes).await;
            assert_eq!(reply.status, StatusCode::CREATED);
            let blob = registry.get(&format!("/v2/a/blobs/{digest}")).await;
            assert_eq!((blob.status, blob.body.as_ref()), (StatusCode::OK, bytes));
        }
    }
}

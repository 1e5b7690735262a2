//! Manifests, tags and referrers.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::json;
use tamis_journal::BlobDigest;
use tamis_oci::{Limits, Versions};

use crate::client::{IMAGE, Registry, descriptor, image};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[tokio::test]
async fn a_manifest_comes_back_as_it_was_pushed() {
    let registry = Registry::new().await;
    registry.push_blob("a/b", b"{}").await;
    registry.push_blob("a/b", b"layer").await;
    // White space and order are part of the bytes.
    let bytes = format!(" {} \n", image(b"layer"));
    let headers = [("content-type", "application/vnd.oci.image.manifest.v1+json; charset=utf-8")];
    let put = registry.send(Method::PUT, "/v2/a/b/manifests/v1", &headers, bytes.clone()).await;
    let digest = BlobDigest::of(bytes.as_bytes()).to_string();
    assert_eq!((put.status, put.header("docker-content-digest")), (StatusCode::CREATED, &*digest));
    for reference in ["v1", &digest, &digest.replace(':', "%3A")] {
        let path = format!("/v2/a/b/manifests/{reference}");
        let got = registry.get(&path).await;
        assert_eq!((got.status, got.body.as_ref()), (StatusCode::OK, bytes.as_bytes()));
        assert_eq!(got.header("content-type"), IMAGE);
        assert_eq!(got.header("docker-content-digest"), digest);
        let head = registry.send(Method::HEAD, &path, &[], Body::empty()).await;
        assert_eq!(head.header("content-length"), bytes.len().to_string());
        assert!(head.body.is_empty());
    }
}

#[tokio::test]
async fn a_manifest_whose_parts_are_missing_or_of_another_size_is_refused() {
    let registry = Registry::new().await;
    registry.push_blob("a", b"{}").await;
    // It does not help that another repository has it.
    registry.push_blob("b", b"layer").await;
    let refused = registry.put("a", "1", &image(b"layer")).await;
    let said = (refused.status, refused.code());
    assert_eq!(said, (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN".into()));
    registry.push_blob("a", b"layer").await;
    let mut wrong = image(b"layer");
    wrong["layers"][0]["size"] = json!(6);
    assert_eq!(registry.put("a", "1", &wrong).await.code(), "MANIFEST_INVALID");
    let index =
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(IMAGE, b"x")] });
    assert_eq!(registry.put("a", "1", &index).await.code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(registry.put("a", "1", &image(b"layer")).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn one_push_by_digest_sets_several_tags() {
    let registry = Registry::new().await;
    let digest = registry.push("a", "latest", b"layer").await;
    let manifest = image(b"layer");
    let reply = registry.put("a", &format!("{digest}?tag=1.0.0&tag=1"), &manifest).await;
    let tags = reply.headers.get_all("oci-tag").iter();
    let tags: Vec<_> = tags.map(|tag| tag.to_str().unwrap()).collect();
    assert_eq!((reply.status, tags), (StatusCode::CREATED, vec!["1.0.0", "1"]));
    let list = registry.get("/v2/a/tags/list").await;
    assert_eq!(list.json(), json!({ "name": "a", "tags": ["1", "1.0.0", "latest"] }));
    let other = BlobDigest::of(b"other");
    assert_eq!(registry.put("a", &other.to_string(), &manifest).await.code(), "DIGEST_INVALID");
    assert_eq!(registry.put("a", "x?tag=y", &manifest).await.code(), "MANIFEST_INVALID");
    assert_eq!(registry.put("a", "-x", &manifest).await.code(), "MANIFEST_INVALID");
}

#[tokio::test]
async fn a_version_never_means_other_bytes_not_even_after_deletion() {
    let registry = Registry::new().await;
    registry.push("a", "1.0.0", b"first").await;
    registry.push("a", "latest", b"first").await;
    registry.push("a", "latest", b"second").await;
    let moved = registry.put("a", "1.0.0", &image(b"second")).await;
    assert_eq!((moved.status, moved.code()), (StatusCode::CONFLICT, "DENIED".into()));
    assert_eq!(registry.delete("/v2/a/manifests/1.0.0").await.status, StatusCode::ACCEPTED);
    assert_eq!(registry.put("a", "1.0.0", &image(b"second")).await.status, StatusCode::CONFLICT);
    assert_eq!(registry.put("a", "1.0.0", &image(b"first")).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn versions_move_where_that_is_wanted() {
    let registry =
        Registry::with(Limits { versions: Versions::Mutable, ..Limits::default() }).await;
    registry.push("a", "1.0.0", b"first").await;
    let second = registry.push("a", "1.0.0", b"second").await;
    let got = registry.get("/v2/a/manifests/1.0.0").await;
    assert_eq!(got.header("docker-content-digest"), second.to_string());
}

#[tokio::test]
async fn what_is_deleted_is_gone_at_once() {
    let registry = Registry::new().await;
    let digest = registry.push("a", "one", b"layer").await;
    registry.put("a", "two", &image(b"layer")).await;
    let blob = format!("/v2/a/blobs/{}", BlobDigest::of(b"layer"));
    let refused = registry.delete(&blob).await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "a manifest refers to it");
    assert_eq!(registry.delete("/v2/a/manifests/one").await.status, StatusCode::ACCEPTED);
    assert_eq!(registry.get("/v2/a/manifests/one").await.code(), "MANIFEST_UNKNOWN");
    assert_eq!(registry.get("/v2/a/manifests/two").await.status, StatusCode::OK);
    let manifest = format!("/v2/a/manifests/{digest}");
    assert_eq!(registry.delete(&manifest).await.status, StatusCode::ACCEPTED);
    assert_eq!(registry.get("/v2/a/manifests/two").await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.delete(&manifest).await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.delete(&blob).await.status, StatusCode::ACCEPTED);
    assert_eq!(registry.get(&blob).await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.delete(&blob).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn tags_are_listed_in_pages_that_lead_to_each_other() {
    let registry = Registry::new().await;
    let digest = registry.push("a", "t0", b"layer").await;
    let query: Vec<String> = (1..7).map(|number| format!("tag=t{number}")).collect();
    registry.put("a", &format!("{digest}?{}", query.join("&")), &image(b"layer")).await;
    let (mut path, mut seen) = ("/v2/a/tags/list?n=3".to_owned(), Vec::new());
    loop {
        let page = registry.get(&path).await;
        let tags = page.json()["tags"].as_array().unwrap().clone();
        seen.extend(tags.into_iter().map(|tag| tag.as_str().unwrap().to_owned()));
        let link = page.header("link").to_owned();
        let Some(next) = link.strip_prefix('<') else { break };
        let (next, relation) = next.split_once('>').unwrap();
        assert_eq!(relation, "; rel=\"next\"");
        path = next.to_owned();
    }
    assert_eq!(seen, ["t0", "t1", "t2", "t3", "t4", "t5", "t6"]);
    for (query, tags, link) in [
        ("n=0", json!([]), false),
        ("last=t4", json!(["t5", "t6"]), false),
        ("last=t", json!(["t0", "t1", "t2", "t3", "t4", "t5", "t6"]), false),
        ("last=~", json!([]), false),
        ("n=1&last=t4", json!(["t5"]), true),
        ("n=2&last=t4", json!(["t5", "t6"]), false),
    ] {
        let page = registry.get(&format!("/v2/a/tags/list?{query}")).await;
        assert_eq!(page.json()["tags"], tags, "{query}");
        assert_eq!(!page.header("link").is_empty(), link, "{query}");
    }
    assert_eq!(registry.get("/v2/a/tags/list?n=-1").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(registry.get("/v2/b/tags/list").await.code(), "NAME_UNKNOWN");
}

#[tokio::test]
async fn referrers_are_found_by_their_subject_and_kind() {
    let registry = Registry::new().await;
    let subject = registry.push("a", "1", b"layer").await;
    let mut manifest = image(b"layer");
    manifest["subject"] = descriptor(IMAGE, image(b"layer").to_string().as_bytes());
    manifest["artifactType"] = json!("application/vnd.example.signature");
    manifest["annotations"] = json!({ "who": "me" });
    let reply = registry.put("a", "signature", &manifest).await;
    assert_eq!(reply.header("oci-subject"), subject.to_string());
    let path = format!("/v2/a/referrers/{subject}");
    let all = registry.get(&path).await;
    assert_eq!(all.header("content-type"), INDEX);
    let found = json!([{
        "mediaType": IMAGE,
        "digest": BlobDigest::of(manifest.to_string().as_bytes()),
        "size": manifest.to_string().len(),
        "artifactType": "application/vnd.example.signature",
        "annotations": { "who": "me" },
    }]);
    assert_eq!(all.json()["manifests"], found);
    for (kind, count) in [("application/vnd.example.signature", 1), ("application/other", 0)] {
        let some = registry.get(&format!("{path}?artifactType={kind}")).await;
        assert_eq!(some.header("oci-filters-applied"), "artifactType");
        assert_eq!(some.json()["manifests"].as_array().unwrap().len(), count);
    }
    let nobody = format!("/v2/nothing/here/referrers/sha256:{}", "0".repeat(64));
    let empty = registry.get(&nobody).await;
    assert_eq!((empty.status, empty.header("content-type")), (StatusCode::OK, INDEX));
    assert_eq!(empty.json()["manifests"], json!([]));
    assert_eq!(registry.get("/v2/a/referrers/x").await.status, StatusCode::BAD_REQUEST);
    registry.delete("/v2/a/manifests/signature").await;
    let digest = found[0]["digest"].as_str().unwrap();
    registry.delete(&format!("/v2/a/manifests/{digest}")).await;
    assert_eq!(registry.get(&path).await.json()["manifests"], json!([]));
}

#[tokio::test]
async fn what_is_no_endpoint_or_method_is_said_to_be_none() {
    let registry = Registry::new().await;
    assert_eq!(registry.get("/v2/_catalog").await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.get("/v2/A/tags/list").await.code(), "NAME_INVALID");
    assert_eq!(registry.get("/v2/a/manifests/sha256:bad").await.code(), "DIGEST_INVALID");
    assert_eq!(registry.get("/v2/a/manifests/-").await.code(), "MANIFEST_UNKNOWN");
    let reply = registry.send(Method::POST, "/v2/a/tags/list", &[], Body::empty()).await;
    assert_eq!(
        (reply.status, reply.header("allow")),
        (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD")
    );
    assert_eq!(reply.header("docker-distribution-api-version"), "registry/2.0");
}

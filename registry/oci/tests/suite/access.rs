//! Who may do what.

use axum::body::Body;
use http::{Method, StatusCode};
use tamis_journal::BlobDigest;
use tamis_oci::{AnonymousRights, TokenSecret, Verb};

use crate::client::Registry;

async fn token(registry: &Registry, name: &str, pattern: &str, verbs: &[Verb]) -> String {
    let secret = TokenSecret::generate().unwrap();
    let patterns = [pattern.parse().unwrap()];
    registry.store.create_token(name, &secret, &patterns, verbs).await.unwrap();
    secret.expose().to_owned()
}

#[tokio::test]
async fn without_credentials_a_closed_registry_says_only_how_to_get_in() {
    let registry = Registry::new().await;
    registry.push("a", "1.0.0", b"layer").await;
    let registry = registry.called_by(None);
    for path in ["/v2/", "/v2/a/manifests/1.0.0", "/v2/b/manifests/1.0.0", "/v2/a/tags/list"] {
        let reply = registry.get(path).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(reply.header("www-authenticate").starts_with("Basic realm="), "{path}");
        assert_eq!(reply.code(), "UNAUTHORIZED");
    }
    let upload = registry.send(Method::POST, "/v2/a/blobs/uploads/", &[], Body::empty()).await;
    assert_eq!(upload.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn credentials_of_nobody_open_nothing_even_where_anonymous_callers_may_pull() {
    let registry = Registry::open_to(AnonymousRights::Pull).await;
    registry.push("a", "latest", b"layer").await;
    let registry = registry.called_by(None);
    assert_eq!(registry.get("/v2/").await.status, StatusCode::OK);
    assert_eq!(registry.get("/v2/a/manifests/latest").await.status, StatusCode::OK);
    let push = registry.send(Method::POST, "/v2/a/blobs/uploads/", &[], Body::empty()).await;
    assert_eq!(push.status, StatusCode::UNAUTHORIZED);
    let registry = registry.called_by(Some("tamis_guessed"));
    assert_eq!(registry.get("/v2/a/manifests/latest").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_does_what_it_was_made_for_until_it_is_revoked() {
    let registry = Registry::new().await;
    registry.push("acme/a", "latest", b"layer").await;
    registry.push("other", "latest", b"layer").await;
    let pull = token(&registry, "reader", "acme/*", &[Verb::Pull]).await;
    let registry = registry.called_by(Some(&pull));
    assert_eq!(registry.get("/v2/acme/a/manifests/latest").await.status, StatusCode::OK);
    let elsewhere = registry.get("/v2/other/manifests/latest").await;
    assert_eq!((elsewhere.status, elsewhere.code()), (StatusCode::FORBIDDEN, "DENIED".into()));
    let delete = registry.delete("/v2/acme/a/manifests/latest").await;
    assert_eq!(delete.status, StatusCode::FORBIDDEN);
    registry.store.revoke_token("reader").await.unwrap();
    let revoked = registry.get("/v2/acme/a/manifests/latest").await;
    assert_eq!(revoked.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_blob_is_mounted_only_from_where_the_caller_may_pull() {
    let registry = Registry::new().await;
    let digest = registry.push_blob("secret/a", b"secret").await;
    let limited = token(&registry, "limited", "open/*", &[Verb::Pull, Verb::Push]).await;
    let registry = registry.called_by(Some(&limited));
    // With the repository named, without, and for a blob that does not exist: the responses are equal.
    let missing = BlobDigest::of(b"nobody has it");
    for query in [
        format!("mount={digest}&from=secret/a"),
        format!("mount={digest}"),
        format!("mount={missing}&from=secret/a"),
    ] {
        let path = format!("/v2/open/b/blobs/uploads/?{query}");
        let reply = registry.send(Method::POST, &path, &[], Body::empty()).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{query}");
        assert!(reply.header("location").starts_with("/v2/open/b/blobs/uploads/"));
    }
    let reply = registry.get(&format!("/v2/open/b/blobs/{digest}")).await;
    assert_eq!(reply.code(), "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_blob_is_mounted_from_where_the_caller_may_pull() {
    let registry = Registry::new().await;
    let digest = registry.push_blob("open/a", b"shared").await;
    let limited = token(&registry, "limited", "open/*", &[Verb::Pull, Verb::Push]).await;
    let registry = registry.called_by(Some(&limited));
    for (to, query) in [("open/b", "&from=open/a"), ("open/c", "")] {
        let path = format!("/v2/{to}/blobs/uploads/?mount={digest}{query}");
        let reply = registry.send(Method::POST, &path, &[], Body::empty()).await;
        assert_eq!(reply.status, StatusCode::CREATED);
        let blob = registry.get(reply.header("location")).await;
        assert_eq!(blob.body, "shared");
    }
}

#[tokio::test]
async fn two_tokens_of_one_name_are_not_made() {
    let registry = Registry::new().await;
    token(&registry, "ci", "*", &[Verb::Pull]).await;
    let secret = TokenSecret::generate().unwrap();
    let again = registry.store.create_token("ci", &secret, &[], &[]).await;
    assert!(again.unwrap_err().to_string().contains("\"ci\" exists already"));
    let bad = registry.store.create_token("C I", &secret, &[], &[]).await;
    assert!(bad.unwrap_err().to_string().contains("cannot be a token's name"));
    assert!(registry.store.revoke_token("nobody").await.is_err());
}

#[tokio::test]
async fn an_upload_is_gone_on_with_by_whoever_began_it_where_it_was_begun() {
    let registry = Registry::new().await;
    let verbs = [Verb::Pull, Verb::Push];
    let one = token(&registry, "one", "acme/*", &verbs).await;
    let two = token(&registry, "two", "acme/*", &verbs).await;
    let registry = registry.called_by(Some(&one));
    let begun = registry.send(Method::POST, "/v2/acme/a/blobs/uploads/", &[], Body::empty()).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED);
    let location = begun.header("location").to_owned();
    let elsewhere = location.replace("/acme/a/", "/acme/b/");
    let digest = BlobDigest::of(b"mine");
    let mut registry = registry;
    for (caller, path) in [(&two, &location), (&two, &elsewhere), (&one, &elsewhere)] {
        registry = registry.called_by(Some(caller));
        for (method, path) in [
            (Method::GET, path.clone()),
            (Method::PATCH, path.clone()),
            (Method::PUT, format!("{path}?digest={digest}")),
            (Method::DELETE, path.clone()),
        ] {
            let reply = registry.send(method.clone(), &path, &[], "mine").await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
    let registry = registry.called_by(Some(&one));
    let done =
        registry.send(Method::PUT, &format!("{location}?digest={digest}"), &[], "mine").await;
    assert_eq!(done.status, StatusCode::CREATED, "what others tried left nothing behind");
}

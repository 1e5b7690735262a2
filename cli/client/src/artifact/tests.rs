//! Filters are pushed and pulled whole, or not at all.

use std::collections::HashMap;
use std::sync::Mutex;

use tamis_trust::{BuildInput, PrivateKey, build, sign};

use super::*;
use crate::testing::{Answer, FakeServer, RecordedRequest, answer};
use http::{HeaderValue, Method};

fn artifact() -> Artifact {
    let component = b"\0asm component".to_vec();
    let manifest = build(&component, &BuildInput::new("acme/retry", "1.4.2")).unwrap();
    let bundle = sign(&PrivateKey::generate().unwrap(), &manifest).unwrap();
    Artifact { manifest, component, bundles: vec![bundle.trim_end().as_bytes().to_vec()] }
}

/// The part of a registry that push and pull need.
#[derive(Default)]
struct Registry {
    things: Mutex<HashMap<String, Bytes>>,
}

impl Registry {
    async fn start() -> FakeServer {
        let registry = Self::default();
        FakeServer::new(move |asked| registry.says(asked)).await
    }

    fn says(&self, asked: &RecordedRequest) -> Answer {
        let mut things = self.things.lock().unwrap();
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        match asked.method {
            Method::POST => {
                let mut begun = answer(202, "");
                let place = HeaderValue::from_static("/v2/acme/retry/blobs/uploads/7?a=b");
                begun.headers_mut().insert("location", place);
                begun
            }
            Method::PUT if query.contains("digest=") => {
                let digest = query.rsplit_once("digest=").unwrap().1.replace("%3A", ":");
                things.insert(format!("/v2/acme/retry/blobs/{digest}"), asked.body.clone());
                answer(201, "")
            }
            Method::PUT => {
                things.insert(path.to_owned(), asked.body.clone());
                answer(201, "")
            }
            _ if path.contains("/referrers/") => answer(200, referrers(&things, path)),
            _ => match things.get(path) {
                Some(thing) => answer(200, thing.clone()),
                None => answer(404, ""),
            },
        }
    }
}

fn referrers(things: &HashMap<String, Bytes>, path: &str) -> String {
    let subject = path.rsplit_once('/').unwrap().1;
    let about = things.values().filter(|thing| {
        let value: serde_json::Value = serde_json::from_slice(thing).unwrap_or_default();
        value["subject"]["digest"] == subject
    });
    let about = about.map(
        |thing| json!({ "digest": Digest::of(thing).to_string(), "artifactType": BUNDLE_TYPE }),
    );
    json!({ "manifests": about.collect::<Vec<_>>() }).to_string()
}

#[tokio::test]
async fn what_is_pushed_is_pulled_byte_for_byte_by_tag_and_by_digest() {
    let fake = Registry::start().await;
    let (client, artifact) = (fake.client(), artifact());
    let pushed = client.push("acme/retry", &artifact, Overwrite::Allowed).await.unwrap();
    assert_eq!((pushed.tag.as_str(), pushed.signatures.len()), ("1.4.2", 1));
    for reference in
        [ManifestReference::Tag("1.4.2".into()), ManifestReference::Digest(pushed.digest)]
    {
        let pulled = client.pull("acme/retry", &reference).await.unwrap();
        assert_eq!(pulled.artifact, artifact);
        assert_eq!(pulled.digest, pushed.digest);
    }
}

#[tokio::test]
async fn the_tag_comes_after_everything_it_leads_to_and_nothing_is_sent_twice() {
    let fake = Registry::start().await;
    let (client, artifact) = (fake.client(), artifact());
    client.push("acme/retry", &artifact, Overwrite::Allowed).await.unwrap();
    assert_eq!(fake.asked().last().unwrap().path, "/v2/acme/retry/manifests/1.4.2");
    let uploads =
        |fake: &FakeServer| fake.asked().iter().filter(|it| it.method == Method::POST).count();
    let before = uploads(&fake);
    let again = client.push("acme/retry", &artifact, Overwrite::Allowed).await.unwrap();
    assert_eq!((uploads(&fake), again.signatures.len()), (before, 1));
}

#[tokio::test]
async fn a_filter_is_there_when_its_tag_its_bytes_and_its_signatures_are() {
    let fake = Registry::start().await;
    let (client, artifact) = (fake.client(), artifact());
    assert!(!client.has("acme/retry", &artifact).await.unwrap());
    client.push("acme/retry", &artifact, Overwrite::Allowed).await.unwrap();
    assert!(client.has("acme/retry", &artifact).await.unwrap());
    let mut signed_again = artifact.clone();
    signed_again.bundles.push(b"{\"another\":1}".to_vec());
    assert!(!client.has("acme/retry", &signed_again).await.unwrap());
}

#[tokio::test]
async fn changed_bytes_are_refused_wherever_they_are() {
    let artifact = artifact();
    let tampered = |part: &'static str| {
        let registry = Registry::default();
        FakeServer::new(move |asked| match registry.says(asked) {
            _ if asked.method == Method::GET && asked.path.contains(part) => answer(200, "{}"),
            said => said,
        })
    };
    let digest = Digest::of(&artifact.manifest);
    for part in ["/manifests/sha256", "/blobs/sha256"] {
        let fake = tampered(part).await;
        fake.client().push("acme/retry", &artifact, Overwrite::Allowed).await.unwrap();
        let pulled = fake.client().pull("acme/retry", &ManifestReference::Digest(digest)).await;
        assert!(matches!(pulled.unwrap_err(), ClientError::Tampered { .. }), "{part}");
    }
}

#[tokio::test]
async fn what_is_no_filter_is_not_pushed() {
    let fake = Registry::start().await;
    let whole = artifact();
    let other = Artifact { component: b"another".to_vec(), ..whole.clone() };
    let broken = Artifact { manifest: b"{}".to_vec(), ..whole.clone() };
    for bad in [other, broken] {
        let error = fake.client().push("acme/retry", &bad, Overwrite::Allowed).await.unwrap_err();
        assert!(matches!(error, ClientError::Artifact(_)), "{error}");
    }
    for repository in ["", "Acme", "a//b", "a/../b", "a?b"] {
        fake.client().push(repository, &whole, Overwrite::Allowed).await.unwrap_err();
    }
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_registry_cannot_send_the_token_elsewhere() {
    let fake = FakeServer::new(|asked| match asked.method {
        Method::POST => {
            let mut begun = answer(202, "");
            let place = HeaderValue::from_static("http://evil.example/upload");
            begun.headers_mut().insert("location", place);
            begun
        }
        _ => answer(404, ""),
    })
    .await;
    let error =
        fake.client().push("acme/retry", &artifact(), Overwrite::Allowed).await.unwrap_err();
    assert!(error.to_string().contains("another server"), "{error}");
}

#[test]
fn references_are_tags_or_digests_and_build_metadata_is_explained() {
    let digest = Digest::of(b"").to_string();
    assert_eq!("1.4.2".parse(), Ok(ManifestReference::Tag("1.4.2".into())));
    assert_eq!(digest.parse::<ManifestReference>().unwrap().to_string(), digest);
    for bad in ["", ".a", "a/b", "sha256:00", "a b"] {
        assert!(bad.parse::<ManifestReference>().is_err(), "{bad}");
    }
    assert!("1.0.0+build".parse::<ManifestReference>().unwrap_err().contains("build metadata"));
}

#[tokio::test]
async fn a_version_names_the_manifest_that_was_pushed_under_it_or_none() {
    let fake = Registry::start().await;
    let (client, artifact) = (fake.client(), artifact());
    assert_eq!(client.released("acme/retry", "1.4.2").await.unwrap(), None);
    let pushed = client.push("acme/retry", &artifact, Overwrite::Allowed).await.unwrap();
    assert_eq!(client.released("acme/retry", "1.4.2").await.unwrap(), Some(pushed.digest));
    assert!(client.released("acme/retry", "1.4.2+build").await.is_err(), "that is no tag");
}

#[tokio::test]
async fn a_manifest_that_was_parsed_is_pushed_with_its_own_artifact_alone() {
    let fake = Registry::start().await;
    let (one, other) = (artifact(), artifact());
    let manifest = build(b"other", &BuildInput::new("acme/retry", "1.4.3")).unwrap();
    let of_other = Manifest::parse(&manifest).unwrap();
    let of_one = Manifest::parse(&one.manifest).unwrap();
    let push = async |artifact: &Artifact, parsed: &Manifest| {
        fake.client().push_parsed("acme/retry", (artifact, parsed), Overwrite::Allowed).await
    };
    let error = push(&one, &of_other).await.unwrap_err();
    assert!(matches!(error, ClientError::Artifact(_)), "{error}");
    assert_eq!(push(&other, &of_one).await.unwrap().digest, of_one.digest());
}

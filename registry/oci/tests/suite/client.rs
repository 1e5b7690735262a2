//! A registry in a folder of its own, and a client that needs no socket.

use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tamis_ambient::Clock;
use tamis_journal::{BlobDigest, Blobs, Journal};
use tamis_oci::{AnonymousRights, Limits, Store, TokenSecret, Verb, router};
use tempfile::TempDir;
use tower::ServiceExt as _;

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry; its folder goes when it is dropped.
pub(crate) struct Registry {
    pub(crate) folder: TempDir,
    pub(crate) store: Store,
    router: Router,
    token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}

impl Registry {
    /// With a token that has all rights.
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let folder = TempDir::new().unwrap();
        let store = open(&folder, limits).await;
        let secret = TokenSecret::generate().unwrap();
        let verbs = [Verb::Pull, Verb::Push, Verb::Delete];
        store.create_token("all", &secret, &["*".parse().unwrap()], &verbs).await.unwrap();
        let token = Some(secret.expose().to_owned());
        Self { folder, router: router(store.clone()), store, token }
    }

    /// With rights for callers without a token.
    pub(crate) async fn open_to(anonymous: AnonymousRights) -> Self {
        Self::with(Limits { anonymous, ..Limits::default() }).await
    }

    /// Another replica on the same folder, with the same token.
    pub(crate) async fn replica(&self) -> (Store, Router) {
        let store = open(&self.folder, Limits::default()).await;
        (store.clone(), router(store))
    }

    /// The token its requests carry.
    pub(crate) fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// The same registry, called with this token or without one.
    pub(crate) fn called_by(self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        send(&self.router, self.token.as_deref(), method, path, headers, body.into()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], Body::empty()).await
    }

    /// Pushes a blob in one go.
    pub(crate) async fn push_blob(&self, name: &str, bytes: &[u8]) -> BlobDigest {
        let digest = BlobDigest::of(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let reply = self.send(Method::POST, &path, &[], bytes.to_vec()).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        digest
    }

    /// Pushes a manifest under a reference.
    pub(crate) async fn put(&self, name: &str, reference: &str, manifest: &Value) -> Reply {
        let path = format!("/v2/{name}/manifests/{reference}");
        let kind = manifest["mediaType"].as_str().unwrap_or(IMAGE);
        self.send(Method::PUT, &path, &[("content-type", kind)], manifest.to_string()).await
    }

    /// Pushes an artifact of one layer, all of it.
    pub(crate) async fn push(&self, name: &str, reference: &str, layer: &[u8]) -> BlobDigest {
        self.push_blob(name, b"{}").await;
        self.push_blob(name, layer).await;
        let manifest = image(layer);
        let reply = self.put(name, reference, &manifest).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        BlobDigest::of(manifest.to_string().as_bytes())
    }
}

pub(crate) async fn send(
    router: &Router,
    token: Option<&str>,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let reply = router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = reply.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Reply { status: parts.status, headers: parts.headers, body }
}

async fn open(folder: &TempDir, limits: Limits) -> Store {
    let journal = Journal::sqlite(folder.path()).await.unwrap();
    let blobs = Blobs::files(folder.path()).await.unwrap();
    Store::open(journal, blobs, limits, Clock::system()).await.unwrap()
}

/// A manifest with an empty config and this layer.
pub(crate) fn image(layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [descriptor("application/wasm", layer)],
    })
}

pub(crate) fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": BlobDigest::of(bytes), "size": bytes.len() })
}

//! A control plane for tests, with tokens of three owners.

use std::sync::Arc;

use serde_json::{Value, json};
use tamis_api::{ApplyRequest, SourceText};
use tamis_director::RecordBody;
use tamis_journal::{Blobs, Journal};
use tamis_oci::{Limits, NewToken, Store, TokenSecret, Verb};
use tamis_trust::{BuildInput, Digest, Manifest, PrivateKey, Refused, build, sign};
use tempfile::TempDir;

use crate::plane::component_examiner::ComponentExaminer;
use crate::plane::control::artifact_cache::Artifact;
use crate::plane::control::{Control, ControlSettings};
use crate::plane::keys::{Keys, MissingKeys};
use crate::plane::rights::AuthorizedCaller;

struct NoExaminer;

impl ComponentExaminer for NoExaminer {
    fn check_claims(&self, _: &Manifest, _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn capabilities_added(&self, _: &[u8], _: &[u8], _: &[String]) -> Vec<tamis_api::GrowthView> {
        Vec::new()
    }
}

/// A control plane in a folder of its own.
pub(crate) struct World {
    _folder: TempDir,
    pub(crate) control: Control,
}

impl World {
    /// A control plane with tokens of three owners: `acme`, which made `acme-ci`, and `other` and `third`, made by an
    /// administrator.
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let journal = Journal::sqlite(folder.path()).await.unwrap();
        let blobs = Blobs::files(folder.path()).await.unwrap();
        let clock = tamis_ambient::Clock::system();
        let store = Store::open(journal, blobs, Limits::default(), clock).await.unwrap();
        let keys = Keys::open(folder.path(), "registry.example/log", MissingKeys::Made).unwrap();
        let (rules, examine) = (ControlSettings::default(), Arc::new(NoExaminer));
        let control = Control::open(store, keys, rules, examine, None).await.unwrap();
        let world = Self { _folder: folder, control };
        world.make("operator".into(), "acme", "acme/*").await;
        world.make("operator".into(), "root", "*").await;
        for name in ["other", "third"] {
            world.make((&world.holder("root")).into(), name, "acme/*").await;
        }
        world.make((&world.holder("acme")).into(), "acme-ci", "acme/*").await;
        world
    }

    pub(crate) async fn make(&self, author: tamis_oci::Author<'_>, name: &str, pattern: &str) {
        let patterns = vec![pattern.parse().unwrap()];
        let (name, verbs) = (name.to_owned(), vec![Verb::Operate]);
        let token = NewToken { name, patterns, verbs, expires_ms: None };
        let secret = TokenSecret::generate().unwrap();
        self.control.0.store.create_token_by(author, token, &secret).await.unwrap();
    }

    /// The caller with that token.
    pub(crate) fn holder(&self, name: &str) -> AuthorizedCaller {
        AuthorizedCaller::new(self.control.0.store.named(name).unwrap())
    }
}

/// The router.
pub(crate) const FILTER: &str = "acme/route";

/// A registry with a gateway of `acme` and one of `rival`; both run a router of `acme` that one trusted key signed.
pub(crate) struct SignedRouter {
    pub(crate) world: World,
    pub(crate) key: PrivateKey,
    /// The digest of its manifest.
    pub(crate) digest: Digest,
}

fn document(api: &str, kind: &str, key: &str, spec: Value) -> SourceText {
    let (namespace, name) = key.split_once('/').unwrap();
    let metadata = json!({ "name": name, "namespace": namespace });
    let text = json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec });
    SourceText { source: format!("{kind}-{name}.yaml"), text: text.to_string() }
}

fn ours(kind: &str, key: &str, spec: Value) -> SourceText {
    document("tamis.dev/v1alpha1", kind, key, spec)
}

/// A gateway with its router.
fn edge(namespace: &str) -> [SourceText; 2] {
    let listeners = json!([{ "name": "http", "port": 8080, "protocol": "HTTP" }]);
    let router = json!({
        "targetRefs": [{ "kind": "Gateway", "name": "edge" }], "filter": FILTER, "phase": "traffic", "order": 10,
    });
    let spec = json!({ "listeners": listeners });
    [
        document("gateway.networking.k8s.io/v1", "Gateway", &format!("{namespace}/edge"), spec),
        ours("FilterAttachment", &format!("{namespace}/route"), router),
    ]
}

/// A request to apply documents.
pub(crate) fn apply(sources: impl IntoIterator<Item = SourceText>, confirm: bool) -> ApplyRequest {
    let sources = sources.into_iter().collect();
    ApplyRequest { sources, confirm, ..ApplyRequest::default() }
}

impl SignedRouter {
    pub(crate) async fn new() -> Self {
        let (world, key) = (World::new().await, PrivateKey::generate().unwrap());
        let manifest = build(b"\0asm a component", &BuildInput::new(FILTER, "1.0.0")).unwrap();
        let digest = Digest::of(&manifest);
        let bundles = vec![sign(&key, &manifest).unwrap()];
        let manifest = String::from_utf8(manifest).unwrap();
        let parsed = Manifest::parse(manifest.as_bytes()).map(Arc::new);
        world.control.remember(digest, Artifact { manifest, parsed, bundles, logged: vec![None] });
        let made = Self { world, key, digest };
        let documents = [edge("acme"), edge("rival")].into_iter().flatten().chain([
            ours("Filter", FILTER, json!({ "world": "route-policy" })),
            ours("Grant", "security/route", json!({ "filter": FILTER })),
            made.policy("security/all", "*", 1),
        ]);
        let control = &made.world.control;
        let root = made.world.holder("root");
        control.apply(&root, &apply(documents, true)).await.unwrap();
        let pin = |service: &str, filter: &str| {
            let pin = json!({
                "service": service, "filter": filter, "version": "1.0.0", "digest": digest.to_string(),
            });
            RecordBody::from_body("pinned", &pin).unwrap().unwrap()
        };
        let pins = [pin("*", FILTER), pin("rival/edge", "rival/own")];
        control.commit("operator", |_| Ok((pins.to_vec(), ()))).await.unwrap();
        made
    }

    /// A policy that trusts the key for these filters.
    pub(crate) fn policy(&self, key: &str, covers: &str, threshold: u32) -> SourceText {
        let own = json!({ "name": "release", "publicKey": self.key.public_key().to_pem() });
        let spec = json!({ "namespaces": [covers], "keys": [own], "threshold": threshold });
        ours("TrustPolicy", key, spec)
    }
}

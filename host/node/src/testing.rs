//! Shared by tests of this crate: the built-in filters, signed by the test.

use crate::build::Builder;
use crate::code::Code;
use crate::fetch::Fetcher;
use crate::node_resources::NodeResources;
use crate::store::ArtifactStore;
use crate::ticks::TickStarter;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tamis_ambient::{Clock, Random};
use tamis_engine::{Engine, Exporter, FilterSpan, Secrets};
use tamis_observe::Metrics;
use tamis_resources::plan::{FilterPlan, GrantPlan, Isolation, LimitsPlan, OnFailure, Phase};
use tamis_trust::{BuildInput, Digest, PrivateKey, SignaturePolicy};
use tempfile::TempDir;

/// One engine for all tests, as in a process.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap())
}

/// Machine code of all tests, so that each component is compiled once.
pub(crate) fn code() -> Code {
    static CODE: OnceLock<Code> = OnceLock::new();
    CODE.get_or_init(Code::default).clone()
}

/// A built-in filter, as built by `cargo xtask filters`.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components");
    let path = folder.join(format!("{name}.wasm"));
    let read = std::fs::read(&path);
    read.unwrap_or_else(|error| panic!("{}: {error}; run cargo xtask filters", path.display()))
}

struct NullExporter;

impl Exporter for NullExporter {
    fn record(&self, _: &str, _: &str) {}
    fn span(&self, _: &str, _: &FilterSpan) {}
}

/// A store of its own, and the key that signs its artifacts.
pub(crate) struct SigningStore {
    pub(crate) folder: TempDir,
    pub(crate) key: PrivateKey,
}

impl SigningStore {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), key: PrivateKey::generate().unwrap() }
    }

    /// Path of the component of a built-in filter.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.wasm"))
    }

    /// Signs a built-in filter as `tamis/NAME`.
    pub(crate) fn add(&self, name: &str, version: &str) -> Digest {
        self.add_claiming(name, version, |_| {})
    }

    /// Signs a built-in filter with modified claims.
    pub(crate) fn add_claiming(
        &self,
        name: &str,
        version: &str,
        change: impl FnOnce(&mut BuildInput),
    ) -> Digest {
        let component = component(name);
        let found = tamis_engine::inspect(&component).unwrap();
        let interface = |name: &str| found.contract.interface(name);
        let mut input = BuildInput::new(&format!("tamis/{name}"), version);
        input.imports = found.imports.iter().map(|import| interface(import)).collect();
        input.imports.extend(found.wasi.iter().cloned());
        input.exports = found.hooks.iter().map(|hook| interface(hook.as_str())).collect();
        input.exports.push(interface("lifecycle"));
        change(&mut input);
        let manifest = tamis_trust::build(&component, &input).unwrap();
        let bundle = tamis_trust::sign(&self.key, &manifest).unwrap();
        let file = self.file(name).display().to_string();
        std::fs::write(&file, component).unwrap();
        std::fs::write(format!("{file}.manifest.json"), &manifest).unwrap();
        std::fs::write(format!("{file}.sigstore.json"), bundle).unwrap();
        Digest::of(&manifest)
    }

    /// A policy that trusts the key, with additional fields.
    pub(crate) fn policy(&self, more: &Value) -> SignaturePolicy {
        SignaturePolicy::from_json(self.document(more).to_string().as_bytes()).unwrap()
    }

    /// The document of that policy.
    pub(crate) fn document(&self, more: &Value) -> Value {
        let mut policy = json!({
            "name": "tests", "namespaces": ["*"], "threshold": 1,
            "keys": [{ "name": "release", "publicKey": self.key.public_key().to_pem() }],
        });
        for (name, value) in more.as_object().unwrap() {
            policy[name] = value.clone();
        }
        policy
    }

    pub(crate) fn builder(&self) -> Builder {
        self.builder_with(code())
    }

    /// A builder with machine code of its own.
    pub(crate) fn builder_with(&self, code: Code) -> Builder {
        Builder::new(
            &NodeResources { code, ..shared() },
            ArtifactStore::new(vec![self.folder.path().to_owned()]),
            Arc::new(Metrics::new()),
            Arc::new(NullExporter),
            Arc::new(Fetcher::default()),
            Secrets::default(),
            TickStarter::new().unwrap(),
        )
    }
}

/// What nodes of tests share: the clock of the machine, and no cache on disk.
pub(crate) fn shared() -> NodeResources {
    let (clock, random) = (Clock::system(), Random::system());
    NodeResources { engine: engine().clone(), cache: None, code: code(), clock, random }
}

/// An attachment of `tamis/NAME` with what it needs, failing closed.
pub(crate) fn plan(name: &str, digest: &Digest) -> FilterPlan {
    let imports: BTreeMap<String, Value> = match name {
        "retry" => BTreeMap::from([("random".to_owned(), json!({}))]),
        _ => BTreeMap::new(),
    };
    FilterPlan {
        attachment: format!("test/{name}"),
        filter: format!("tamis/{name}"),
        version: "1.0.0".to_owned(),
        digest: digest.to_string(),
        phase: Phase::Traffic,
        order: 10,
        config: Arc::new(json!({})),
        on_failure: OnFailure::Closed,
        isolation: Isolation::Worker,
        world: None,
        scope: None,
        extend: false,
        covers: Vec::new(),
        signed_by: None,
        grant: GrantPlan {
            imports,
            reads: vec!["*".to_owned(), "@*".to_owned()],
            writes: vec!["*".to_owned()],
            limits: LimitsPlan { time_us: 500_000, ..LimitsPlan::default() },
            ..GrantPlan::default()
        },
        refused: None,
        receives: false,
    }
}

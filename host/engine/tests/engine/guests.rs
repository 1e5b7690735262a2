//! Builds guests once and makes filters and views from them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use tamis_engine::{
    Admission, CompiledComponent, Engine, EngineError, Filter, FilterOptions, FilterState, Grant,
    HttpFetch, Isolation, OnFailure,
};
use tamis_exchange::{Attributes, Exchange, ReadableFields, Scheme, View};
use tamis_observe::Metrics;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One engine for all tests, as in a proxy.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap())
}

/// A guest of `tests/guests/rust` as a component.
fn component(name: &str) -> Vec<u8> {
    let guest = root().join("tests/guests/rust").join(name);
    let target = root().join("target/guests");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--target", "wasm32-unknown-unknown"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&guest)
        .status()
        .unwrap();
    assert!(built.success(), "the guest does not build; is the wasm32 target installed?");
    let module = target.join(format!("wasm32-unknown-unknown/release/guest_{name}.wasm"));
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&std::fs::read(module).unwrap())
        .unwrap()
        .encode()
        .unwrap()
}

/// The guest whose configuration states what it does.
pub(crate) fn behaviour_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| component("behaviour"))
}

/// The guest of contract 0.1, compiled.
pub(crate) fn frozen() -> &'static CompiledComponent {
    static COMPILED: OnceLock<CompiledComponent> = OnceLock::new();
    COMPILED.get_or_init(|| engine().compile(&component("frozen"), None).unwrap())
}

/// The guest that does one bad thing in one place, compiled.
pub(crate) fn rogue() -> &'static CompiledComponent {
    static COMPILED: OnceLock<CompiledComponent> = OnceLock::new();
    COMPILED.get_or_init(|| engine().compile(&component("rogue"), None).unwrap())
}

/// The same, compiled.
pub(crate) fn behaviour() -> &'static CompiledComponent {
    static COMPILED: OnceLock<CompiledComponent> = OnceLock::new();
    COMPILED.get_or_init(|| engine().compile(behaviour_bytes(), None).unwrap())
}

/// A built-in filter, as built by `cargo xtask filters`.
pub(crate) fn built_in(name: &str) -> CompiledComponent {
    let path = root().join("target/components").join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run cargo xtask filters", path.display()));
    engine().compile(&bytes, None).unwrap()
}

pub(crate) struct GuestOptions {
    pub(crate) grant: Grant,
    pub(crate) state: Arc<FilterState>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) fetch: Option<Arc<dyn HttpFetch>>,
    pub(crate) isolation: Isolation,
}

pub(crate) fn given() -> GuestOptions {
    let metrics = Arc::new(Metrics::new());
    GuestOptions {
        grant: Grant::everything(),
        state: Arc::new(FilterState::new(Arc::clone(&metrics))),
        metrics,
        fetch: None,
        isolation: Isolation::Worker,
    }
}

impl GuestOptions {
    pub(crate) fn filter(
        &self,
        compiled: &CompiledComponent,
        config: &str,
    ) -> Result<Filter, EngineError> {
        Filter::new(compiled, self.options(compiled, config)?)
    }

    pub(crate) fn options(
        &self,
        compiled: &CompiledComponent,
        config: &str,
    ) -> Result<FilterOptions, EngineError> {
        let (name, inspection) = ("test/guest", compiled.inspection());
        Ok(FilterOptions {
            name: name.into(),
            digest: "sha256:00".into(),
            version: "0.1.0".into(),
            config_json: config.into(),
            admission: Admission::of_grant(name, inspection, self.grant.clone())?,
            state: Arc::clone(&self.state),
            fetch: self.fetch.clone(),
            failure: OnFailure::Closed,
            isolation: self.isolation,
        })
    }

    pub(crate) fn does(&self, what: &str) -> Result<Filter, EngineError> {
        let config = format!(r#"{{"do":"{what}","reads":[":path"],"writes":["x-path"]}}"#);
        self.filter(behaviour(), &config)
    }

    /// The same, in the shadow of the filter with this state.
    pub(crate) fn shadow_does(&self, what: &str) -> Result<Filter, EngineError> {
        let config = format!(r#"{{"do":"{what}","reads":[":path"],"writes":["x-path"]}}"#);
        Filter::shadow(behaviour(), self.options(behaviour(), &config)?)
    }
}

/// A view of `GET path` of `shop.example`.
pub(crate) fn view(reads: &ReadableFields, id: u64, path: &str) -> View {
    let mut headers = http::HeaderMap::new();
    headers.insert("accept", "*/*".parse().unwrap());
    let exchange = Exchange {
        id,
        method: http::Method::GET,
        scheme: Scheme::Http,
        authority: "shop.example".into(),
        path: path.into(),
        headers,
        status: None,
        response_headers: http::HeaderMap::new(),
        attributes: Attributes::default(),
        bounds: tamis_exchange::HeadBounds::default(),
        coding: None,
    };
    let mut view = View::default();
    view.fill_request(reads, &exchange);
    view
}

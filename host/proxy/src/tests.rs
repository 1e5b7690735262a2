//! The parts of the pipeline with filters that run: a guest built once, and chains of it.

mod bodies;
mod calling;
mod contracts;
mod counting;
mod decide;
mod finished;
mod hedges;
mod leaving;
mod limits;
mod live;
mod local;
mod outgoing;
mod shadows;
mod trailers;
mod tunnels;
mod unread;
mod uploads;

use crate::chain::Chain;
use crate::counts::SlotLedger;
use crate::decide::AskedSlots;
use crate::exchange::ExchangeState;
use crate::generation::{Attachment, ChainLayout, Generation, SlotOccupant};
use crate::heads::CopyMark;
use crate::proxy::ProxyOptions;
use crate::route::Destination;
use crate::shadow::Shadows;
use crate::shared::ProxyShared;
use crate::slot::Slot;
use crate::stop::ExchangeStop;
use crate::traffic::Traffic;
use crate::worker::state::{WorkerPlace, WorkerState};
use http::HeaderMap;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use tamis_engine::{
    Admission, CompiledComponent, Engine, Filter, FilterOptions, FilterState, Grant, Isolation,
    OnFailure,
};
use tamis_exchange::{Attributes, Exchange, Refusal, Scheme};
use tamis_observe::Metrics;
use tamis_resources::plan::Phase;

/// The guest `tests/guests/rust/walk`, compiled.
fn walk() -> &'static CompiledComponent {
    static COMPILED: OnceLock<CompiledComponent> = OnceLock::new();
    COMPILED.get_or_init(|| guest("walk"))
}

/// The guest `tests/guests/rust/frozen`, of contract 0.1, compiled.
fn frozen() -> &'static CompiledComponent {
    static COMPILED: OnceLock<CompiledComponent> = OnceLock::new();
    COMPILED.get_or_init(|| guest("frozen"))
}

/// The guest `tests/guests/rust/ledger`, compiled.
fn ledger() -> &'static CompiledComponent {
    static COMPILED: OnceLock<CompiledComponent> = OnceLock::new();
    COMPILED.get_or_init(|| guest("ledger"))
}

/// The guest `tests/guests/rust/behaviour`, compiled.
fn behaviour() -> &'static CompiledComponent {
    static COMPILED: OnceLock<CompiledComponent> = OnceLock::new();
    COMPILED.get_or_init(|| guest("behaviour"))
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap())
}

fn guest(name: &str) -> CompiledComponent {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = root.join("target/guests");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--target", "wasm32-unknown-unknown"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root.join("tests/guests/rust").join(name))
        .status()
        .unwrap();
    assert!(built.success(), "the guest does not build; is the wasm32 target installed?");
    let module = format!("wasm32-unknown-unknown/release/guest_{name}.wasm");
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&std::fs::read(target.join(module)).unwrap())
        .unwrap()
        .encode()
        .unwrap();
    engine().compile(&component, None).unwrap()
}

fn filter(config: &Value) -> Filter {
    filter_of(config, "sha256:00")
}

fn filter_of(config: &Value, digest: &str) -> Filter {
    Filter::new(walk(), options(config, digest)).unwrap()
}

fn options(config: &Value, digest: &str) -> FilterOptions {
    FilterOptions {
        name: "test/walk".into(),
        digest: digest.into(),
        version: "0.1.0".into(),
        config_json: config.to_string(),
        admission: Admission::everything(),
        state: Arc::new(FilterState::new(Arc::new(Metrics::new()))),
        fetch: None,
        failure: OnFailure::Closed,
        isolation: Isolation::Worker,
    }
}

fn attached(config: &Value, scope: Option<&str>, failure: OnFailure) -> Attachment {
    Attachment {
        name: "test/walk".into(),
        occupant: SlotOccupant::Running(filter(config)),
        phase: Phase::Transform,
        scope: scope.map(|scope| vec![scope.to_owned()]),
        extends: false,
        failure,
        shadow: None,
    }
}

/// A router with these prefixes of paths and names of rules.
fn router(rules: &[(&str, &str)]) -> Attachment {
    attached(&json!({ "reads": [":path"], "rules": rules }), None, OnFailure::Closed)
}

/// What a worker holds of a generation with one chain.
struct TestWorker {
    state: WorkerState,
    shared: Arc<ProxyShared>,
}

impl TestWorker {
    /// The worker of `filters`; state of the same filters in `before` is kept.
    fn new(filters: Vec<Attachment>, chain: ChainLayout, before: Option<&Self>) -> Self {
        let filters = filters.into_iter().map(Arc::new).collect();
        let generation = Generation { filters, chains: vec![chain], ..Generation::empty() };
        let shared = before.map_or_else(|| Arc::new(shared()), |before| Arc::clone(&before.shared));
        let place = WorkerPlace {
            worker: 0,
            clock: shared.clock,
            ledger: &shared.ledger,
            shadows: &shared.shadows,
        };
        let before = before.map(|before| &before.state);
        let state = WorkerState::new(Arc::new(generation), &[], before, place);
        Self { state, shared }
    }

    /// The same with so many bytes for bodies that filters see whole.
    fn with_bodies(self, bytes: u64) -> Self {
        let bodies = Arc::new(crate::body_budget::BodyBudget::of(bytes));
        Self { shared: Arc::new(ProxyShared { bodies, ..shared() }), ..self }
    }

    fn chain(&self) -> &Rc<Chain> {
        &self.state.chains[0]
    }

    fn slots(&self, numbers: &[usize]) -> Vec<Rc<Slot>> {
        numbers.iter().map(|number| Rc::clone(&self.chain().slots[*number])).collect()
    }

    /// An exchange that begins here.
    fn exchange(&self, path: &str) -> Box<ExchangeState> {
        ExchangeState::new(exchange(path), self.chain(), &self.shared, None)
    }
}

/// The worker of `filters`.
fn worker(filters: Vec<Attachment>, chain: ChainLayout) -> TestWorker {
    TestWorker::new(filters, chain, None)
}

fn shared() -> ProxyShared {
    let options = ProxyOptions::default();
    ProxyShared {
        clock: options.clock,
        random: options.random,
        limits: options.limits,
        max_body_bytes: u64::MAX,
        bodies: Default::default(),
        encodings: Default::default(),
        max_connections: options.max_connections,
        recorder: options.recorder,
        taps: Arc::default(),
        metrics: options.metrics,
        service_table: options.service_table,
        ledger: SlotLedger::default(),
        shadows: Shadows::default(),
        name_generation: false,
        draining: false.into(),
        connections: 0.into(),
        connections_total: 0.into(),
        http3_connections_total: 0.into(),
        handshakes_failed: Default::default(),
        copy_mark: CopyMark::new(options.random),
        mirrors: Default::default(),
        exchanges: 0.into(),
        traffic: Traffic::new(1),
        tcp: Default::default(),
        udp: Default::default(),
        own_udp: Default::default(),
        plaintext: Default::default(),
        leaving: Default::default(),
        director: Default::default(),
        identity: None,
        orders: options.orders,
    }
}

fn exchange(path: &str) -> Exchange {
    Exchange {
        id: 1,
        method: http::Method::POST,
        scheme: Scheme::Http,
        authority: "shop.example".to_owned(),
        path: path.to_owned(),
        headers: HeaderMap::new(),
        status: None,
        response_headers: HeaderMap::new(),
        attributes: Attributes::default(),
        bounds: tamis_exchange::HeadBounds::default(),
        coding: None,
    }
}

/// The route of an exchange after its request hooks.
async fn decided(state: &mut ExchangeState) -> Result<Destination, ExchangeStop> {
    crate::decide::run_request_hooks(state, &mut AskedSlots::default()).await
}

fn refused<T>(result: Result<T, ExchangeStop>) -> Refusal {
    match result {
        Err(ExchangeStop::Refused(refusal)) => refusal,
        Err(ExchangeStop::Answered(_)) => panic!("a filter answered"),
        Err(ExchangeStop::LastHop(_)) => panic!("it may go no further"),
        Ok(_) => panic!("it went on"),
    }
}

/// Status and reason of a filter's answer.
fn answered<T>(result: Result<T, ExchangeStop>) -> (u16, Option<String>) {
    match result {
        Err(ExchangeStop::Answered(answer)) => (answer.reply.status, answer.reason),
        Err(ExchangeStop::Refused(refusal)) => panic!("the host refused: {refusal:?}"),
        Err(ExchangeStop::LastHop(_)) => panic!("it may go no further"),
        Ok(_) => panic!("it went on"),
    }
}

fn forwarded(result: Result<Destination, ExchangeStop>) -> u32 {
    match result {
        Ok(Destination::Service(selection)) => selection.rule,
        Ok(Destination::Answer(_)) => panic!("the router answered"),
        Ok(Destination::Unmatched) => panic!("nothing matched"),
        Err(_) => panic!("it stopped"),
    }
}

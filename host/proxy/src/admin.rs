//! The admin listener: health, metrics, configuration, filters, drain.

use crate::generation::Slot;
use crate::proxy::{Inner, ProxyError};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tamis_engine::{BreakerStatus, Filter};
use tamis_exchange::Circuit;
use tamis_transport::{Address, ConnInfo, ServeLimits, Shutdown, bind, serve_connection};
use tamis_upstream::ServiceSnapshot;
use tokio::task::LocalSet;

/// Serves the admin listener on a thread of its own until `stop`; gives its real address.
pub(crate) fn start(
    address: &Address,
    inner: Arc<Inner>,
    stop: Shutdown,
) -> Result<Address, ProxyError> {
    let failed = |source| ProxyError::Listen { listener: "admin".to_owned(), source };
    let mut bound = bind(address, NonZeroUsize::MIN).map_err(failed)?;
    let Some(socket) = bound.pop() else { return Ok(address.clone()) };
    let local = socket.local_address().unwrap_or_else(|_| address.clone());
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return tracing::error!("the admin listener cannot run") };
        let (tasks, mut ending) = (LocalSet::new(), stop.clone());
        tasks.block_on(&runtime, async move {
            let listener = match socket.into_listener() {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, "the admin listener cannot run"),
            };
            loop {
                let (plain, peer) = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = ending.wait_for(|stop| *stop) => return,
                };
                let (inner, stop) = (Arc::clone(&inner), stop.clone());
                drop(tokio::task::spawn_local(async move {
                    let info =
                        ConnInfo { peer, local: Address::Unix("admin".into()), identity: None };
                    let handler = async move |request: Request<Incoming>, _: &ConnInfo| {
                        answer(&inner, &request)
                    };
                    let limits = ServeLimits::default();
                    let served = serve_connection(plain, Rc::new(info), &limits, handler, stop);
                    if let Err(error) = served.await {
                        tracing::debug!(%error, "an admin connection ended badly");
                    }
                }));
            }
        });
    };
    std::thread::Builder::new()
        .name("tamis-admin".to_owned())
        .spawn(run)
        .map_err(ProxyError::Thread)?;
    Ok(local)
}

const PAGES: &str = "GET /healthz   the process serves\n\
GET /readyz    a generation serves and nobody drains it\n\
GET /metrics   Prometheus text\n\
GET /config    the generation in use\n\
GET /filters   what runs where: digest, version, signers, hooks, grants, statistics\n\
GET /upstreams services, endpoints, circuits\n\
POST /drain    accept nothing more, finish what is under way\n";

fn answer(inner: &Arc<Inner>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let wanted = if path == "/drain" { Method::POST } else { Method::GET };
    let allowed =
        request.method() == wanted || (wanted == Method::GET && request.method() == Method::HEAD);
    if !allowed {
        let known = matches!(
            path,
            "/" | "/healthz"
                | "/readyz"
                | "/metrics"
                | "/config"
                | "/filters"
                | "/upstreams"
                | "/drain"
        );
        let status = if known { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_FOUND };
        let mut response = text(status, format!("{wanted} {path} it is\n"));
        if let (true, Ok(allow)) = (known, HeaderValue::from_str(wanted.as_str())) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        return response;
    }
    match path {
        "/" => text(StatusCode::OK, PAGES.to_owned()),
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if inner.shared.is_draining() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned())
        }
        "/readyz" if inner.generation.load().number == 0 => {
            text(StatusCode::SERVICE_UNAVAILABLE, "no generation yet\n".to_owned())
        }
        "/readyz" => text(StatusCode::OK, "ready\n".to_owned()),
        "/metrics" => text(StatusCode::OK, metrics(inner)),
        "/config" => document(&config(inner)),
        "/filters" => document(&filters(inner)),
        "/upstreams" => document(&upstreams(inner)),
        "/drain" => {
            inner.drain();
            text(StatusCode::ACCEPTED, "draining\n".to_owned())
        }
        _ => text(StatusCode::NOT_FOUND, format!("no such page; there are:\n{PAGES}")),
    }
}

fn text(status: StatusCode, content: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(content)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn document(value: &Value) -> Response<Full<Bytes>> {
    let content = serde_json::to_vec_pretty(value).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(content)));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn config(inner: &Inner) -> Value {
    let generation = inner.generation.load();
    json!({
        "generation": generation.number,
        "revision": generation.revision,
        "problems": inner.status.load().problems,
        "plan": generation.config,
    })
}

fn filters(inner: &Inner) -> Value {
    let (generation, status) = (inner.generation.load(), inner.status.load());
    let slots = status.slots.iter().map(|slot| {
        let running = generation.filters.iter().find(|one| one.attachment == slot.attachment);
        let mut value = serde_json::to_value(slot).unwrap_or_default();
        if let (Some(Slot::Running(filter)), Some(object)) =
            (running.map(|one| &one.slot), value.as_object_mut())
        {
            object.insert("statistics".to_owned(), statistics(filter));
            object.insert("running".to_owned(), json!(filter.digest()));
        }
        value
    });
    json!({
        "generation": generation.number,
        "filters": slots.collect::<Vec<_>>(),
        "problems": status.problems,
    })
}

fn statistics(filter: &Filter) -> Value {
    let numbers = filter.state().statistics();
    let hooks = numbers.hooks.iter().map(|hook| {
        let value = json!({ "calls": hook.calls, "faults": hook.faults, "meanNs": hook.mean_ns });
        (hook.hook.as_str().to_owned(), value)
    });
    json!({
        "hooks": hooks.collect::<serde_json::Map<_, _>>(),
        "memoryHighBytes": numbers.memory_high_bytes,
        "instances": numbers.instances,
        "breaker": breaker(numbers.breaker),
        "dropped": numbers.dropped,
    })
}

fn breaker(status: BreakerStatus) -> &'static str {
    match status {
        BreakerStatus::Closed => "closed",
        BreakerStatus::Open => "open",
        BreakerStatus::HalfOpen => "half-open",
    }
}

fn circuit(circuit: Circuit) -> &'static str {
    match circuit {
        Circuit::Closed => "closed",
        Circuit::Open(_) => "open",
        Circuit::HalfOpen(_) => "half-open",
    }
}

fn upstreams(inner: &Inner) -> Value {
    let services = inner.shared.registry.snapshot();
    let services = services.iter().map(|service| {
        let endpoints = service.endpoints.iter().map(|endpoint| {
            json!({
                "endpoint": endpoint.name,
                "circuit": circuit(endpoint.circuit),
                "connections": endpoint.connections,
                "inFlight": endpoint.window.in_flight,
                "successes": endpoint.window.successes,
                "failures": endpoint.window.failures,
                "ewmaLatencyUs": endpoint.window.ewma_latency_us,
            })
        });
        json!({
            "service": service.name,
            "budgetLeft": service.budget_left,
            "retries": service.retries,
            "retriesRefused": service.retries_refused,
            "hedges": service.hedges,
            "hedgesWon": service.hedges_won,
            "hedgesRefused": service.hedges_refused,
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    });
    Value::Array(services.collect())
}

/// The host's own metrics: name, type, help. Filters define theirs themselves.
pub const METRICS: [(&str, &str, &str); 15] = [
    ("tamis_generation", "gauge", "Generation in use."),
    ("tamis_connections", "gauge", "Open connections."),
    ("tamis_connections_total", "counter", "Connections accepted."),
    ("tamis_handshakes_failed_total", "counter", "TLS handshakes that failed."),
    ("tamis_exchanges_total", "counter", "Exchanges begun."),
    ("tamis_records_dropped_total", "counter", "Access records nobody could write fast enough."),
    ("tamis_filter_calls_total", "counter", "Calls of filters, by attachment, filter and hook."),
    (
        "tamis_filter_faults_total",
        "counter",
        "Calls that gave no answer, by attachment, filter and hook.",
    ),
    ("tamis_upstream_retries_total", "counter", "Attempts after the first, by service."),
    (
        "tamis_upstream_retries_refused_total",
        "counter",
        "Retries the budget did not allow, by service.",
    ),
    (
        "tamis_upstream_hedges_total",
        "counter",
        "Second attempts started beside a first that took long, by service.",
    ),
    (
        "tamis_upstream_hedges_won_total",
        "counter",
        "Second attempts that answered first, by service.",
    ),
    (
        "tamis_upstream_hedges_refused_total",
        "counter",
        "Second attempts the retry budget did not allow, by service.",
    ),
    ("tamis_circuit_state", "gauge", "0 closed, 1 half-open, 2 open, by service and endpoint."),
    ("tamis_circuit_opened_total", "counter", "Times a circuit opened, by service and endpoint."),
];

/// Text of the exposition format (Prometheus 0.0.4).
struct Page(String);

impl Page {
    /// Begins a metric of [`METRICS`].
    fn family(&mut self, name: &str) {
        if let Some((_, kind, help)) = METRICS.iter().find(|(known, _, _)| *known == name) {
            // Writing into a string cannot fail.
            let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
    }

    fn series(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Everything there is to measure: what filters count, then what the host itself knows.
pub(crate) fn metrics(inner: &Inner) -> String {
    let shared = &inner.shared;
    let mut page = Page(shared.metrics.render());
    let generation = inner.generation.load();
    let read = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    for (name, value) in [
        ("tamis_generation", generation.number),
        ("tamis_connections", read(&shared.connections)),
        ("tamis_connections_total", read(&shared.connections_total)),
        ("tamis_handshakes_failed_total", read(&shared.handshakes_failed)),
        ("tamis_exchanges_total", read(&shared.exchanges)),
        ("tamis_records_dropped_total", shared.recorder.dropped()),
    ] {
        page.family(name);
        page.series(name, &[], value);
    }
    for (name, faults) in [("tamis_filter_calls_total", false), ("tamis_filter_faults_total", true)]
    {
        page.family(name);
        each_hook(&generation.filters, |attachment, filter, hook| {
            let value = if faults { hook.faults } else { hook.calls };
            let labels =
                [("attachment", attachment), ("filter", filter), ("hook", hook.hook.as_str())];
            page.series(name, &labels, value);
        });
    }
    let services = shared.registry.snapshot();
    type Count = fn(&ServiceSnapshot) -> u64;
    let counts: [(&str, Count); 5] = [
        ("tamis_upstream_retries_total", |service| service.retries),
        ("tamis_upstream_retries_refused_total", |service| service.retries_refused),
        ("tamis_upstream_hedges_total", |service| service.hedges),
        ("tamis_upstream_hedges_won_total", |service| service.hedges_won),
        ("tamis_upstream_hedges_refused_total", |service| service.hedges_refused),
    ];
    for (name, count) in counts {
        page.family(name);
        for service in &services {
            let value = count(service);
            page.series(name, &[("service", &service.name)], value);
        }
    }
    for (name, opened) in [("tamis_circuit_state", false), ("tamis_circuit_opened_total", true)] {
        page.family(name);
        for service in &services {
            for endpoint in &service.endpoints {
                let state = match endpoint.circuit {
                    Circuit::Closed => 0,
                    Circuit::HalfOpen(_) => 1,
                    Circuit::Open(_) => 2,
                };
                let value = if opened { endpoint.opened } else { state };
                let labels =
                    [("service", service.name.as_str()), ("endpoint", endpoint.name.as_str())];
                page.series(name, &labels, value);
            }
        }
    }
    page.0
}

fn each_hook(
    filters: &[crate::Attached],
    mut show: impl FnMut(&str, &str, &tamis_engine::HookNumbers),
) {
    for attached in filters {
        let Slot::Running(filter) = &attached.slot else { continue };
        for hook in &filter.state().statistics().hooks {
            show(&attached.attachment, filter.name(), hook);
        }
    }
}

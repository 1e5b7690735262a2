//! What the admin listener shows of the proxy, as JSON.

use crate::generation::SlotOccupant;
use crate::proxy_state::ProxyState;
use serde_json::{Value, json};
use tamis_engine::{BreakerStatus, Filter};
use tamis_exchange::Circuit;

/// The generation in use. Its plan contains no secrets: the code that builds a generation removes them.
pub(super) fn config(inner: &ProxyState) -> Value {
    let (generation, status) = (inner.generation.load(), inner.status_now());
    json!({
        "generation": generation.number,
        "revision": generation.revision,
        "problems": status.problems,
        "certificates": status.certificates,
        "identity": status.identity,
        "orders": status.orders,
        "plan": generation.config,
    })
}

pub(super) fn filters(inner: &ProxyState) -> Value {
    let (generation, status) = (inner.generation.load(), inner.status_now());
    let slots = status.slots.iter().map(|slot| {
        let running = generation.filters.iter().find(|one| one.name == slot.attachment);
        let mut value = serde_json::to_value(slot).unwrap_or_default();
        if let (Some(SlotOccupant::Running(filter)), Some(object)) =
            (running.map(|one| &one.occupant), value.as_object_mut())
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

pub(super) fn upstreams(inner: &ProxyState) -> Value {
    let services = inner.shared.service_table.snapshot();
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

/// Each listener with its chain, in order, and the configuration of its router.
pub(super) fn routes(inner: &ProxyState) -> Value {
    let generation = inner.generation.load();
    let listeners = generation.listeners.iter().map(|listener| {
        let chain = generation.chains.get(listener.chain);
        let router = chain.and_then(|chain| chain.router);
        let router = router.and_then(|index| generation.filters.get(index));
        let router = router.map(|one| one.name.as_str());
        json!({
            "listener": listener.name,
            "address": listener.address.to_string(),
            "tls": listener.tls.is_some(),
            "direction": listener.direction,
            "filters": members(&generation, listener.chain),
            "router": router,
            "rules": router.map(|attachment| rules(&generation.config, attachment)),
        })
    });
    Value::Array(listeners.collect())
}

/// The attachments of a chain in the order in which a request meets them.
fn members(generation: &crate::Generation, chain: usize) -> Vec<&str> {
    let Some(chain) = generation.chains.get(chain) else { return Vec::new() };
    let mut members: Vec<usize> = chain.connection.clone();
    members.extend(&chain.request);
    members.extend(chain.extension);
    members.extend(chain.router);
    members.extend(chain.retry);
    members.extend(chain.breaker);
    members.extend(chain.hedge);
    members.extend(chain.balancer);
    members.extend(chain.response.iter().rev());
    members.extend(&chain.telemetry);
    let mut names: Vec<&str> = Vec::new();
    for one in members.into_iter().filter_map(|index| generation.filters.get(index)) {
        // A filter with hooks in both directions is listed where the request meets it.
        if !names.contains(&one.name.as_str()) {
            names.push(&one.name);
        }
    }
    names
}

/// The configuration of that router in the plan.
fn rules(plan: &Value, attachment: &str) -> Value {
    let filters = plan.get("filters").and_then(Value::as_array).into_iter().flatten();
    let is_it = |one: &&Value| one.get("attachment").and_then(Value::as_str) == Some(attachment);
    let config = filters.into_iter().find(is_it).and_then(|one| one.get("config"));
    config.cloned().unwrap_or_default()
}

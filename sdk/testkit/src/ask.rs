//! Calls the hooks that are no part of an exchange's way: attempts, circuits, endpoints, batches, connections
//! and the timer.

use crate::event::{
    Attempt, AttemptCause, BalancerEvent, CircuitEvent, CircuitState, CircuitText, ConnectionEvent,
    Quantiles, Request, SummaryText, TelemetryEvent, outcome,
};
use crate::seen::{RetryObservation, StepEnd, StepObservation};
use crate::step::CaseStep;
use crate::walk::{bare, exchange};
use std::collections::BTreeMap;
use tamis_ambient::Clock;
use tamis_engine::{EndpointState, Filter, Hook, Instance, Latencies};
use tamis_exchange::{self as x, Exchange, NameKind, View};
use tamis_resources::Millis;

/// Calls the hook for the event of a step, which may be about `request`.
pub(crate) async fn ask(
    step: &CaseStep,
    filter: &Filter,
    instance: &mut Instance,
    request: Exchange,
    clock: Clock,
    seen: &mut StepObservation,
) -> Result<(), StepEnd> {
    if let Some(attempt) = &step.retry {
        retry(attempt, filter, instance, &request, seen)?;
    }
    if let Some(quantiles) = &step.hedge {
        exported(filter, Hook::Hedge)?;
        let planned = instance.hedge(&latencies(quantiles));
        seen.hedge = Some(planned.map_err(StepEnd::failed(Hook::Hedge))?);
    }
    if let Some(event) = &step.circuit_breaker {
        exported(filter, Hook::CircuitBreaker)?;
        let before = event.circuit.map(circuit).unwrap_or_default();
        let circuit = instance.evaluate(0, None, &window(event), before);
        seen.circuit = Some(circuit.map_err(StepEnd::failed(Hook::CircuitBreaker))?);
    }
    if let Some(event) = &step.balancer {
        exported(filter, Hook::Balancer)?;
        let weights = instance.weigh(0, &endpoints(event));
        seen.weights = Some(weights.map_err(StepEnd::failed(Hook::Balancer))?);
    }
    if let Some(event) = &step.telemetry {
        exported(filter, Hook::Telemetry)?;
        telemetry(event, filter, instance, clock.unix_us())?;
    }
    if let Some(event) = &step.connection {
        exported(filter, Hook::Connection)?;
        connection(event, filter, instance, request, seen)?;
    }
    if step.tick.is_some() {
        exported(filter, Hook::Tick)?;
        let tick = instance.on_tick().await;
        seen.tick = Some(tick.map_err(StepEnd::failed(Hook::Tick))?);
    }
    Ok(())
}

fn exported(filter: &Filter, hook: Hook) -> Result<(), StepEnd> {
    if filter.has(hook) {
        return Ok(());
    }
    let names: Vec<&str> = filter.hooks().iter().map(|hook| hook.as_str()).collect();
    Err(StepEnd::Case(format!(
        "the filter does not export the hook `{}`; it exports {}; remove this event from the step, or export the hook",
        hook.as_str(),
        names.join(", ")
    )))
}

/// In whole milliseconds.
pub(crate) fn short(time: Option<Millis>, default: u32) -> u32 {
    time.map_or(default, |time| u32::try_from(time.0).unwrap_or(u32::MAX))
}

/// In whole microseconds.
pub(crate) fn micros(time: Option<Millis>, default: u32) -> u32 {
    let micros = |time: Millis| u32::try_from(time.0.saturating_mul(1_000)).unwrap_or(u32::MAX);
    time.map_or(default, micros)
}

fn retry(
    attempt: &Attempt,
    filter: &Filter,
    instance: &mut Instance,
    exchange: &Exchange,
    seen: &mut StepObservation,
) -> Result<(), StepEnd> {
    exported(filter, Hook::Retry)?;
    let (statuses, grpc) = filter.failing_statuses();
    let cause = match (attempt.cause, attempt.status) {
        (Some(cause), _) => cause,
        (None, Some(_)) => AttemptCause::Status,
        (None, None) => AttemptCause::ConnectFailure,
    };
    let named = attempt.status.is_some_and(|status| statuses.contains(&status))
        || attempt.grpc_status.is_some_and(|status| grpc.contains(&status));
    if cause == AttemptCause::Status && !named {
        seen.retry = Some(RetryObservation::NotCalled);
        return Ok(());
    }
    let failure = x::Failure {
        rule: attempt.rule.unwrap_or(0),
        attempt: attempt.attempt.unwrap_or(1),
        cause: match cause {
            AttemptCause::ConnectFailure => x::Cause::ConnectFailure,
            AttemptCause::RefusedStream => x::Cause::RefusedStream,
            AttemptCause::Reset => x::Cause::Reset,
            AttemptCause::Timeout => x::Cause::Timeout,
            AttemptCause::Status => x::Cause::Status,
            AttemptCause::Other => x::Cause::Other,
        },
        status: attempt.status.unwrap_or(0),
        grpc_status: attempt.grpc_status,
        elapsed_ms: short(attempt.elapsed, 1),
        remaining_ms: short(attempt.remaining, 0),
        idempotent: attempt.idempotent.unwrap_or_else(|| exchange.method.is_idempotent()),
        replayable: attempt.replayable.unwrap_or(true),
        retry_after_ms: attempt.retry_after.map(|time| short(Some(time), 0)),
        budget_left: attempt.budget_left.unwrap_or(10),
    };
    let mut view = View::default();
    view.fill_request(filter.reads(), exchange);
    let decision = instance.on_failure(&failure, &view).map_err(StepEnd::failed(Hook::Retry))?;
    seen.reason = decision.reason;
    seen.retry = Some(RetryObservation::Called(decision.verdict));
    Ok(())
}

fn latencies(event: &Quantiles) -> Latencies {
    Latencies {
        rule: event.rule,
        samples: event.samples,
        p50_us: micros(event.p50, 0),
        p90_us: micros(event.p90, 0),
        p95_us: micros(event.p95, 0),
        p99_us: micros(event.p99, 0),
    }
}

fn window(event: &CircuitEvent) -> x::Window {
    x::Window {
        span_ms: short(event.span, 10_000),
        successes: event.successes,
        failures: event.failures,
        timeouts: event.timeouts,
        slow: event.slow,
        consecutive_failures: event.consecutive_failures,
        in_flight: event.in_flight,
        ewma_latency_us: micros(event.latency, 0),
    }
}

/// The circuit that a table writes.
pub(crate) fn circuit(text: CircuitText) -> x::Circuit {
    match text.state {
        CircuitState::Closed => x::Circuit::Closed,
        CircuitState::Open => x::Circuit::Open(short(text.time, 0)),
        CircuitState::HalfOpen => x::Circuit::HalfOpen(text.probes.unwrap_or(1)),
    }
}

fn endpoints(event: &BalancerEvent) -> Vec<EndpointState> {
    let endpoints = event.endpoints.iter().zip(0_u32..);
    let endpoints = endpoints.map(|(one, id)| EndpointState {
        id,
        configured_weight: one.weight.unwrap_or(1),
        in_flight: one.in_flight,
        ewma_latency_us: micros(one.latency, 0),
        success_permille: one.success_permille.unwrap_or(1_000),
        age_ms: one.age.map_or(3_600_000, |time| time.0),
        local_zone: true,
    });
    endpoints.collect()
}

/// Names that a batch uses, each once, as a proxy interns them.
#[derive(Default)]
struct BatchNames(BTreeMap<u8, Vec<String>>);

const KINDS: [NameKind; 5] =
    [NameKind::Rule, NameKind::Upstream, NameKind::Endpoint, NameKind::Identity, NameKind::Reason];

impl BatchNames {
    fn id(&mut self, kind: u8, name: Option<&String>) -> u32 {
        let Some(name) = name else { return x::NONE };
        let names = self.0.entry(kind).or_default();
        let at = names.iter().position(|one| one == name).unwrap_or_else(|| {
            names.push(name.clone());
            names.len() - 1
        });
        u32::try_from(at).unwrap_or(x::NONE)
    }
}

fn telemetry(
    event: &TelemetryEvent,
    filter: &Filter,
    instance: &mut Instance,
    start_unix_us: u64,
) -> Result<(), StepEnd> {
    let mut names = BatchNames::default();
    let batch: Vec<x::Summary> = event
        .exchanges
        .iter()
        .zip(1_u64..)
        .map(|(one, exchange)| summary(one, exchange, start_unix_us, &mut names))
        .collect();
    for (kind, number) in KINDS.into_iter().zip(0_u8..) {
        if let Some(names) = names.0.get(&number) {
            instance.on_names(kind, 0, names).map_err(StepEnd::failed(Hook::Telemetry))?;
        }
    }
    let mut kept = x::KeptFields::default();
    for (one, index) in event.exchanges.iter().zip(0_u32..) {
        let default = Request::default();
        let request = one.request.as_ref().unwrap_or(&default);
        let exchange = exchange(request, u64::from(index) + 1).map_err(StepEnd::Case)?;
        let mut view = View::default();
        view.fill_request(filter.reads(), &exchange);
        kept.add(index, &view);
    }
    instance.on_exchanges(&batch, &kept).map_err(StepEnd::failed(Hook::Telemetry))
}

fn summary(
    one: &SummaryText,
    exchange: u64,
    start_unix_us: u64,
    names: &mut BatchNames,
) -> x::Summary {
    x::Summary {
        exchange,
        start_unix_us,
        duration_us: micros(one.duration, 1_000),
        upstream_us: micros(one.upstream_time, 1_000),
        status: one.status.unwrap_or(200),
        grpc_status: one.grpc_status.unwrap_or(u16::MAX),
        outcome: outcome(&one.outcome),
        attempts: one.attempts.unwrap_or(1),
        bytes_in: one.bytes_in,
        bytes_out: one.bytes_out,
        rule: names.id(0, one.rule.as_ref()),
        upstream: names.id(1, one.upstream.as_ref()),
        endpoint: names.id(2, one.endpoint.as_ref()),
        peer: names.id(3, one.peer.as_ref()),
        reason: names.id(4, one.reason.as_ref()),
    }
}

fn connection(
    event: &ConnectionEvent,
    filter: &Filter,
    instance: &mut Instance,
    mut exchange: Exchange,
    seen: &mut StepObservation,
) -> Result<(), StepEnd> {
    exchange.method = http::Method::CONNECT;
    (exchange.authority, exchange.path) = (String::new(), String::new());
    for (name, value) in &event.attributes {
        exchange.attributes.set(bare(name).to_owned(), value.as_str());
    }
    let mut view = View::default();
    view.fill_request(filter.reads(), &exchange);
    let decision = instance.on_connection(&view).map_err(StepEnd::failed(Hook::Connection))?;
    seen.reason = decision.reason;
    seen.connection = Some(decision.verdict);
    Ok(())
}

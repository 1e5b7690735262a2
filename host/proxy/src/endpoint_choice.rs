//! Finds an endpoint whose circuit lets an attempt pass, with the breaker filter.

use crate::chain::Chain;
use crate::failure::AttemptFailure;
use std::rc::Rc;
use tamis_exchange::{Cause, Circuit, Fault, NameKind, Refusal};
use tamis_upstream::{Attempt, BreakerQuestion, Pick, PickFailure, Upstream};

/// Calls of the breaker for one attempt.
const ASKS_MAX: usize = 8;

/// Finds an endpoint whose circuit lets the attempt pass, calling the breaker filter where that is due.
pub(crate) async fn pick(
    chain: &Chain,
    upstream: &Rc<Upstream>,
    tried: &[String],
    hash: Option<u64>,
) -> Result<Attempt, AttemptFailure> {
    let refuse = |code, status, cause, detail: String| AttemptFailure {
        cause,
        response: None,
        refusal: Refusal::new(code, status, Fault::Upstream, detail),
        untouched: true,
    };
    for _ in 0..ASKS_MAX {
        match upstream.pick(tried, hash).await {
            Ok(Pick::Attempt(attempt)) => return Ok(attempt),
            Ok(Pick::Ask(ask)) => ask_breaker(chain, upstream, Some(ask)),
            Err(PickFailure::CircuitOpen { retry_in_ms }) => {
                let detail = format!(
                    "every circuit is open; the next attempt is allowed in {retry_in_ms} ms"
                );
                return Err(refuse("circuit.open", 503, Cause::Other, detail));
            }
            Err(PickFailure::NoEndpoint) => {
                let detail = format!("{} has no endpoint", upstream.name());
                return Err(refuse("upstream.no-endpoint", 503, Cause::ConnectFailure, detail));
            }
            Err(PickFailure::Unresolved { host, cause }) => {
                let detail = format!("{host} does not resolve: {cause}");
                return Err(refuse("upstream.unresolved", 503, Cause::ConnectFailure, detail));
            }
            Err(PickFailure::Overloaded) => {
                let detail = format!("{} already has its maximum of requests", upstream.name());
                return Err(refuse("upstream.overloaded", 503, Cause::Other, detail));
            }
        }
    }
    Err(refuse(
        "circuit.open",
        503,
        Cause::Other,
        "the breaker filter changed its answer too often".to_owned(),
    ))
}

/// Calls the breaker filter for a circuit. Without a breaker, circuits stay closed.
pub(crate) fn ask_breaker(chain: &Chain, upstream: &Upstream, ask: Option<BreakerQuestion>) {
    let Some(ask) = ask else { return };
    let Some(breaker) = &chain.breaker else {
        return ask.unanswered();
    };
    let service = chain.telemetry.intern(NameKind::Upstream, Some(upstream.name()));
    let endpoint = chain.telemetry.intern(NameKind::Endpoint, Some(ask.endpoint()));
    let (window, now) = (ask.window(), ask.circuit());
    let said = breaker.call(|i| i.evaluate(service, Some(endpoint), &window, now));
    match said {
        Ok(circuit) => {
            let (service, endpoint) = (ask.service().to_owned(), ask.endpoint().to_owned());
            // A circuit above the limit of open circuits stays closed, which is not worth a log line.
            let circuit = ask.answer(circuit);
            let changed = std::mem::discriminant(&circuit) != std::mem::discriminant(&now);
            if changed {
                match circuit {
                    Circuit::Open(ms) => tracing::warn!(service, endpoint, ms, "circuit opened"),
                    Circuit::HalfOpen(n) => tracing::info!(service, endpoint, n, "circuit probes"),
                    Circuit::Closed => tracing::info!(service, endpoint, "circuit closed"),
                }
            }
        }
        Err(fault) => {
            tracing::warn!(service = ask.service(), kind = fault.kind(), "the breaker failed");
            ask.unanswered();
        }
    }
}

//! Asks the breaker filter about circuits: after an attempt, and before one where a circuit is open.

use crate::chain::Chain;
use tamis_exchange::{Circuit, NameKind};
use tamis_upstream::{BreakerQuestion, Upstream};

/// Calls the breaker filter for a circuit. Without a breaker, circuits stay closed.
pub(crate) fn ask_breaker(chain: &Chain, upstream: &Upstream, ask: Option<BreakerQuestion>) {
    let Some(ask) = ask else { return };
    let Some(breaker) = &chain.breaker else {
        return ask.unanswered();
    };
    let service = chain.names.number(NameKind::Upstream, Some(upstream.name()));
    let endpoint = chain.names.number(NameKind::Endpoint, Some(ask.endpoint()));
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

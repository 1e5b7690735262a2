//! Finds an endpoint whose circuit lets an attempt pass.

use crate::breaker::ask_breaker;
use crate::chain::Chain;
use crate::failure::AttemptFailure;
use std::rc::Rc;
use tamis_exchange::{Cause, Fault, Refusal};
use tamis_upstream::{Attempt, Pick, PickFailure, Upstream};

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
                let detail = format!(
                    "service {} already has as many requests as its policy allows",
                    upstream.name()
                );
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

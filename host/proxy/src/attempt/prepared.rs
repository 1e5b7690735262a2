//! An attempt with its request, put together and not sent yet.

use super::AttemptPlan;
use crate::exchange::ExchangeState;
use crate::failure::AttemptFailure;
use crate::outgoing::{self, WireProperties};
use std::time::Duration;
use tamis_exchange::Cause;
use tamis_upstream::{Attempt, EndpointCrowd, UpstreamRequest};

/// Timeout of an attempt without any other, so that nothing waits for ever for a silent upstream.
const ATTEMPT_MAX: Duration = Duration::from_secs(3600);

/// An attempt with its request, not sent yet.
pub(super) struct PreparedAttempt {
    pub(super) attempt: Attempt,
    pub(super) request: UpstreamRequest,
    pub(super) limit: Duration,
    /// The connection that `request` was put together for, in case it is put together again.
    pub(super) wire: WireProperties,
    /// The others that wait for the endpoint.
    pub(super) crowd: EndpointCrowd,
}

/// Puts the request of an attempt together.
pub(super) fn prepare(
    plan: &AttemptPlan<'_>,
    state: &mut ExchangeState,
    attempt: Attempt,
) -> Result<PreparedAttempt, AttemptFailure> {
    let endpoint = attempt.endpoint_name();
    let (wire, crowd) = (WireProperties::of(&attempt), attempt.crowd());
    let template = plan.template;
    let request =
        outgoing::request(&state.exchange, template, wire, &endpoint, Some(crowd.clone()));
    state.endpoint = Some(endpoint);
    state.next_is_of_mesh = attempt.is_of_mesh();
    let request = request.map_err(|refusal| AttemptFailure {
        cause: Cause::Other,
        response: None,
        refusal,
        untouched: true,
    })?;
    let left = plan.deadline.map(|at| at.saturating_duration_since(state.clock.now()));
    let limit = time_limit(plan.selection.attempt_timeout_ms, left);
    Ok(PreparedAttempt { attempt, request, limit, wire, crowd })
}

fn time_limit(attempt_ms: u32, left: Option<Duration>) -> Duration {
    let own = match attempt_ms {
        0 => ATTEMPT_MAX,
        ms => Duration::from_millis(ms.into()),
    };
    left.map_or(own, |left| left.min(own))
}

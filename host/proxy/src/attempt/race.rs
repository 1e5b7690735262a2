//! A second attempt in parallel to a slow first one.
//!
//! Limits that the hedge filter cannot override: the method must be idempotent, the host must have the
//! complete body (it is sent twice), another endpoint must be free, and the retry budget must allow it.

use super::AttemptPlan;
use super::outcome::{drain, is_good, judge};
use super::prepared::{PreparedAttempt, prepare};
use crate::endpoint_choice::pick;
use crate::exchange::{ExchangeState, Retrier};
use crate::failure::AttemptFailure;
use http::Response;
use std::time::Duration;
use tamis_exchange::{Body, Outcome};
use tamis_upstream::UpstreamRequest;

/// The delay after which a second attempt of this exchange starts.
pub(super) fn delay(plan: &AttemptPlan<'_>, state: &ExchangeState) -> Option<Duration> {
    if state.retried_by == Retrier::Caller {
        // The caller may send a second attempt itself.
        return None;
    }
    let delay = plan.chain.hedges.as_ref()?.delay(plan.selection.rule)?;
    (plan.template.upgrade.is_none() && state.exchange.method.is_idempotent()).then_some(delay)
}

/// Sends, and after `delay` without a head sends a second time, elsewhere. The first good head wins and the
/// other attempt is cancelled; without a good one, the last result counts, or the only one.
pub(super) async fn race(
    plan: &AttemptPlan<'_>,
    state: &mut ExchangeState,
    first: PreparedAttempt,
    delay: Duration,
    tried: &[String],
) -> Result<Response<Body>, AttemptFailure> {
    let PreparedAttempt { attempt: mut one, request, limit, .. } = first;
    let spare = copy(&request);
    let again = || spare;
    let mut sending = Box::pin(plan.upstream.within(limit, one.send(request, false, again)));
    if let Ok(sent) = tokio::time::timeout(delay, sending.as_mut()).await {
        drop(sending);
        return judge(plan, state, one, limit, sent);
    }
    let first_endpoint = state.endpoint.clone();
    let Some(second) = second(plan, state, tried).await else {
        state.endpoint = first_endpoint;
        let sent = sending.as_mut().await;
        drop(sending);
        return judge(plan, state, one, limit, sent);
    };
    state.attempts += 1;
    state.outcome.insert(Outcome::HEDGED);
    let second_endpoint = state.endpoint.clone();
    let PreparedAttempt { attempt: mut other, request, limit: other_limit, .. } = second;
    let spare = copy(&request);
    let again = || spare;
    let sending_beside = other.send(request, false, again);
    let mut beside = Box::pin(plan.upstream.within(other_limit, sending_beside));
    let (sent, is_first) = tokio::select! {
        sent = sending.as_mut() => (sent, true),
        sent = beside.as_mut() => (sent, false),
    };
    if is_good(plan, &sent) {
        // Dropping cancels the other attempt.
        drop((sending, beside));
        let (winner, loser, limit) =
            if is_first { (one, other, limit) } else { (other, one, other_limit) };
        loser.overtaken();
        if !is_first {
            plan.upstream.note_hedge_won();
        }
        state.endpoint = if is_first { first_endpoint } else { second_endpoint };
        return judge(plan, state, winner, limit, sent);
    }
    let (bad, last) = if is_first {
        drop(sending);
        let bad = judge(plan, state, one, limit, sent);
        let last = beside.as_mut().await;
        drop(beside);
        if is_good(plan, &last) {
            plan.upstream.note_hedge_won();
        }
        (bad, judge(plan, state, other, other_limit, last))
    } else {
        drop(beside);
        let bad = judge(plan, state, other, other_limit, sent);
        let last = sending.as_mut().await;
        drop(sending);
        (bad, judge(plan, state, one, limit, last))
    };
    let (bad_endpoint, last_endpoint) = if is_first {
        (first_endpoint, second_endpoint)
    } else {
        (second_endpoint, first_endpoint)
    };
    let nothing = |tried: &Result<_, AttemptFailure>| matches!(tried, Err(failed) if failed.response.is_none());
    if nothing(&last) && !nothing(&bad) {
        state.endpoint = bad_endpoint;
        return bad;
    }
    state.endpoint = last_endpoint;
    match bad {
        Ok(response) => drain(response),
        Err(failed) => drop(failed.response.map(|response| drain(*response))),
    }
    last
}

/// The same request without a body, in case its connection turns out to be closed.
fn copy(request: &UpstreamRequest) -> Option<UpstreamRequest> {
    match request {
        // Streams of a connection that closed are sent again by HTTP/2 itself.
        UpstreamRequest::Parts(_) => None,
        UpstreamRequest::Written(request) => request.copy().map(UpstreamRequest::Written),
    }
}

/// A second attempt elsewhere, if one is allowed.
async fn second(
    plan: &AttemptPlan<'_>,
    state: &mut ExchangeState,
    tried: &[String],
) -> Option<PreparedAttempt> {
    let body = plan.template.body;
    // A body that is still arriving could wake only one reader.
    if !body.is_replayable() || !body.has_ended() {
        return None;
    }
    let mut tried = tried.to_vec();
    tried.extend(state.endpoint.as_deref().map(str::to_owned));
    let picked = pick(plan.chain, plan.upstream, &tried, plan.hash).await;
    let attempt = picked.ok()?;
    if tried.iter().any(|endpoint| endpoint == attempt.endpoint()) || !plan.upstream.spend_hedge() {
        return None;
    }
    prepare(plan, state, attempt).ok()
}

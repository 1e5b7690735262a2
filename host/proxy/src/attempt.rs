//! Sends the request: picks an endpoint, checks its circuit, sends, and asks the retry filter after a
//! failure.

mod outcome;
mod prepared;
mod race;

use crate::chain::Chain;
use crate::endpoint_choice::pick;
use crate::exchange::{ExchangeState, Replay, Retrier};
use crate::failure::AttemptFailure;
use crate::heads::{grpc_status, interim};
use crate::outgoing::{self, RequestTemplate, WireProperties};
use crate::request_body::OutgoingBody;
use crate::request_parts::RequestParts;
use crate::slot::RetryQuestion;
use crate::stop::ExchangeStop;
use http::{HeaderMap, Response, header};
use outcome::{drain, judge};
use prepared::{PreparedAttempt, prepare};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};
use tamis_exchange::{Body, Cause, Failure, Fault, Outcome, Refusal, RetryVerdict, Selection};
use tamis_transport::InterimSender;
use tamis_upstream::{EndpointCrowd, Upstream, UpstreamRequest};

pub(crate) use outcome::is_failure;

/// No request waits longer than this for its next attempt, whatever the retry filter answers.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// What all attempts of an exchange have in common.
struct AttemptPlan<'a> {
    chain: &'a Chain,
    selection: &'a Selection,
    upstream: &'a Rc<Upstream>,
    template: &'a RequestTemplate<'a>,
    interim: &'a InterimSender,
    /// Hash that keeps requests together: from the router, or from the field that the service's policy
    /// names.
    hash: Option<u64>,
    deadline: Option<Instant>,
}

/// Sends the request until there is a response or no attempt is left.
///
/// # Errors
/// There is no response; or a filter ended the exchange at a chunk of the body, whatever came of that.
pub(crate) async fn send(
    state: &mut ExchangeState,
    selection: &Selection,
    upstream: &Rc<Upstream>,
    parts: &RequestParts,
    body: &OutgoingBody,
) -> Result<Response<Body>, ExchangeStop> {
    let sent = try_until_sent(state, selection, upstream, parts, &body.replay).await;
    // Checked before what was sent: a body that a filter ended is not the client's fault.
    if let Some(end) = &body.end {
        end.check(state)?;
    }
    Ok(sent?)
}

async fn try_until_sent(
    state: &mut ExchangeState,
    selection: &Selection,
    upstream: &Rc<Upstream>,
    parts: &RequestParts,
    body: &Replay,
) -> Result<Response<Body>, Refusal> {
    upstream.note_request();
    let chain = Rc::clone(&state.chain);
    let template = RequestTemplate {
        upgrade: parts.upgrade.as_ref(),
        trailers: parts.trailers,
        marks_retries: chain.may_send_again() || state.retried_by == Retrier::Caller,
        body,
        host: parts.host(&state.exchange),
    };
    let deadline = (selection.request_timeout_ms > 0)
        .then(|| state.started + Duration::from_millis(selection.request_timeout_ms.into()));
    let hash = selection.hash.or_else(|| {
        let value = state.exchange.headers.get(upstream.hash_header()?)?;
        Some(hash_of(value.as_bytes()))
    });
    let (chain, template) = (&*chain, &template);
    let interim = &parts.interim;
    let plan = AttemptPlan { chain, selection, upstream, template, interim, hash, deadline };
    let mut tried: Vec<String> = Vec::new();
    let clock = state.clock;
    let first = clock.now();
    let mut began = first;
    loop {
        state.attempts += 1;
        let outcome = once(&plan, state, &tried).await;
        state.upstream_time += clock.since(began);
        let failed = match outcome {
            Ok(response) => {
                if let Some(hedges) = &chain.hedges {
                    hedges.note(selection.rule, clock.since(first));
                }
                return Ok(response);
            }
            Err(failed) => failed,
        };
        if failed.refusal.fault == Fault::Client {
            return Err(failed.refusal);
        }
        match retry(&plan, state, &failed).await {
            None => return give_up(state, failed),
            Some((delay, elsewhere)) => {
                // While it was decided, more of the body may have arrived than is kept.
                if !plan.template.body.is_replayable() {
                    return give_up(state, failed);
                }
                state.outcome.insert(Outcome::RETRIED);
                let is_whole = plan.template.body.has_ended();
                plan.template.body.end_readers();
                // A connection whose request was not written whole is of no use any more.
                if let Some(response) = failed.response.filter(|_| is_whole) {
                    drain(*response);
                }
                match state.endpoint.take() {
                    Some(endpoint) if elsewhere => tried.push(endpoint.to_string()),
                    _ => {}
                }
                tokio::time::sleep(delay).await;
            }
        }
        began = clock.now();
    }
}

/// The result of an exchange whose last attempt failed: its response, if there is one.
fn give_up(state: &mut ExchangeState, failed: AttemptFailure) -> Result<Response<Body>, Refusal> {
    if failed.cause == Cause::Timeout {
        state.outcome.insert(Outcome::TIMED_OUT);
    }
    state.outcome.insert(Outcome::UPSTREAM_FAILED);
    failed.response.map(|response| *response).ok_or(failed.refusal)
}

/// FNV-1a: the same for the same bytes on every proxy, so that all of them send a key to the same endpoint.
pub(crate) fn hash_of(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |sum, octet| {
        (sum ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// One attempt, up to its response head; with a second one in parallel if the hedge filter asks for it.
async fn once(
    plan: &AttemptPlan<'_>,
    state: &mut ExchangeState,
    tried: &[String],
) -> Result<Response<Body>, AttemptFailure> {
    let attempt = pick(plan.chain, plan.upstream, tried, plan.hash).await?;
    let ready = prepare(plan, state, attempt)?;
    if let Some(delay) = race::delay(plan, state) {
        return Box::pin(race::race(plan, state, ready, delay, tried)).await;
    }
    let PreparedAttempt { mut attempt, request, limit, wire, crowd } = ready;
    let upgrade = plan.template.upgrade.is_some();
    let again = again(plan, state, wire, crowd);
    let hint = |status, headers| interim::pass(plan.interim, &plan.chain.owners, status, headers);
    let sent = attempt.send_passing_interim(request, upgrade, again, &hint);
    let sent = plan.upstream.within(limit, sent).await;
    judge(plan, state, attempt, limit, sent)
}

/// Makes the request of an attempt again, if its body can be read from its first octet.
fn again<'a>(
    plan: &AttemptPlan<'a>,
    state: &'a ExchangeState,
    wire: WireProperties,
    crowd: EndpointCrowd,
) -> impl FnOnce() -> Option<UpstreamRequest> + use<'a> {
    let template = plan.template;
    move || {
        let endpoint = state.endpoint.as_deref()?;
        if !template.body.is_replayable() {
            return None;
        }
        template.body.end_readers();
        outgoing::request(&state.exchange, template, wire, endpoint, Some(crowd)).ok()
    }
}

/// Whether to retry: after which delay, and whether elsewhere.
async fn retry(
    plan: &AttemptPlan<'_>,
    state: &mut ExchangeState,
    failed: &AttemptFailure,
) -> Option<(Duration, bool)> {
    let AttemptPlan { chain, selection, upstream, template, deadline, .. } = *plan;
    let slot = chain.retry.as_ref()?;
    let not_here = match state.retried_by {
        Retrier::ThisProxy => None,
        Retrier::ThisProxyElsewhere => upstream.is_single().then_some("retry.nowhere-else"),
        Retrier::Caller => Some("retry.by-caller"),
    };
    if let Some(reason) = not_here {
        state.reason = Some(reason.into());
        return None;
    }
    let replayable = template.body.is_replayable();
    let left = deadline.map(|at| at.saturating_duration_since(state.clock.now()));
    let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let response = failed.response.as_deref();
    let failure = Failure {
        rule: selection.rule,
        attempt: state.attempts,
        cause: failed.cause,
        status: response.map_or(0, |response| response.status().as_u16()),
        grpc_status: response.and_then(|response| grpc_status(response.headers())),
        elapsed_ms: millis(state.elapsed()),
        // 0 means no deadline, so a deadline that has almost passed counts as one millisecond.
        remaining_ms: left.map_or(0, |left| millis(left).max(1)),
        idempotent: state.exchange.method.is_idempotent() || failed.untouched,
        replayable,
        retry_after_ms: response
            .and_then(|response| retry_after(response.headers(), || state.clock.wall())),
        budget_left: upstream.budget_left(),
    };
    slot.turn_in(state).await;
    let decision = slot.ask(&RetryQuestion(&failure), state).ok()??;
    let (delay, elsewhere) = match decision.verdict {
        RetryVerdict::GiveUp => return None,
        RetryVerdict::Again(ms) => (ms, false),
        RetryVerdict::Elsewhere(ms) => (ms, true),
    };
    let delay = Duration::from_millis(delay.into());
    // Limits that the filter cannot override: the body must be complete, time must be left, and the budget
    // must allow it.
    if !replayable || left.is_some_and(|left| delay >= left) || delay > DELAY_MAX {
        return None;
    }
    if !upstream.spend_retry() {
        state.reason = Some("retry.budget".into());
        return None;
    }
    Some((delay, elsewhere))
}

/// `retry-after` in milliseconds, given in seconds or as a date (RFC 9110 §10.2.3); the longest of several.
/// A value too large for the number counts as the largest number rather than as absent.
fn retry_after(headers: &HeaderMap, now: impl Fn() -> SystemTime) -> Option<u32> {
    let lines = headers.get_all(header::RETRY_AFTER).iter().filter_map(|line| line.to_str().ok());
    lines.filter_map(|line| wait_of(line.trim(), &now)).max()
}

fn wait_of(text: &str, now: &impl Fn() -> SystemTime) -> Option<u32> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse::<u32>().map_or(u32::MAX, |seconds| seconds.saturating_mul(1000)));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let left = at.duration_since(now()).unwrap_or_default();
    Some(u32::try_from(left.as_millis()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upstream_asks_to_wait_is_read_in_every_form_and_never_as_nothing() {
        let now = || httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (lines, wait) in [
            (&["1"][..], Some(1_000)),
            (&[" 3600 "], Some(3_600_000)),
            (&["99999999999999999999"], Some(u32::MAX)),
            (&["4294967295"], Some(u32::MAX)),
            (&["Sun, 06 Nov 1994 08:49:40 GMT"], Some(3_000)),
            (&["Sunday, 06-Nov-94 08:49:40 GMT"], Some(3_000)),
            (&["Sun, 06 Nov 1994 08:49:00 GMT"], Some(0)),
            (&["Fri, 31 Dec 9999 23:59:59 GMT"], Some(u32::MAX)),
            (&["1", "3600"], Some(3_600_000)),
            (&["-1"], None),
            (&["soon"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::RETRY_AFTER, line.parse().unwrap());
            }
            assert_eq!(retry_after(&headers, now), wait, "{lines:?}");
        }
    }
}

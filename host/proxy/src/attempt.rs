//! Sends the request: picks an endpoint, checks its circuit, sends, and asks the retry filter after a
//! failure.

mod race;

use crate::breaker::ask_breaker;
use crate::chain::Chain;
use crate::endpoint_choice::pick;
use crate::exchange::{ExchangeState, Replay, Retrier};
use crate::failure::AttemptFailure;
use crate::heads::{interim, is_grpc};
use crate::outgoing::{self, RequestTemplate, WireProperties};
use crate::request_body::OutgoingBody;
use crate::request_parts::RequestParts;
use crate::slot::RetryQuestion;
use crate::stop::ExchangeStop;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body as _;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};
use tamis_exchange::{Body, Cause, Failure, Fault, Outcome, Refusal, RetryVerdict, Selection};
use tamis_transport::InterimSender;
use tamis_upstream::{
    Attempt, AttemptOutcome, EndpointLimit, SendFailure, Upstream, UpstreamRequest,
};
use tokio::time::error::Elapsed;

/// Bytes read from a failed response so that its connection can be used again.
const DRAIN_MAX_BYTES: u64 = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// Timeout of an attempt without any other, so that nothing waits for ever for a silent upstream.
const ATTEMPT_MAX: Duration = Duration::from_secs(3600);
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

/// Result of sending: a head, a failure, or a timeout.
type SendResult = Result<Result<Response<Body>, SendFailure>, Elapsed>;

/// An attempt with its request, not sent yet.
struct PreparedAttempt {
    attempt: Attempt,
    request: UpstreamRequest,
    limit: Duration,
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
    let PreparedAttempt { mut attempt, request, limit } = ready;
    let upgrade = plan.template.upgrade.is_some();
    let again = again(plan, state, &attempt);
    let hint = |status, headers| interim::pass(plan.interim, &plan.chain.owners, status, headers);
    let sent = attempt.send_passing_interim(request, upgrade, again, &hint);
    let sent = tokio::time::timeout(limit, sent).await;
    judge(plan, state, attempt, limit, sent)
}

/// Makes the request of an attempt again.
fn again<'a>(
    plan: &AttemptPlan<'a>,
    state: &'a ExchangeState,
    attempt: &Attempt,
) -> impl FnOnce() -> Option<UpstreamRequest> + use<'a> {
    let (template, wire) = (plan.template, WireProperties::of(attempt));
    let crowd = attempt.crowd();
    move || {
        let endpoint = state.endpoint.as_deref()?;
        outgoing::request(&state.exchange, template, wire, endpoint, Some(crowd)).ok()
    }
}

/// Puts the request of an attempt together.
fn prepare(
    plan: &AttemptPlan<'_>,
    state: &mut ExchangeState,
    attempt: Attempt,
) -> Result<PreparedAttempt, AttemptFailure> {
    let endpoint = attempt.endpoint_name();
    let (wire, crowd) = (WireProperties::of(&attempt), Some(attempt.crowd()));
    let request = outgoing::request(&state.exchange, plan.template, wire, &endpoint, crowd);
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
    Ok(PreparedAttempt { attempt, request, limit })
}

/// Counts the result of an attempt, and decides whether to pass it on.
fn judge(
    plan: &AttemptPlan<'_>,
    state: &mut ExchangeState,
    mut attempt: Attempt,
    limit: Duration,
    sent: SendResult,
) -> Result<Response<Body>, AttemptFailure> {
    let AttemptPlan { chain, upstream, template, .. } = *plan;
    match sent {
        Err(_elapsed) => {
            ask_breaker(chain, upstream, attempt.record(AttemptOutcome::Timeout));
            let detail = format!("no response head within {} ms", limit.as_millis());
            Err(AttemptFailure {
                cause: Cause::Timeout,
                response: None,
                refusal: Refusal::new("upstream.timeout", 504, Fault::Upstream, detail),
                untouched: false,
            })
        }
        Ok(Err(failure)) => {
            if let Some(refusal) = template.body.refusal() {
                // The client's fault, not the endpoint's: counts as neither success nor failure.
                return Err(AttemptFailure {
                    cause: Cause::Other,
                    response: None,
                    refusal,
                    untouched: false,
                });
            }
            // A bound of this proxy that clients reach must not open the circuit for requests.
            if failure.limit.is_none() {
                ask_breaker(chain, upstream, attempt.record(AttemptOutcome::Failure));
            }
            Err(without_response(failure))
        }
        Ok(Ok(response)) => {
            let bad = is_failure(&response);
            let outcome = if bad { AttemptOutcome::Failure } else { AttemptOutcome::Success };
            ask_breaker(chain, upstream, attempt.record(outcome));
            if !asks_about(chain, &response) {
                template.body.note_response();
                state.hold(attempt);
                return Ok(response);
            }
            let detail = format!("status {}", response.status());
            Err(AttemptFailure {
                cause: Cause::Status,
                response: Some(Box::new(response)),
                refusal: Refusal::new("upstream.status", 502, Fault::Upstream, detail),
                untouched: false,
            })
        }
    }
}

/// An attempt without a response.
fn without_response(failure: SendFailure) -> AttemptFailure {
    let (code, status) = match failure.cause {
        _ if failure.protocol => ("upstream.protocol", 502),
        _ if failure.limit == Some(EndpointLimit::Tunnels) => ("upstream.tunnels", 503),
        _ if failure.limit == Some(EndpointLimit::Waiting) => ("upstream.overloaded", 503),
        Cause::ConnectFailure => ("upstream.connect", 503),
        Cause::RefusedStream => ("upstream.refused-stream", 503),
        Cause::Reset => ("upstream.reset", 502),
        Cause::Timeout => ("upstream.timeout", 504),
        Cause::Status | Cause::Other => ("upstream.failed", 502),
    };
    AttemptFailure {
        cause: failure.cause,
        response: None,
        refusal: Refusal::new(code, status, Fault::Upstream, failure.detail),
        untouched: failure.untouched,
    }
}

/// Whether a head arrived that no other attempt could improve on.
fn is_good(plan: &AttemptPlan<'_>, sent: &SendResult) -> bool {
    matches!(sent, Ok(Ok(response))
        if !is_failure(response) && !asks_about(plan.chain, response))
}

fn time_limit(attempt_ms: u32, left: Option<Duration>) -> Duration {
    let own = match attempt_ms {
        0 => ATTEMPT_MAX,
        ms => Duration::from_millis(ms.into()),
    };
    left.map_or(own, |left| left.min(own))
}

/// Whether statistics count a response as failure: the status reports a server error (RFC 9110 §15.6), or
/// the gRPC status does. A loop is none of the endpoint: a client that writes `via` itself must not open its circuit.
pub(crate) fn is_failure(response: &Response<Body>) -> bool {
    match grpc_status(response.headers()) {
        // unknown, deadline exceeded, internal, unavailable, data loss
        Some(status) => matches!(status, 2 | 4 | 13 | 14 | 15),
        None => {
            response.status().is_server_error()
                && response.status() != StatusCode::NOT_IMPLEMENTED
                && response.status() != StatusCode::HTTP_VERSION_NOT_SUPPORTED
                && response.status() != StatusCode::LOOP_DETECTED
        }
    }
}

/// `grpc-status` of a response without body.
fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    if !is_grpc(headers) {
        return None;
    }
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Whether the retry filter wants to be called for this response. About a loop nobody is asked: every proxy in it would
/// send the request again, so that each adds a factor.
fn asks_about(chain: &Chain, response: &Response<Body>) -> bool {
    if response.status() == StatusCode::LOOP_DETECTED {
        return false;
    }
    let retry = chain.retry.as_ref().and_then(|slot| slot.filter());
    let Some(filter) = retry else { return false };
    let (statuses, grpc) = filter.failing_statuses();
    statuses.contains(&response.status().as_u16())
        || grpc_status(response.headers()).is_some_and(|status| grpc.contains(&status))
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

/// Reads the rest of a response that is not passed on, so that its connection can be used again.
fn drain(response: Response<Body>) {
    let mut body = response.into_body();
    if body.is_end_stream() {
        return;
    }
    drop(tokio::task::spawn_local(async move {
        let reading = async {
            let mut left = DRAIN_MAX_BYTES;
            while let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut body).await {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                left = left.saturating_sub(length);
                if left == 0 {
                    return;
                }
            }
        };
        drop(tokio::time::timeout(DRAIN_TIME, reading).await);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_left_may_be_sent_again_whatever_its_method_and_what_broke_the_protocol_not() {
        use Cause::{ConnectFailure, Other, RefusedStream, Reset};
        for (cause, untouched, (protocol, limit), code, status) in [
            (ConnectFailure, true, (false, None), "upstream.connect", 503),
            (RefusedStream, true, (false, None), "upstream.refused-stream", 503),
            // A connection that was closed before anything was written on it.
            (Reset, true, (false, None), "upstream.reset", 502),
            (Reset, false, (false, None), "upstream.reset", 502),
            (Other, true, (false, None), "upstream.failed", 502),
            (Other, true, (false, Some(EndpointLimit::Tunnels)), "upstream.tunnels", 503),
            (Other, true, (false, Some(EndpointLimit::Waiting)), "upstream.overloaded", 503),
            (Other, false, (true, None), "upstream.protocol", 502),
        ] {
            let detail = "why".to_owned();
            let failure = SendFailure { cause, detail, untouched, protocol, limit };
            let failed = without_response(failure);
            assert_eq!((failed.cause, failed.untouched), (cause, untouched), "{code}");
            assert_eq!((failed.refusal.code, failed.refusal.status), (code, status));
        }
    }

    #[test]
    fn a_status_that_a_client_brings_about_alone_is_no_failure_of_the_endpoint() {
        for (status, grpc, failed) in [
            (200, None, false),
            (404, None, false),
            (500, None, true),
            (501, None, false),
            (503, None, true),
            (505, None, false),
            (508, None, false),
            (200, Some("14"), true),
            (200, Some("9"), false),
        ] {
            let mut response = Response::builder().status(status);
            if let Some(grpc) = grpc {
                response = response.header("content-type", "application/grpc");
                response = response.header("grpc-status", grpc);
            }
            let response = response.body(Body::Empty).unwrap();
            assert_eq!(is_failure(&response), failed, "{status} {grpc:?}");
        }
    }

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

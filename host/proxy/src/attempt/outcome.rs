//! What came of an attempt: counted for its endpoint, and judged whether to pass it on.

use super::AttemptPlan;
use crate::breaker::ask_breaker;
use crate::chain::Chain;
use crate::exchange::ExchangeState;
use crate::failure::AttemptFailure;
use crate::heads::grpc_status;
use http::{Response, StatusCode};
use http_body::Body as _;
use std::time::Duration;
use tamis_exchange::{Body, Cause, Fault, Refusal};
use tamis_upstream::{Attempt, AttemptOutcome, EndpointLimit, LimitReached, SendFailure};

/// Bytes read from a failed response so that its connection can be used again.
const DRAIN_MAX_BYTES: u64 = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Result of sending: a head, a failure, or a timeout.
pub(super) type SendResult = Result<Result<Response<Body>, SendFailure>, LimitReached>;

/// Counts the result of an attempt, and decides whether to pass it on.
pub(super) fn judge(
    plan: &AttemptPlan<'_>,
    state: &mut ExchangeState,
    mut attempt: Attempt,
    limit: Duration,
    sent: SendResult,
) -> Result<Response<Body>, AttemptFailure> {
    let AttemptPlan { chain, upstream, template, .. } = *plan;
    match sent {
        Err(LimitReached) => {
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
pub(super) fn is_good(plan: &AttemptPlan<'_>, sent: &SendResult) -> bool {
    matches!(sent, Ok(Ok(response))
        if !is_failure(response) && !asks_about(plan.chain, response))
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

/// Reads the rest of a response that is not passed on, so that its connection can be used again.
pub(super) fn drain(response: Response<Body>) {
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
}

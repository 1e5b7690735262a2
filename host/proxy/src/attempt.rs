//! Sends the request: pick, circuit, send, and after a failure what the retry filter says.

use crate::course::Course;
use crate::local::Local;
use crate::outgoing::{self, Template};
use crate::refuse::is_grpc;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tamis_exchange::{
    Cause, Circuit, Failure, Fault, NameKind, Outcome, Refusal, RetryVerdict, Selection,
};
use tamis_upstream::{Ask, Attempt, AttemptOutcome, Pick, PickFailure, Upstream};

/// An attempt that did not succeed, and what there is to show for it.
struct Failed {
    cause: Cause,
    response: Option<Response<Incoming>>,
    refusal: Refusal,
    /// The request never left, or the upstream said that it did not look at it.
    untouched: bool,
}

/// Octets read from a failed response so that its connection can be used again.
const DRAIN_MAX_BYTES: u64 = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// An attempt without any timeout ends here, so that nothing waits for ever on a silent upstream.
const ATTEMPT_MAX: Duration = Duration::from_secs(3600);
/// Questions to the breaker for one attempt.
const ASKS_MAX: usize = 8;

/// Sends the request until there is a response or nothing more to try.
pub(crate) async fn send(
    local: &Rc<Local>,
    course: &mut Course,
    selection: &Selection,
    upstream: &Rc<Upstream>,
    template: &Template<'_>,
) -> Result<Response<Incoming>, Refusal> {
    upstream.note_request();
    let deadline = (selection.request_timeout_ms > 0)
        .then(|| course.started + Duration::from_millis(selection.request_timeout_ms.into()));
    let mut tried: Vec<String> = Vec::new();
    loop {
        course.attempts += 1;
        let began = Instant::now();
        let outcome = once(local, course, selection, upstream, template, &tried, deadline).await;
        course.upstream += began.elapsed();
        let failed = match outcome {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        if failed.refusal.fault == Fault::Client {
            return Err(failed.refusal);
        }
        match retry(local, course, selection, upstream, template, &failed, deadline) {
            None => {
                if failed.cause == Cause::Timeout {
                    course.outcome.insert(Outcome::TIMED_OUT);
                }
                course.outcome.insert(Outcome::UPSTREAM_FAILED);
                return failed.response.ok_or(failed.refusal);
            }
            Some((delay, elsewhere)) => {
                course.outcome.insert(Outcome::RETRIED);
                if let Some(response) = failed.response {
                    drain(response);
                }
                match course.endpoint.take() {
                    Some(endpoint) if elsewhere => tried.push(endpoint),
                    _ => {}
                }
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// One attempt, to its response head.
async fn once(
    local: &Rc<Local>,
    course: &mut Course,
    selection: &Selection,
    upstream: &Rc<Upstream>,
    template: &Template<'_>,
    tried: &[String],
    deadline: Option<Instant>,
) -> Result<Response<Incoming>, Failed> {
    let mut attempt = pick(local, course, selection, upstream, tried).await?;
    let endpoint = attempt.endpoint().to_owned();
    let request = outgoing::request(course, template, attempt.is_secure(), &endpoint);
    course.endpoint = Some(endpoint);
    let request = request.map_err(|refusal| Failed {
        cause: Cause::Other,
        response: None,
        refusal,
        untouched: true,
    })?;
    let limit = time_limit(selection.attempt_timeout_ms, deadline);
    let sent = tokio::time::timeout(limit, attempt.send(request, template.upgrade.is_some()));
    match sent.await {
        Err(_elapsed) => {
            answer(local, course, upstream, attempt.record(AttemptOutcome::Timeout));
            let detail = format!("no response head within {} ms", limit.as_millis());
            Err(Failed {
                cause: Cause::Timeout,
                response: None,
                refusal: Refusal::new("upstream.timeout", 504, Fault::Upstream, detail),
                untouched: false,
            })
        }
        Ok(Err(failure)) => {
            if let Some(refusal) = template.body.refusal() {
                // The client's fault, not the endpoint's: counts neither way.
                return Err(Failed {
                    cause: Cause::Other,
                    response: None,
                    refusal,
                    untouched: false,
                });
            }
            answer(local, course, upstream, attempt.record(AttemptOutcome::Failure));
            let code = match failure.cause {
                Cause::ConnectFailure => "upstream.connect",
                Cause::RefusedStream => "upstream.refused-stream",
                Cause::Reset => "upstream.reset",
                Cause::Timeout => "upstream.timeout",
                Cause::Status | Cause::Other => "upstream.failed",
            };
            let status = match failure.cause {
                Cause::ConnectFailure | Cause::RefusedStream => 503,
                Cause::Timeout => 504,
                _ => 502,
            };
            Err(Failed {
                cause: failure.cause,
                response: None,
                refusal: Refusal::new(code, status, Fault::Upstream, failure.detail),
                untouched: matches!(failure.cause, Cause::ConnectFailure | Cause::RefusedStream),
            })
        }
        Ok(Ok(response)) => {
            let bad = is_failure(&response);
            let outcome = if bad { AttemptOutcome::Failure } else { AttemptOutcome::Success };
            answer(local, course, upstream, attempt.record(outcome));
            if !asks_about(local, course.chain, &response) {
                course.hold(attempt);
                return Ok(response);
            }
            let detail = format!("status {}", response.status());
            Err(Failed {
                cause: Cause::Status,
                response: Some(response),
                refusal: Refusal::new("upstream.status", 502, Fault::Upstream, detail),
                untouched: false,
            })
        }
    }
}

fn time_limit(attempt_ms: u32, deadline: Option<Instant>) -> Duration {
    let own = match attempt_ms {
        0 => ATTEMPT_MAX,
        ms => Duration::from_millis(ms.into()),
    };
    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    left.map_or(own, |left| left.min(own))
}

/// Finds an endpoint whose circuit lets the attempt pass, asking the breaker filter where that is due.
async fn pick(
    local: &Rc<Local>,
    course: &Course,
    selection: &Selection,
    upstream: &Rc<Upstream>,
    tried: &[String],
) -> Result<Attempt, Failed> {
    let refuse = |code, status, cause, detail: String| Failed {
        cause,
        response: None,
        refusal: Refusal::new(code, status, Fault::Upstream, detail),
        untouched: true,
    };
    for _ in 0..ASKS_MAX {
        match upstream.pick(tried, selection.hash).await {
            Ok(Pick::Attempt(attempt)) => return Ok(attempt),
            Ok(Pick::Ask(ask)) => answer(local, course, upstream, Some(ask)),
            Err(PickFailure::CircuitOpen { retry_in_ms }) => {
                let detail = format!("every circuit is open; the next opens in {retry_in_ms} ms");
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
                let detail = format!("{} has all the requests it takes", upstream.name());
                return Err(refuse("upstream.overloaded", 503, Cause::Other, detail));
            }
        }
    }
    Err(refuse("circuit.open", 503, Cause::Other, "the breaker did not come to an end".to_owned()))
}

/// Puts a question of a circuit to the breaker filter. Without one circuits stay closed.
fn answer(local: &Rc<Local>, course: &Course, upstream: &Upstream, ask: Option<Ask>) {
    let Some(ask) = ask else { return };
    let Some(breaker) = local.chain(course.chain).and_then(|chain| chain.breaker) else {
        return ask.unanswered();
    };
    let service = local.intern(NameKind::Upstream, Some(upstream.name()));
    let endpoint = local.intern(NameKind::Endpoint, Some(ask.endpoint()));
    let (window, now) = (ask.window(), ask.circuit());
    let said = local.call(breaker, |i| i.evaluate(service, Some(endpoint), &window, now));
    match said {
        Ok(circuit) => {
            let changed = std::mem::discriminant(&circuit) != std::mem::discriminant(&now);
            if changed {
                let (service, endpoint) = (ask.service(), ask.endpoint());
                match circuit {
                    Circuit::Open(ms) => tracing::warn!(service, endpoint, ms, "circuit opened"),
                    Circuit::HalfOpen(n) => tracing::info!(service, endpoint, n, "circuit probes"),
                    Circuit::Closed => tracing::info!(service, endpoint, "circuit closed"),
                }
            }
            ask.answer(circuit);
        }
        Err(fault) => {
            tracing::warn!(service = ask.service(), kind = fault.kind(), "the breaker failed");
            ask.unanswered();
        }
    }
}

/// Whether statistics count a response as failure: the server says that it could not (RFC 9110 §15.6), or gRPC does.
fn is_failure(response: &Response<Incoming>) -> bool {
    match grpc_status(response.headers()) {
        // unknown, deadline exceeded, internal, unavailable, data loss
        Some(status) => matches!(status, 2 | 4 | 13 | 14 | 15),
        None => {
            response.status().is_server_error()
                && response.status() != StatusCode::NOT_IMPLEMENTED
                && response.status() != StatusCode::HTTP_VERSION_NOT_SUPPORTED
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

/// Whether the retry filter wants to be asked about this response.
fn asks_about(local: &Local, chain: usize, response: &Response<Incoming>) -> bool {
    let retry = local.chain(chain).and_then(|chain| chain.retry);
    let Some(filter) = retry.and_then(|index| local.filter(index)) else { return false };
    let (statuses, grpc) = filter.failing_statuses();
    statuses.contains(&response.status().as_u16())
        || grpc_status(response.headers()).is_some_and(|status| grpc.contains(&status))
}

/// Whether to try again: after how long, and whether elsewhere.
fn retry(
    local: &Rc<Local>,
    course: &mut Course,
    selection: &Selection,
    upstream: &Upstream,
    template: &Template<'_>,
    failed: &Failed,
    deadline: Option<Instant>,
) -> Option<(Duration, bool)> {
    let index = local.chain(course.chain)?.retry?;
    let replayable = template.body.is_replayable();
    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let response = failed.response.as_ref();
    let failure = Failure {
        rule: selection.rule,
        attempt: course.attempts,
        cause: failed.cause,
        status: response.map_or(0, |response| response.status().as_u16()),
        grpc_status: response.and_then(|response| grpc_status(response.headers())),
        elapsed_ms: millis(course.started.elapsed()),
        // 0 means none, so a deadline that has all but passed counts as one millisecond.
        remaining_ms: left.map_or(0, |left| millis(left).max(1)),
        idempotent: course.exchange.method.is_idempotent() || failed.untouched,
        replayable,
        retry_after_ms: response.and_then(|response| retry_after(response.headers())),
        budget_left: upstream.budget_left(),
    };
    let said = local.call_request(index, &course.exchange, |i, view| i.on_failure(&failure, view));
    let decision = match said {
        Ok(decision) => decision,
        Err(fault) => {
            tracing::warn!(
                exchange = course.exchange.id,
                kind = fault.kind(),
                "the retry filter failed"
            );
            return None;
        }
    };
    if let Some(reason) = decision.reason {
        course.reason = Some(reason.into());
    }
    let (delay, elsewhere) = match decision.verdict {
        RetryVerdict::GiveUp => return None,
        RetryVerdict::Again(ms) => (ms, false),
        RetryVerdict::Elsewhere(ms) => (ms, true),
    };
    let delay = Duration::from_millis(delay.into());
    // What the filter cannot override: the body must be whole, time must be left, and the budget holds.
    if !replayable || left.is_some_and(|left| delay >= left) {
        return None;
    }
    if !upstream.spend_retry() {
        course.reason = Some("retry.budget".into());
        return None;
    }
    Some((delay, elsewhere))
}

/// Seconds of `retry-after` (RFC 9110 §10.2.3); a date is not read.
fn retry_after(headers: &HeaderMap) -> Option<u32> {
    let seconds: u32 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1000))
}

/// Reads the rest of a response nobody wants, so that its connection can serve again.
fn drain(response: Response<Incoming>) {
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

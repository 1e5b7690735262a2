//! Two connections joined octet for octet: upgraded ones, and those a connection hook sends on.

use crate::circuit::{answer, pick};
use crate::course::Course;
use crate::local::Local;
use crate::settle::Settle;
use crate::shared::Shared;
use crate::upgrade::Upgrade;
use http::HeaderMap;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::rc::Rc;
use std::sync::Arc;
use tamis_exchange::{Exchange, Fault, Outcome, Refusal};
use tamis_transport::{Shutdown, Stage};
use tamis_upstream::{AttemptOutcome, Upstream};
use tokio::io::{AsyncRead, AsyncWrite};

/// Endpoints tried for a tunnel; connecting elsewhere is always safe.
const TRIES_MAX: u32 = 3;

/// Joins client and upstream until either is done or the proxy drains, then settles.
pub(crate) fn join(
    upgrade: Upgrade,
    upstream: OnUpgrade,
    settle: Box<Settle>,
    mut shutdown: Shutdown,
) {
    drop(tokio::task::spawn_local(async move {
        let (client, upstream) = match tokio::try_join!(upgrade.client, upstream) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "a tunnel did not come about");
                return settle.end(Outcome::RESET);
            }
        };
        copy(TokioIo::new(client), TokioIo::new(upstream), settle, &mut shutdown).await;
    }));
}

/// A connection that a hook sends on to a service.
pub(crate) struct Forward {
    /// What is known of it.
    pub(crate) facts: Exchange,
    /// Index of its listener's chain.
    pub(crate) chain: usize,
    /// Index of the service.
    pub(crate) service: usize,
    /// What the hook said why.
    pub(crate) reason: Option<String>,
}

/// Forwards a connection's octets, decrypted where the listener has certificates, to an endpoint of the service until
/// either side is done or the proxy drains.
pub(crate) async fn forward<IO: AsyncRead + AsyncWrite + Unpin>(
    client: IO,
    forward: Forward,
    local: &Rc<Local>,
    shared: &Arc<Shared>,
    shutdown: &mut Shutdown,
) {
    let Forward { facts, chain, service, reason } = forward;
    let mut course = Course::new(facts, chain);
    course.service = Some(service);
    course.reason = reason.map(Into::into);
    // From here on the end is told whatever happens.
    let mut settle = Settle::new(local, shared, course, None);
    let Some(upstream) = local.upstreams.get(service) else { return };
    let course = settle.course();
    let connected = connect(local, course, upstream).await;
    course.upstream = course.started.elapsed();
    match connected {
        Ok(stream) => {
            settle.head(200, &HeaderMap::new());
            copy(client, stream, settle, shutdown).await;
        }
        Err(refusal) => {
            course.reason = Some(refusal.code.into());
            course.detail = Some(refusal.detail);
            settle.head(refusal.status, &HeaderMap::new());
            settle.end(Outcome::UPSTREAM_FAILED);
        }
    }
}

/// A connection to one of the endpoints, another if one cannot be reached.
async fn connect(
    local: &Rc<Local>,
    course: &mut Course,
    upstream: &Rc<Upstream>,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, Refusal> {
    upstream.note_request();
    let chain = course.chain;
    let mut tried: Vec<String> = Vec::new();
    let mut last = None;
    while course.attempts < TRIES_MAX {
        let mut attempt = match pick(local, chain, upstream, &tried, None).await {
            Ok(attempt) => attempt,
            Err(failed) => return Err(last.unwrap_or(failed.refusal)),
        };
        let endpoint = attempt.endpoint().to_owned();
        if tried.contains(&endpoint) {
            break;
        }
        course.attempts += 1;
        course.endpoint = Some(endpoint.clone());
        match attempt.connect().await {
            Ok(stream) => {
                answer(local, chain, upstream, attempt.record(AttemptOutcome::Success));
                course.hold(attempt);
                return Ok(stream);
            }
            Err(failure) => {
                answer(local, chain, upstream, attempt.record(AttemptOutcome::Failure));
                let detail = failure.detail;
                last = Some(Refusal::new("upstream.connect", 503, Fault::Upstream, detail));
                tried.push(endpoint);
            }
        }
    }
    Err(last.unwrap_or_else(|| Refusal::new("upstream.no-endpoint", 503, Fault::Upstream, "")))
}

/// Copies both ways until either is done, then settles.
async fn copy(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut upstream: impl AsyncRead + AsyncWrite + Unpin,
    mut settle: Box<Settle>,
    shutdown: &mut Shutdown,
) {
    let copied = tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut upstream) => copied,
        _ = shutdown.wait_for(|stage| *stage == Stage::End) => return settle.end(Outcome::RESET),
    };
    match copied {
        Ok((sent, received)) => {
            settle.bytes_in += sent;
            settle.bytes_out += received;
            settle.end(Outcome::default());
        }
        Err(error) => {
            tracing::debug!(%error, "a tunnel broke");
            settle.end(Outcome::RESET);
        }
    }
}

//! Two connections joined byte for byte: upgraded ones, and those that a connection hook forwards.

use crate::chain::Chain;
use crate::endpoint_choice::{ask_breaker, pick};
use crate::exchange::ExchangeState;
use crate::shared::ProxyShared;
use crate::upgrade::Upgrade;
use http::HeaderMap;
use std::rc::Rc;
use std::sync::Arc;
use tamis_exchange::{Exchange, Fault, Outcome, Refusal};
use tamis_transport::{ListenerStage, Shutdown};
use tamis_upstream::{AttemptOutcome, Upstream};
use tokio::io::{AsyncRead, AsyncWrite};

/// Endpoints tried for a tunnel; connecting elsewhere is always safe.
const TRIES_MAX: u32 = 3;

/// Joins client and upstream until either is done or the proxy drains, then ends the exchange.
pub(crate) fn join(upgrade: Upgrade, state: Box<ExchangeState>, mut shutdown: Shutdown) {
    let Upgrade { client, upstream: Some(upstream), .. } = upgrade else { return };
    drop(tokio::task::spawn_local(async move {
        let client = match client.await {
            Ok(client) => client,
            Err(error) => {
                tracing::debug!(%error, "a tunnel could not be opened");
                return state.end(Outcome::RESET);
            }
        };
        copy(client, upstream, state, &mut shutdown).await;
    }));
}

/// A connection that a hook forwards to a service.
pub(crate) struct Forward {
    /// Attributes of the connection.
    pub(crate) facts: Exchange,
    /// The chain of its listener, in the generation whose hook decided so.
    pub(crate) chain: Rc<Chain>,
    /// The service.
    pub(crate) service: Rc<Upstream>,
    /// The reason that the hook gave.
    pub(crate) reason: Option<String>,
}

/// Forwards a connection, decrypted where the listener has certificates, to an endpoint of the service
/// until either side ends or the proxy drains.
pub(crate) async fn forward<IO: AsyncRead + AsyncWrite + Unpin>(
    client: IO,
    forward: Forward,
    shared: &Arc<ProxyShared>,
    shutdown: &mut Shutdown,
) {
    let Forward { facts, chain, service, reason } = forward;
    // From here on the end is counted and recorded whatever happens.
    let mut state = ExchangeState::new(facts, &chain, shared, None);
    state.service = Some(Rc::clone(&service));
    state.reason = reason.map(Into::into);
    let connected = connect(&mut state, &service).await;
    state.upstream_time = state.elapsed();
    match connected {
        Ok(stream) => {
            state.note_head(200, &HeaderMap::new());
            copy(client, stream, state, shutdown).await;
        }
        Err(refusal) => {
            state.reason = Some(refusal.code.into());
            state.detail = Some(refusal.detail);
            state.note_head(refusal.status, &HeaderMap::new());
            state.end(Outcome::UPSTREAM_FAILED);
        }
    }
}

/// A connection to one of the endpoints; tries another if one cannot be reached.
pub(crate) async fn connect(
    state: &mut ExchangeState,
    upstream: &Rc<Upstream>,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, Refusal> {
    upstream.note_request();
    let chain = Rc::clone(&state.chain);
    let mut tried: Vec<String> = Vec::new();
    let mut last = None;
    while state.attempts < TRIES_MAX {
        let mut attempt = match pick(&chain, upstream, &tried, None).await {
            Ok(attempt) => attempt,
            Err(failed) => return Err(last.unwrap_or(failed.refusal)),
        };
        let endpoint = attempt.endpoint_name();
        if tried.iter().any(|known| **known == *endpoint) {
            break;
        }
        state.attempts += 1;
        state.endpoint = Some(Arc::clone(&endpoint));
        match attempt.connect().await {
            Ok(stream) => {
                ask_breaker(&chain, upstream, attempt.record(AttemptOutcome::Success));
                state.hold(attempt);
                return Ok(stream);
            }
            Err(failure) => {
                ask_breaker(&chain, upstream, attempt.record(AttemptOutcome::Failure));
                let detail = failure.detail;
                last = Some(Refusal::new("upstream.connect", 503, Fault::Upstream, detail));
                tried.push(endpoint.to_string());
            }
        }
    }
    Err(last.unwrap_or_else(|| Refusal::new("upstream.no-endpoint", 503, Fault::Upstream, "")))
}

/// Copies both ways until either is done, then ends the exchange.
async fn copy(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut upstream: impl AsyncRead + AsyncWrite + Unpin,
    mut state: Box<ExchangeState>,
    shutdown: &mut Shutdown,
) {
    let copied = tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut upstream) => copied,
        _ = shutdown.wait_for(|stage| *stage == ListenerStage::End) => return state.end(Outcome::RESET),
    };
    match copied {
        Ok((sent, received)) => {
            state.bytes_in += sent;
            state.bytes_out += received;
            state.end(Outcome::default());
        }
        Err(error) => {
            tracing::debug!(%error, "a tunnel broke");
            state.end(Outcome::RESET);
        }
    }
}

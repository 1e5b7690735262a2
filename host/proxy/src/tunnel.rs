//! Two connections between which bytes are copied: upgraded ones, and those that a connection hook forwards.

use crate::breaker::ask_breaker;
use crate::chain::Chain;
use crate::endpoint_choice::pick;
use crate::exchange::ExchangeState;
use crate::reconsider::{FollowedState, refused_later, revoke, withdrawn_later};
use crate::shared::ProxyShared;
use crate::tcp_refusal::{TcpRefusal, note_refusal};
use crate::upgrade::Upgrade;
use http::HeaderMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tamis_exchange::{Exchange, Fault, Outcome, Refusal};
use tamis_transport::{
    CarriedOctets, CarryEnd, FederatedPeer, ListenerStage, PeerAnswer, Shutdown, carry,
};
use tamis_upstream::{AttemptOutcome, EndpointLimit, Upstream};
use tokio::io::{AsyncRead, AsyncWrite};

/// Endpoints tried for a tunnel; connecting elsewhere is always safe.
const TRIES_MAX: u32 = 3;

/// A tunnel on which nothing moves for this long ends (at most an eighth later): each keeps a connection of its endpoint,
/// so silence must not keep it for ever. It is that of `tcp` ports by default.
pub(crate) const IDLE: Duration = Duration::from_secs(60 * 60);

/// Copies between client and upstream after an upgrade until either is done, the proxy drains, or guards that a swap changed
/// refuse the request, or the trust domain of `peer` is withdrawn, then ends the exchange.
pub(crate) fn carry_upgrade(
    upgrade: Upgrade,
    state: Box<ExchangeState>,
    mut shutdown: Shutdown,
    peer: Option<FederatedPeer>,
    (listener, followed): (Arc<str>, FollowedState),
) {
    let Upgrade { client, upstream: Some(upstream), request, .. } = upgrade else { return };
    drop(tokio::task::spawn_local(async move {
        let client = match client.await {
            Ok(client) => client,
            Err(error) => {
                tracing::debug!(%error, "a tunnel could not be opened");
                return state.end(Outcome::RESET);
            }
        };
        let judge = Rc::clone(&state.chain);
        let rule = state.rule.and_then(|rule| judge.rule_name(rule)).cloned();
        let random = state.random();
        let withdrawn = withdrawn_later(peer, followed.clone(), &listener, random);
        let refused = async {
            match request {
                Some(request) => {
                    refused_later(*request, judge, rule, &listener, (followed, random)).await
                }
                None => std::future::pending().await,
            }
        };
        let refused = async {
            tokio::select! {
                refusal = withdrawn => refusal,
                refusal = refused => refusal,
            }
        };
        copy(client, upstream, state, (&PeerAnswer::opened(), refused), &mut shutdown).await;
    }));
}

/// A connection that a hook forwards to a service.
pub(crate) struct Forward {
    /// Attributes of the connection.
    pub(crate) facts: Exchange,
    /// The identity that was proved.
    pub(crate) caller: Option<Arc<str>>,
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
    (shared, refused): (&Arc<ProxyShared>, impl Future<Output = TcpRefusal>),
    shutdown: &mut Shutdown,
) {
    let Forward { facts, caller, chain, service, reason } = forward;
    // From here on the end is counted and recorded whatever happens.
    let mut state = ExchangeState::new(facts, &chain, shared, None);
    state.service = Some(Rc::clone(&service));
    state.reason = reason.map(Into::into);
    let connected = connect(&mut state, &service, caller.as_ref()).await;
    state.upstream_time = state.elapsed();
    match connected {
        Ok((stream, answer)) => {
            state.note_head(200, &HeaderMap::new());
            copy(client, stream, state, (&answer, refused), shutdown).await;
        }
        Err(refusal) => {
            state.reason = Some(refusal.code.into());
            state.detail = Some(refusal.detail);
            state.note_head(refusal.status, &HeaderMap::new());
            state.end(Outcome::UPSTREAM_FAILED);
        }
    }
}

/// A connection to one of the endpoints, in the share of its caller if that is known, and the answer of the proxy there; tries another if one cannot be reached.
pub(crate) async fn connect(
    state: &mut ExchangeState,
    upstream: &Rc<Upstream>,
    caller: Option<&Arc<str>>,
) -> Result<(impl AsyncRead + AsyncWrite + Unpin + use<>, PeerAnswer), Refusal> {
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
        match attempt.connect(caller).await {
            Ok(connected) => {
                ask_breaker(&chain, upstream, attempt.record(AttemptOutcome::Success));
                state.hold(attempt);
                return Ok(connected);
            }
            Err(failure) => {
                let is_full = failure.limit.is_some();
                let of_tunnels = failure.limit == Some(EndpointLimit::Tunnels);
                let code = if of_tunnels { "upstream.tunnels" } else { "upstream.connect" };
                // A bound of this proxy that clients reach must not open the circuit for requests.
                if !is_full {
                    ask_breaker(&chain, upstream, attempt.record(AttemptOutcome::Failure));
                }
                last = Some(Refusal::new(code, 503, Fault::Upstream, failure.detail));
                tried.push(endpoint.to_string());
            }
        }
    }
    Err(last.unwrap_or_else(|| Refusal::new("upstream.no-endpoint", 503, Fault::Upstream, "")))
}

/// Carries both ways until either is done, nothing moved for too long, or `refused` ends, then ends the exchange.
pub(crate) async fn copy(
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: impl AsyncRead + AsyncWrite + Unpin,
    mut state: Box<ExchangeState>,
    (answer, refused): (&PeerAnswer, impl Future<Output = TcpRefusal>),
    shutdown: &mut Shutdown,
) {
    let carried = CarriedOctets::default();
    let end = tokio::select! {
        end = carry(client, upstream, IDLE, &carried, |_sent, _received| {}) => Ok(Some(end)),
        refusal = refused => Err(refusal),
        _ = shutdown.wait_for(|stage| *stage == ListenerStage::End) => Ok(None),
    };
    state.bytes_in += carried.sent();
    state.bytes_out += carried.received();
    let end = match end {
        Ok(end) => end,
        Err(refusal) => return revoke(state, refusal),
    };
    let broke = matches!(end, Some(CarryEnd::Broken(_)));
    let (reason, outcome) = ending(end);
    if let Some(reason) = reason {
        state.reason = Some(reason.into());
    }
    let answered = if broke { note_refusal(&mut state, answer) } else { None };
    state.end(answered.unwrap_or(outcome));
}

/// The code and the outcome of a tunnel; `None`: its listener ends.
pub(crate) fn ending(end: Option<CarryEnd>) -> (Option<&'static str>, Outcome) {
    match end {
        Some(CarryEnd::Done) => (None, Outcome::default()),
        Some(CarryEnd::Idle) => (Some("tunnel.idle"), Outcome::TIMED_OUT),
        Some(CarryEnd::Broken(error)) => {
            tracing::debug!(%error, "a tunnel broke");
            (None, Outcome::RESET)
        }
        None => (None, Outcome::RESET),
    }
}

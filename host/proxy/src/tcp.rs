//! Connections of `tcp` ports: who may connect is decided once, by the connection hooks; then octets are carried unread
//! until both sides are done.
//!
//! An application whose connection is refused sees only that it is closed, since nobody knows what it would understand.
//! The proxy that asked for a port is answered first, and knows ([`TcpAnswer`]). The records say why.

use crate::chain::Chain;
use crate::connection::Connection;
use crate::egress;
use crate::exchange::ExchangeState;
use crate::generation::TcpRules;
use crate::reconsider::revoke;
use crate::shared::ProxyShared;
use crate::tcp_counts::TcpCounts;
use crate::tcp_refusal::{TcpRefusal, note_refusal};
use crate::tunnel;
use http::HeaderMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tamis_exchange::{Exchange, Outcome, Refusal};
use tamis_transport::{
    CarriedOctets, CarryEnd, ListenerStage, PeerAnswer, ProxyHeaderVersion, ReceivedAnswer,
    Shutdown, TcpAnswer, carry, causes, proxy_header,
};
use tamis_upstream::Upstream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

/// The status in records of a connection that was opened: that of a CONNECT (RFC 9110 §9.3.6).
const OPENED: u16 = 200;
/// The status of one that the proxy of the service had not answered when it ended.
const UNANSWERED: u16 = 0;

/// A connection of a `tcp` port, and what was decided about it.
pub(crate) struct TcpConnection {
    /// Its attributes.
    pub(crate) facts: Exchange,
    /// In whose share of the listener and of the endpoint it counts.
    pub(crate) caller: Option<Arc<str>>,
    /// Where it comes from, and where it arrived; `None`: a Unix socket.
    pub(crate) ends: Option<(SocketAddr, SocketAddr)>,
    /// The chain of its listener, in the generation that decided.
    pub(crate) chain: Rc<Chain>,
    /// The rules of its listener.
    pub(crate) rules: TcpRules,
    /// What the hooks decided.
    pub(crate) decision: Result<TcpService, TcpRefusal>,
}

/// Where an admitted connection goes.
pub(crate) struct TcpService {
    /// The service; `None`: the proxy does not know it any more.
    pub(crate) service: Option<Rc<Upstream>>,
    /// The reason that the last hook gave.
    pub(crate) reason: Option<String>,
}

/// What may end a connection, apart from its two sides.
pub(crate) struct ConnectionEnds<S, R> {
    /// The stage of its listener.
    pub(crate) shutdown: Shutdown,
    /// Whether the worker still has the listener.
    pub(crate) is_served: S,
    /// Ends with the refusal when hooks that a swap changed refuse it.
    pub(crate) refused: R,
}

/// Serves one connection to its end.
pub(crate) async fn serve<IO: AsyncRead + AsyncWrite + Unpin>(
    client: IO,
    opening: TcpConnection,
    connection: &Connection,
    shared: &Arc<ProxyShared>,
    ends: ConnectionEnds<impl Fn() -> bool, impl Future<Output = TcpRefusal>>,
) {
    let TcpConnection { facts, caller, ends: addresses, chain, mut rules, decision } = opening;
    // From here on the end is counted and recorded whatever happens.
    let mut state = ExchangeState::new(facts, &chain, shared, None);
    let counts = shared.tcp.of(&connection.listener);
    let open = counts.open(rules.max_connections, caller.as_ref());
    if connection.tls_version.is_none() {
        // Proxies alone wait for an answer; here it would be taken for the application's.
        rules.asked = None;
    }
    let decision = match &open {
        Ok(_) => decision,
        Err(full) => Err(TcpRefusal::full(*full, rules.max_connections)),
    };
    // A hook may have sent a connection that would leave the mesh to a service.
    if let (Some(egress), Ok(TcpService { service: None, reason })) = (&rules.egress, &decision) {
        state.reason = reason.clone().map(Into::into);
        let left = egress::leave(&mut state, egress, connection.captured.as_ref(), &shared.leaving);
        let left = left.await;
        state.upstream_time = state.elapsed();
        return match left {
            Ok((stream, _left)) => {
                let between = (client, stream, PeerAnswer::opened());
                carry_between(between, state, &rules, &counts, ends).await;
            }
            Err(refusal) => refusal.end(state),
        };
    }
    let by = (caller.as_ref(), addresses);
    match open_service(&mut state, decision, &rules, by).await {
        Ok((stream, answer)) => {
            carry_between((client, stream, answer), state, &rules, &counts, ends).await;
        }
        Err(refusal) => {
            let answer = refusal.answer();
            refusal.end(state);
            if rules.asked.is_some() {
                answer.send_last(client).await;
            }
        }
    }
}

/// Carries until an end.
async fn carry_between<C, S>(
    (mut client, stream, answer): (C, S, PeerAnswer),
    mut state: Box<ExchangeState>,
    rules: &TcpRules,
    counts: &TcpCounts,
    ends: ConnectionEnds<impl Fn() -> bool, impl Future<Output = TcpRefusal>>,
) where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    // What pauses for exchanges that wait for their heads pauses no longer.
    state.note_head(UNANSWERED, &HeaderMap::new());
    let carrying =
        CarriedConnection { state: Some(state), answer, carried: CarriedOctets::default() };
    if rules.asked.is_some()
        && let Err(error) = TcpAnswer::Opened.send(&mut client).await
    {
        return carrying.end(CarriedEnd::Carried(CarryEnd::Broken(error)));
    }
    let end = tokio::select! {
        end = carry(client, stream, rules.idle_timeout, &carrying.carried, |sent, received| {
            counts.note(sent, received);
        }) => CarriedEnd::Carried(end),
        () = removed(ends.shutdown, ends.is_served) => CarriedEnd::Removed,
        refusal = ends.refused => CarriedEnd::Revoked(refusal),
    };
    carrying.end(end);
}

/// A connection to the service, if it is admitted.
async fn open_service(
    state: &mut ExchangeState,
    decision: Result<TcpService, TcpRefusal>,
    rules: &TcpRules,
    (caller, addresses): (Option<&Arc<str>>, Option<(SocketAddr, SocketAddr)>),
) -> Result<(impl AsyncRead + AsyncWrite + Unpin + use<>, PeerAnswer), TcpRefusal> {
    let TcpService { service, reason } = decision?;
    state.reason = reason.map(Into::into);
    let Some(service) = service else {
        let detail = format!("{} is not known here", rules.service);
        return Err(TcpRefusal::host("upstream.no-endpoint", detail));
    };
    state.service = Some(Rc::clone(&service));
    let connected = tunnel::connect(state, &service, caller).await;
    state.upstream_time = state.elapsed();
    let (mut stream, answer) = connected.map_err(|Refusal { code, status, detail, .. }| {
        state.outcome.insert(Outcome::UPSTREAM_FAILED);
        TcpRefusal { code: code.into(), status, detail, slot: None }
    })?;
    // A service that a hook chose expects no header.
    if let Some(version) = rules.proxy_header.filter(|_| service.name() == rules.service)
        && let Err(error) = introduce(&mut stream, version, addresses).await
    {
        state.outcome.insert(Outcome::UPSTREAM_FAILED);
        return Err(TcpRefusal::host("upstream.connect", causes(&error)));
    }
    Ok((stream, answer))
}

/// Sends the application the addresses of a connection before anything else.
async fn introduce(
    stream: &mut (impl AsyncWrite + Unpin),
    version: ProxyHeaderVersion,
    addresses: Option<(SocketAddr, SocketAddr)>,
) -> io::Result<()> {
    stream.write_all(&proxy_header(version, addresses)?).await?;
    stream.flush().await
}

/// Ends when the listener is there no more. A drain lets connections live for as long as it takes.
async fn removed(mut shutdown: Shutdown, is_served: impl Fn() -> bool) {
    // What it returns locks the stage: held, it would stop the worker that sets the next one.
    drop(shutdown.wait_for(|stage| *stage == ListenerStage::End).await);
    if is_served() {
        std::future::pending::<()>().await;
    }
}

/// A connection that is being carried; its record has what was carried, also when the process ends first.
struct CarriedConnection {
    state: Option<Box<ExchangeState>>,
    /// That of the proxy of the service.
    answer: PeerAnswer,
    carried: CarriedOctets,
}

/// Why a connection ends.
enum CarriedEnd {
    /// By itself.
    Carried(CarryEnd),
    /// Its listener was removed.
    Removed,
    /// It is refused since a swap.
    Revoked(TcpRefusal),
}

impl CarriedConnection {
    fn end(mut self, end: CarriedEnd) {
        let Some(mut state) = self.take() else { return };
        if let Some(outcome) = note_refusal(&mut state, &self.answer) {
            return state.end(outcome);
        }
        let outcome = match end {
            CarriedEnd::Revoked(refusal) => return revoke(state, refusal),
            CarriedEnd::Carried(CarryEnd::Done) => Outcome::default(),
            CarriedEnd::Carried(CarryEnd::Broken(error)) => {
                tracing::debug!(%error, "a connection broke");
                Outcome::RESET
            }
            CarriedEnd::Carried(CarryEnd::Idle) => {
                state.reason = Some("tcp.idle".into());
                Outcome::TIMED_OUT
            }
            CarriedEnd::Removed => {
                state.reason = Some("tcp.removed".into());
                Outcome::RESET
            }
        };
        state.end(outcome);
    }

    fn take(&mut self) -> Option<Box<ExchangeState>> {
        let mut state = self.state.take()?;
        if self.answer.received() == Some(ReceivedAnswer::Answered(TcpAnswer::Opened)) {
            state.note_head(OPENED, &HeaderMap::new());
        }
        state.bytes_in = state.bytes_in.saturating_add(self.carried.sent());
        state.bytes_out = state.bytes_out.saturating_add(self.carried.received());
        Some(state)
    }
}

impl Drop for CarriedConnection {
    fn drop(&mut self) {
        if let Some(state) = self.take() {
            state.end(Outcome::RESET);
        }
    }
}

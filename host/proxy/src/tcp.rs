//! Connections of `tcp` ports: who may connect is decided once, by the connection hooks; then octets are carried unread
//! until both sides are done.
//!
//! A connection that is refused is closed without a word, since nobody knows what its client would understand. Its
//! record says why.

use crate::chain::Chain;
use crate::connection::Connection;
use crate::exchange::ExchangeState;
use crate::generation::TcpRules;
use crate::shared::ProxyShared;
use crate::slot::Slot;
use crate::tunnel;
use http::HeaderMap;
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use tamis_exchange::{Exchange, Outcome, Refusal};
use tamis_transport::{Carried, CarryEnd, ConnInfo, ListenerStage, Shutdown, carry};
use tamis_upstream::Upstream;
use tokio::io::{AsyncRead, AsyncWrite};

/// The status in records of a connection that was opened: that of a CONNECT (RFC 9110 §9.3.6).
const OPENED: u16 = 200;
const FORBIDDEN: u16 = 403;
const UNAVAILABLE: u16 = 503;

/// A connection of a `tcp` port, and what was decided about it.
pub(crate) struct TcpConnection {
    /// Its attributes.
    pub(crate) facts: Exchange,
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

/// Why a connection is closed.
pub(crate) struct TcpRefusal {
    pub(crate) code: Cow<'static, str>,
    pub(crate) status: u16,
    pub(crate) detail: String,
    /// The slot that decided so, or could not decide.
    pub(crate) slot: Option<Rc<Slot>>,
}

impl TcpRefusal {
    /// A filter decides so.
    pub(crate) fn denied(slot: &Rc<Slot>, reason: Option<String>) -> Self {
        let code = reason.map_or(Cow::Borrowed("filter.denied"), Cow::Owned);
        let slot = Some(Rc::clone(slot));
        Self { code, status: FORBIDDEN, detail: String::new(), slot }
    }

    /// A slot that had to decide could not.
    pub(crate) fn undecided(slot: &Rc<Slot>, code: &'static str, detail: String) -> Self {
        let slot = Some(Rc::clone(slot));
        Self { code: code.into(), status: UNAVAILABLE, detail, slot }
    }

    fn host(code: &'static str, detail: String) -> Self {
        Self { code: code.into(), status: UNAVAILABLE, detail, slot: None }
    }
}

/// Whether the handshake agreed on the port of the listener: otherwise the peer means something else than we do.
pub(crate) fn is_agreed(rules: &TcpRules, info: &ConnInfo) -> bool {
    match (rules.asked, &info.identity) {
        (Some(port), identity) => identity.as_ref().is_some_and(|peer| peer.is_tcp(port)),
        (None, _) => true,
    }
}

/// Serves one connection to its end. `is_served` says whether the worker still has the listener.
pub(crate) async fn serve<IO: AsyncRead + AsyncWrite + Unpin>(
    client: IO,
    opening: TcpConnection,
    connection: &Connection,
    shared: &Arc<ProxyShared>,
    (shutdown, is_served): (Shutdown, impl Fn() -> bool),
) {
    let TcpConnection { facts, chain, rules, decision } = opening;
    // From here on the end is counted and recorded whatever happens.
    let mut state = ExchangeState::new(facts, &chain, shared, None);
    let counts = shared.tcp.of(&connection.listener);
    let Some(open) = counts.open(rules.max_connections) else {
        let most = rules.max_connections;
        let detail = format!("the listener has {most} connections, its maximum");
        return refuse(state, TcpRefusal::host("tcp.full", detail));
    };
    let TcpService { service, reason } = match decision {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(state, refusal),
    };
    state.reason = reason.map(Into::into);
    let Some(service) = service else {
        let detail = format!("{} is not known here", rules.service);
        return refuse(state, TcpRefusal::host("upstream.no-endpoint", detail));
    };
    state.service = Some(Rc::clone(&service));
    let connected = tunnel::connect(&mut state, &service).await;
    state.upstream_time = state.elapsed();
    let stream = match connected {
        Ok(stream) => stream,
        Err(Refusal { code, status, detail, .. }) => {
            state.outcome.insert(Outcome::UPSTREAM_FAILED);
            return refuse(state, TcpRefusal { code: code.into(), status, detail, slot: None });
        }
    };
    state.note_head(OPENED, &HeaderMap::new());
    let carrying = Carrying { state: Some(state), carried: Carried::default() };
    let end = tokio::select! {
        end = carry(client, stream, rules.idle_timeout, &carrying.carried, |sent, received| {
            open.counts.note(sent, received);
        }) => Some(end),
        () = removed(shutdown, is_served) => None,
    };
    carrying.end(end);
}

/// The connection ends here.
fn refuse(mut state: Box<ExchangeState>, refusal: TcpRefusal) {
    let TcpRefusal { code, status, detail, slot } = refusal;
    let by_filter = slot.is_some();
    state.reason = Some(code);
    state.detail = Some(detail);
    state.answered_by = slot;
    state.note_head(status, &HeaderMap::new());
    state.end(if by_filter { Outcome::REFUSED_BY_FILTER } else { Outcome::default() });
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
struct Carrying {
    state: Option<Box<ExchangeState>>,
    carried: Carried,
}

impl Carrying {
    /// Ends it; `None`: its listener was removed.
    fn end(mut self, end: Option<CarryEnd>) {
        let Some(mut state) = self.take() else { return };
        let outcome = match end {
            Some(CarryEnd::Done) => Outcome::default(),
            Some(CarryEnd::Broken(error)) => {
                tracing::debug!(%error, "a connection broke");
                Outcome::RESET
            }
            Some(CarryEnd::Idle) => {
                state.reason = Some("tcp.idle".into());
                Outcome::TIMED_OUT
            }
            None => {
                state.reason = Some("tcp.removed".into());
                Outcome::RESET
            }
        };
        state.end(outcome);
    }

    fn take(&mut self) -> Option<Box<ExchangeState>> {
        let mut state = self.state.take()?;
        state.bytes_in = state.bytes_in.saturating_add(self.carried.sent());
        state.bytes_out = state.bytes_out.saturating_add(self.carried.received());
        Some(state)
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        if let Some(state) = self.take() {
            state.end(Outcome::RESET);
        }
    }
}

//! Sessions of a gateway's listener for UDP: whether a session may begin is decided once, by the connection hooks; then datagrams are sent
//! on unread until neither side sends any.

use crate::breaker::ask_breaker;
use crate::endpoint_choice::pick;
use crate::exchange::ExchangeState;
use crate::reconsider::revoke;
use crate::shared::ProxyShared;
use crate::tcp::{ConnectionEnds, TcpConnection, TcpService};
use crate::tcp_refusal::TcpRefusal;
use crate::udp_session::UdpSession;
use http::HeaderMap;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tamis_exchange::{Outcome, Refusal};
use tamis_transport::{ListenerStage, Shutdown, causes};
use tamis_upstream::{Attempt, AttemptOutcome, Upstream, UpstreamDatagrams};

/// The status in records of a session that began: that of a CONNECT (RFC 9298 §3.4).
const OPENED: u16 = 200;
/// The status of one whose endpoint was not chosen when it ended.
const UNOPENED: u16 = 0;
/// The code where a backend is missing, or has no endpoint.
const NO_ENDPOINT: &str = "upstream.no-endpoint";
/// Endpoints tried for a session, of those to which no socket can be opened.
const TRIES_MAX: usize = 3;
/// While the proxy drains, a session that is silent for this long ends: datagrams have no end that is sent.
const LAST_SILENCE: Duration = Duration::from_secs(1);

/// How a session ended, for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UdpEnd {
    /// Another one may begin at once.
    Over,
    /// No endpoint takes it now.
    Refused,
    /// It is of the share of a backend that has no endpoint: as long as its client sends, that stays so.
    Nowhere,
}

/// An endpoint that has not answered for this long counts as silent, not as gone: the kernel has reported a missing host by then,
/// since it asks for its address three times, a second apart.
const SILENCE: Duration = Duration::from_secs(4);

/// What the endpoint of a session sent back.
enum Heard {
    Answer,
    Gone,
    /// Nothing, for [`SILENCE`].
    Nothing,
}

/// Serves one session to its end.
pub(crate) async fn serve(
    session: &UdpSession,
    opening: TcpConnection,
    shared: &Arc<ProxyShared>,
    ends: ConnectionEnds<impl Fn() -> bool, impl Future<Output = TcpRefusal>>,
) -> UdpEnd {
    let TcpConnection { facts, caller, chain, rules, decision, .. } = opening;
    // From here on the end is counted and recorded whatever happens.
    let mut state = ExchangeState::new(facts, &chain, shared, None);
    // What pauses for exchanges that wait for their heads pauses no longer.
    state.note_head(UNOPENED, &HeaderMap::new());
    let mut carrying = CarriedSession { state: Some(state), session };
    let opened = match carrying.state.as_mut() {
        Some(state) => open(state, decision, caller.as_ref()).await,
        None => return UdpEnd::Over,
    };
    let (mut attempt, upstream, service) = match opened {
        Ok(opened) => opened,
        Err(refusal) => {
            session.refuse();
            let nowhere = refusal.code == NO_ENDPOINT;
            if let Some(state) = carrying.take() {
                refusal.end(state);
            }
            return if nowhere { UdpEnd::Nowhere } else { UdpEnd::Refused };
        }
    };
    if let Some(state) = carrying.state.as_mut() {
        state.upstream_time = state.elapsed();
        state.note_head(OPENED, &HeaderMap::new());
    }
    let _own = upstream.local_address().map(|it| shared.own_udp.session(it));
    let upstream = session.open(upstream);
    let mut judge = |heard| {
        let question = match heard {
            Heard::Answer => attempt.record(AttemptOutcome::Success),
            Heard::Gone => attempt.record(AttemptOutcome::Failure),
            Heard::Nothing => attempt.record_silence(),
        };
        ask_breaker(&chain, &service, question);
    };
    let end = carry((session, upstream), rules.idle_timeout, ends, &mut judge).await;
    if matches!(end, SessionEnd::Broken(_)) && !session.is_answered() {
        judge(Heard::Gone);
    }
    carrying.end(end);
    UdpEnd::Over
}

/// An endpoint of the service and a socket to it, if the session is admitted.
async fn open(
    state: &mut ExchangeState,
    decision: Result<TcpService, TcpRefusal>,
    caller: Option<&Arc<str>>,
) -> Result<(Attempt, UpstreamDatagrams, Rc<Upstream>), TcpRefusal> {
    let TcpService { service, reason } = decision?;
    state.reason = reason.map(Into::into);
    let Some(service) = service else {
        let detail = "its backend is not known here";
        return Err(TcpRefusal::host(NO_ENDPOINT, detail.to_owned()));
    };
    state.service = Some(Rc::clone(&service));
    service.note_request();
    let chain = Rc::clone(&state.chain);
    let mut tried: Vec<String> = Vec::new();
    let failed = |state: &mut ExchangeState, code, detail| {
        state.outcome.insert(Outcome::UPSTREAM_FAILED);
        TcpRefusal::host(code, detail)
    };
    let mut last = None;
    while tried.len() < TRIES_MAX {
        let attempt = match pick(&chain, &service, &tried, None).await {
            Ok(attempt) => attempt,
            Err(none) => {
                let Refusal { code, detail, .. } = none.refusal;
                return Err(last.unwrap_or_else(|| failed(state, code, detail)));
            }
        };
        let endpoint = attempt.endpoint_name();
        if tried.iter().any(|known| **known == *endpoint) {
            break;
        }
        state.attempts += 1;
        state.endpoint = Some(Arc::clone(&endpoint));
        match attempt.open_datagrams(caller) {
            Ok(upstream) => return Ok((attempt, upstream, service)),
            Err(failure) => {
                last = Some(failed(state, "upstream.connect", failure.detail));
                tried.push(endpoint.to_string());
            }
        }
    }
    Err(last.unwrap_or_else(|| failed(state, NO_ENDPOINT, String::new())))
}

/// Returns when the client of a session has sent nothing for `quiet`.
pub(crate) async fn silent(session: &UdpSession, quiet: Duration) {
    loop {
        let patience = session.patience(quiet);
        if patience.is_zero() {
            return;
        }
        tokio::time::sleep(patience).await;
    }
}

/// Why a session ends.
enum SessionEnd {
    /// Neither side sent anything for too long.
    Silent,
    /// The endpoint is gone.
    Broken(io::Error),
    /// Its listener was removed.
    Removed,
    /// It is refused since a swap.
    Revoked(TcpRefusal),
}

/// Sends datagrams on until an end. `judge` hears of the first answer, or that there is none for long.
async fn carry(
    (session, upstream): (&UdpSession, &UpstreamDatagrams),
    idle: Duration,
    ends: ConnectionEnds<impl Fn() -> bool, impl Future<Output = TcpRefusal>>,
    judge: &mut impl FnMut(Heard),
) -> SessionEnd {
    let ConnectionEnds { shutdown, is_served, refused } = ends;
    let mut refused = pin!(refused);
    let mut last_stage = pin!(last_stage(shutdown));
    let (mut drains, mut quiet, mut is_judged) = (false, idle, false);
    let mut silence = pin!(tokio::time::sleep(quiet));
    let (mut unanswered, mut is_waited) = (pin!(tokio::time::sleep(SILENCE)), false);
    loop {
        tokio::select! {
            relayed = session.relay(upstream) => {
                if let Err(error) = relayed {
                    return SessionEnd::Broken(error);
                }
                if !is_judged && session.is_answered() {
                    is_judged = true;
                    judge(Heard::Answer);
                }
            }
            () = &mut unanswered, if !is_judged && !is_waited => {
                is_waited = true;
                judge(Heard::Nothing);
            }
            error = session.broken() => return SessionEnd::Broken(error),
            refusal = &mut refused => return SessionEnd::Revoked(refusal),
            () = &mut silence => {
                let patience = session.patience(quiet);
                if patience.is_zero() {
                    return SessionEnd::Silent;
                }
                silence.set(tokio::time::sleep(patience));
            }
            () = &mut last_stage, if !drains => {
                if !is_served() {
                    return SessionEnd::Removed;
                }
                drains = true;
                quiet = quiet.min(LAST_SILENCE);
                silence.set(tokio::time::sleep(session.patience(quiet)));
            }
        }
    }
}

/// Ends when the listener takes nothing new any more.
async fn last_stage(mut shutdown: Shutdown) {
    // What it returns locks the stage: held, it would stop the worker that sets the next one.
    drop(shutdown.wait_for(|stage| *stage == ListenerStage::End).await);
}

/// A session that is being carried; its record has what was carried, also when the process ends first.
struct CarriedSession<'a> {
    state: Option<Box<ExchangeState>>,
    session: &'a UdpSession,
}

impl CarriedSession<'_> {
    fn end(mut self, end: SessionEnd) {
        let Some(mut state) = self.take() else { return };
        let outcome = match end {
            SessionEnd::Revoked(refusal) => return revoke(state, refusal),
            // The usual end, as nobody says goodbye.
            SessionEnd::Silent => Outcome::default(),
            SessionEnd::Broken(error) => {
                let code =
                    if self.session.is_answered() { "upstream.reset" } else { "upstream.connect" };
                state.reason = Some(code.into());
                state.detail = Some(causes(&error));
                Outcome::UPSTREAM_FAILED
            }
            SessionEnd::Removed => {
                state.reason = Some("udp.removed".into());
                Outcome::RESET
            }
        };
        state.end(outcome);
    }

    fn take(&mut self) -> Option<Box<ExchangeState>> {
        let mut state = self.state.take()?;
        let (sent, received) = self.session.carried();
        state.bytes_in = state.bytes_in.saturating_add(sent);
        state.bytes_out = state.bytes_out.saturating_add(received);
        Some(state)
    }
}

impl Drop for CarriedSession<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.take() {
            state.end(Outcome::RESET);
        }
    }
}

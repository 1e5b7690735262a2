//! Why a connection that is carried unread is closed: what this proxy decided, and what the proxy of the service answered.

use crate::exchange::ExchangeState;
use crate::slot::Slot;
use crate::tcp_counts::TcpFull;
use http::HeaderMap;
use std::borrow::Cow;
use std::rc::Rc;
use tamis_exchange::Outcome;
use tamis_transport::{PeerAnswer, ReceivedAnswer, SpiffeId, TcpAnswer};

const FORBIDDEN: u16 = 403;
const BAD_GATEWAY: u16 = 502;
const UNAVAILABLE: u16 = 503;

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

    /// The host lets nobody pass there.
    pub(crate) fn forbidden(code: &'static str, detail: String) -> Self {
        Self { code: code.into(), status: FORBIDDEN, detail, slot: None }
    }

    /// The trust domain of its peer is not recognised any more.
    pub(crate) fn withdrawn(id: &SpiffeId) -> Self {
        Self::forbidden(WITHDRAWN, withdrawn(id))
    }

    /// Nothing decides there what members of other trust domains may do.
    pub(crate) fn unguarded() -> Self {
        Self::forbidden(UNGUARDED, UNGUARDED_RULE.to_owned())
    }

    /// No route of the listener matches the connection, or the session of datagrams.
    pub(crate) fn unrouted(datagrams: bool) -> Self {
        let detail = "no route of the listener matches it";
        Self::host(unrouted(datagrams), detail.to_owned())
    }

    /// The route has no backend with a share.
    pub(crate) fn backendless(datagrams: bool) -> Self {
        let detail = "its route has no backend with a weight above 0";
        Self::host(unrouted(datagrams), detail.to_owned())
    }

    /// A hook sends a session of datagrams elsewhere.
    pub(crate) fn not_connected() -> Self {
        let detail = "its hook sends it to a service, which only connections can go to";
        Self::host("upstream.no-endpoint", detail.to_owned())
    }

    /// There is no place for a session of datagrams.
    pub(crate) fn full_of_sessions(full: TcpFull, most: u32) -> Self {
        let detail = match full {
            TcpFull::Listener => format!("the listener has {most} sessions, its maximum"),
            TcpFull::Caller(share) => {
                format!("its client has {share} sessions, its share of the {most} of the listener")
            }
        };
        Self::host("udp.full", detail)
    }

    /// There is no place for it.
    pub(crate) fn full(full: TcpFull, most: u32) -> Self {
        let detail = match full {
            TcpFull::Listener => format!("the listener has {most} connections, its maximum"),
            TcpFull::Caller(share) => {
                format!(
                    "its caller has {share} connections, its share of the {most} of the listener"
                )
            }
        };
        Self::host("tcp.full", detail)
    }

    /// This proxy cannot carry it.
    pub(crate) fn host(code: &'static str, detail: String) -> Self {
        Self { code: code.into(), status: UNAVAILABLE, detail, slot: None }
    }

    /// What a proxy that asked is answered.
    pub(crate) fn answer(&self) -> TcpAnswer {
        if self.status == FORBIDDEN { TcpAnswer::Refused } else { TcpAnswer::Unavailable }
    }

    /// Ends the exchange with it.
    pub(crate) fn end(self, mut state: Box<ExchangeState>) {
        let outcome =
            if self.slot.is_some() { Outcome::REFUSED_BY_FILTER } else { Outcome::default() };
        self.note(&mut state);
        state.end(outcome);
    }

    fn note(self, state: &mut ExchangeState) {
        let Self { code, status, detail, slot } = self;
        state.reason = Some(code);
        state.detail = Some(detail);
        state.answered_by = slot;
        state.note_head(status, &HeaderMap::new());
    }
}

/// The code of what a peer asks whose trust domain is not recognised any more.
pub(crate) const WITHDRAWN: &str = "peer.withdrawn";

/// The code of what a member of another trust domain asks where nothing decides about it: to be recognised is not to be allowed.
pub(crate) const UNGUARDED: &str = "peer.unguarded";

/// The same in words.
pub(crate) const UNGUARDED_RULE: &str = "no filter in the phase authn or authz is asked about everything here, so nothing decides what members of other trust domains may do";

/// Why a peer is refused that is not recognised any more, in words.
pub(crate) fn withdrawn(id: &SpiffeId) -> String {
    format!(
        "the mesh does not recognise the trust domain of {id} any more, or withdrew an authority of it"
    )
}

fn unrouted(datagrams: bool) -> &'static str {
    if datagrams { "udp.unrouted" } else { "tcp.unrouted" }
}

/// Notes the refusal of the proxy of a service, and returns its outcome; `None`: the connection was opened, or nothing was
/// heard of it.
pub(crate) fn note_refusal(state: &mut ExchangeState, answer: &PeerAnswer) -> Option<Outcome> {
    let (code, status, detail, outcome) = match answer.received()? {
        ReceivedAnswer::Answered(TcpAnswer::Opened) => return None,
        ReceivedAnswer::Answered(TcpAnswer::Refused) => (
            "tcp.refused",
            FORBIDDEN,
            "the proxy of the service refuses it; its record says why",
            Outcome::default(),
        ),
        ReceivedAnswer::Answered(TcpAnswer::Unavailable) => (
            "tcp.unavailable",
            UNAVAILABLE,
            "the proxy of the service cannot open it; its record says why",
            Outcome::UPSTREAM_FAILED,
        ),
        ReceivedAnswer::Unclear => (
            "upstream.protocol",
            BAD_GATEWAY,
            "the proxy of the service sent an octet that is not an answer",
            Outcome::UPSTREAM_FAILED,
        ),
        ReceivedAnswer::Missing => (
            "tcp.unanswered",
            UNAVAILABLE,
            "the connection ended before the proxy of the service answered",
            Outcome::UPSTREAM_FAILED,
        ),
    };
    let refusal = TcpRefusal { code: code.into(), status, detail: detail.to_owned(), slot: None };
    refusal.note(state);
    Some(outcome)
}

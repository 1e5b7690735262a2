//! The exchange in progress: one value from the decoded head to the last byte of the response.

mod replay;
mod settle;

#[cfg(test)]
pub(crate) use replay::REPLAY_MAX_BYTES;
pub(crate) use replay::{Replay, too_large};

use crate::body_budget::{BodyRoom, BodySender};
use crate::calls::HookCalls;
use crate::chain::Chain;
use crate::connection::Connection;
use crate::encodings::Encodings;
use crate::grpc_web::GrpcWebCall;
use crate::heads::CopyMark;
use crate::mirror_places::MirrorPlaces;
use crate::shared::ProxyShared;
use crate::slot::{Slot, UndelayedExchange};
use http::{HeaderMap, HeaderValue};
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tamis_ambient::{Clock, Random};
use tamis_exchange::{Exchange, Outcome};
use tamis_upstream::{Attempt, Tunnel, Upstream};

/// One exchange, its chain, and everything that is reported at its end. Dropping it settles it: it is
/// counted, recorded, summarised, and no longer in flight at its endpoint; exactly once, however it ended.
pub(crate) struct ExchangeState {
    /// Heads and attributes, as hooks see them.
    pub(crate) exchange: Exchange,
    /// Its chain, from the generation in which it began.
    pub(crate) chain: Rc<Chain>,
    shared: Arc<ProxyShared>,
    /// The clock of the proxy.
    pub(crate) clock: Clock,
    pub(crate) started: Instant,
    start_unix_us: u64,
    /// The rule id of the last filter that named one, or of the refusal.
    pub(crate) reason: Option<Cow<'static, str>>,
    /// For the record: details of a refusal that the client does not receive.
    pub(crate) detail: Option<String>,
    /// The slot that answered, or ended it otherwise.
    pub(crate) answered_by: Option<Rc<Slot>>,
    /// The router's number of the rule that matched.
    pub(crate) rule: Option<u32>,
    /// The service that the router chose.
    pub(crate) service: Option<Rc<Upstream>>,
    /// The endpoint of the latest attempt.
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) attempts: u32,
    /// The endpoint is a proxy of the mesh whose identity was checked.
    pub(crate) next_is_of_mesh: bool,
    /// Total duration of its attempts.
    pub(crate) upstream_time: Duration,
    pub(crate) outcome: Outcome,
    /// The slots that were called.
    pub(crate) calls: HookCalls,
    pub(crate) retried_by: Retrier,
    /// `None`: it is not a call of gRPC-Web that this proxy translates.
    pub(crate) grpc_web: Option<GrpcWebCall>,
    /// Identifies the request at every hop; a tunnel of a connection has no id.
    pub(crate) request_id: Option<HeaderValue>,
    /// Whether shadows compare it; `None`: no slot with a shadow was called yet.
    pub(crate) sampled: Option<bool>,
    /// The client's body.
    pub(crate) body: Replay,
    /// Bytes that came through a tunnel; those of a request body are counted with it.
    pub(crate) bytes_in: u64,
    /// Bytes of the response body sent so far.
    pub(crate) bytes_out: u64,
    /// Status of the response; 0: no response was sent.
    status: u16,
    /// `None`: the response had none.
    grpc_status: Option<u16>,
    /// It ended regularly; otherwise the client went away.
    complete: bool,
    /// Until the response, or until it waits for a long call of a filter.
    undelayed: Option<UndelayedExchange>,
    /// Counted as in flight at its endpoint until the response has ended.
    held: Option<Attempt>,
}

/// Which proxy retries an exchange that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retrier {
    /// This proxy, if a filter decides so.
    ThisProxy,
    /// This proxy, unless there is no other endpoint: a sidecar in front of its one application.
    ThisProxyElsewhere,
    /// An earlier proxy of the mesh. If two proxies retry, a failing service receives the product of their
    /// attempts.
    Caller,
}

/// `unknown` (gRPC over HTTP/2, "Responses").
const GRPC_UNKNOWN: u16 = 2;

impl ExchangeState {
    /// A new exchange. Boxed, because it is large and moves through several functions with the response.
    ///
    /// The filters that keep values of exchanges do so from here until it is dropped, and values of its
    /// connection until that is dropped.
    pub(crate) fn new(
        exchange: Exchange,
        chain: &Rc<Chain>,
        shared: &Arc<ProxyShared>,
        connection: Option<&Connection>,
    ) -> Box<Self> {
        for state in &chain.keepers {
            state.begin(exchange.id, connection.map(|connection| connection.keep(state)));
        }
        let clock = shared.clock;
        Box::new(Self {
            calls: HookCalls::new(exchange.id, clock),
            exchange,
            chain: Rc::clone(chain),
            shared: Arc::clone(shared),
            clock,
            started: clock.now(),
            start_unix_us: clock.unix_us(),
            reason: None,
            detail: None,
            answered_by: None,
            rule: None,
            service: None,
            endpoint: None,
            attempts: 0,
            next_is_of_mesh: false,
            upstream_time: Duration::ZERO,
            outcome: Outcome::default(),
            retried_by: Retrier::ThisProxy,
            grpc_web: None,
            request_id: None,
            sampled: None,
            body: Replay::none(),
            bytes_in: 0,
            bytes_out: 0,
            status: 0,
            grpc_status: None,
            complete: false,
            undelayed: Some(chain.long_calls.undelayed()),
            held: None,
        })
    }

    /// The name of the rule that matched.
    pub(crate) fn rule_name(&self) -> Option<&str> {
        self.chain.rule_name(self.rule?).map(|name| &**name)
    }

    /// Whether a slot takes part in it.
    pub(crate) fn is_for(&self, slot: &Slot) -> bool {
        !slot.is_scoped() || slot.is_for(self.rule_name())
    }

    /// The random source of the proxy.
    pub(crate) fn random(&self) -> Random {
        self.shared.random
    }

    /// The time since the exchange began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.since(self.started)
    }

    /// The longest request body.
    pub(crate) fn max_body_bytes(&self) -> u64 {
        self.shared.max_body_bytes
    }

    /// What marks the copies that this proxy makes.
    pub(crate) fn copy_mark(&self) -> &CopyMark {
        &self.shared.copy_mark
    }

    /// The copies of requests that are in progress.
    pub(crate) fn mirrors(&self) -> &Arc<MirrorPlaces> {
        &self.shared.mirrors
    }

    /// Where bodies that filters see whole, or hold, take their memory from: what its client may have of it, also for what an
    /// upstream answers.
    pub(crate) fn body_room(&self) -> BodyRoom {
        BodyRoom::new(&self.shared.bodies, self.body_sender())
    }

    /// The encoders of the proxy.
    pub(crate) fn encodings(&self) -> &Arc<Encodings> {
        &self.shared.encodings
    }

    /// Who has the memory that is used for its bodies.
    pub(crate) fn body_sender(&self) -> BodySender {
        let attributes = &self.exchange.attributes;
        let mut sender = BodySender::new(attributes.find("source.address"));
        // A proxy of the mesh carries the requests of many.
        if attributes.find("peer.spiffe-id").is_some() {
            let list = self.exchange.headers.get("x-forwarded-for");
            sender = sender.behind(list.and_then(|list| list.to_str().ok()));
        }
        sender
    }

    /// It waits for a long call of a filter: pauses after such calls are for others.
    pub(crate) fn wait_for_long_call(&mut self) {
        self.undelayed = None;
    }

    /// Keeps the attempt whose response is being sent.
    pub(crate) fn hold(&mut self, attempt: Attempt) {
        self.held = Some(attempt);
    }

    /// Whether others wait for a connection such as the one that its response comes from.
    pub(crate) fn endpoint_is_crowded(&self) -> bool {
        self.held.as_ref().is_some_and(Attempt::is_crowded)
    }

    /// Whether its response comes over a connection of HTTP/2.
    pub(crate) fn comes_over_http2(&self) -> bool {
        self.held.as_ref().is_some_and(Attempt::is_http2)
    }

    /// The upstream's side of a tunnel, once its protocol changed.
    pub(crate) fn take_tunnel(&mut self) -> Option<Tunnel> {
        self.held.as_mut().and_then(Attempt::take_tunnel)
    }

    /// The upstream broke its protocol: the response ends here.
    pub(crate) fn broke_protocol(&mut self, detail: String) {
        self.outcome.insert(Outcome::UPSTREAM_FAILED);
        self.reason = Some("upstream.protocol".into());
        self.detail = Some(detail);
    }

    /// The head that is sent.
    pub(crate) fn note_head(&mut self, status: u16, headers: &HeaderMap) {
        self.status = status;
        self.undelayed = None;
        self.note_trailers(headers);
    }

    /// `grpc-status`, in head or trailers.
    pub(crate) fn note_trailers(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            let status = status.to_str().ok().and_then(|text| text.parse().ok());
            self.grpc_status = Some(status.unwrap_or(GRPC_UNKNOWN));
        }
    }

    /// The exchange ended with this outcome.
    pub(crate) fn end(mut self: Box<Self>, outcome: Outcome) {
        self.outcome.insert(outcome);
        self.complete = true;
    }
}

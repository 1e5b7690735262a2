//! The end of an exchange: the summary for telemetry filters, the access record for people.

use crate::course::Course;
use crate::generation::Direction;
use crate::local::Local;
use crate::shared::Shared;
use crate::worker::ID_BITS;
use http::HeaderMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tamis_exchange::{NameKind, Outcome, Summary};
use tamis_observe::AccessRecord;

/// Tells, exactly once, how an exchange ended; dropped before that, the client went away.
pub(crate) struct Settle {
    local: Rc<Local>,
    shared: Arc<Shared>,
    course: Course,
    told: bool,
    status: u16,
    grpc_status: u16,
    /// Octets that came through a tunnel; those of a request body are counted with it.
    pub(crate) bytes_in: u64,
    /// Octets of the response body sent so far.
    pub(crate) bytes_out: u64,
    body: Option<crate::replay::Replay>,
}

const NO_GRPC: u16 = u16::MAX;

impl Settle {
    pub(crate) fn new(
        local: &Rc<Local>,
        shared: &Arc<Shared>,
        course: Course,
        body: Option<crate::replay::Replay>,
    ) -> Box<Self> {
        // Boxed: it goes with the response through several hands, and is large.
        Box::new(Self {
            local: Rc::clone(local),
            shared: Arc::clone(shared),
            course,
            told: false,
            status: 0,
            grpc_status: NO_GRPC,
            bytes_in: 0,
            bytes_out: 0,
            body,
        })
    }

    /// The exchange while it is under way.
    pub(crate) fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    /// The rest of the response is none: what the upstream sent broke its protocol.
    pub(crate) fn broke_protocol(&mut self, detail: String) {
        self.course.outcome.insert(Outcome::UPSTREAM_FAILED);
        self.course.reason = Some("upstream.protocol".into());
        self.course.detail = Some(detail);
    }

    /// The head that is sent.
    pub(crate) fn head(&mut self, status: u16, headers: &HeaderMap) {
        self.status = status;
        self.trailers(headers);
    }

    /// `grpc-status`, wherever it comes.
    pub(crate) fn trailers(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            let status = status.to_str().ok().and_then(|text| text.parse().ok());
            // An unreadable status is `unknown` (gRPC over HTTP/2, "Responses").
            self.grpc_status = status.unwrap_or(2);
        }
    }

    /// It ended like this.
    pub(crate) fn end(mut self: Box<Self>, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let course = &mut self.course;
        course.outcome.insert(outcome);
        let local = &self.local;
        let duration = course.started.elapsed();
        let read = self.body.as_ref().map_or(0, crate::replay::Replay::bytes_in);
        let bytes_in = self.bytes_in + read;
        let service = course.service.and_then(|index| local.upstreams.get(index));
        let service = service.map(|upstream| upstream.name());
        if local.has_telemetry(course.chain) {
            let telemetry = local.chain(course.chain).map(|chain| chain.telemetry.as_slice());
            telemetry.unwrap_or_default().iter().for_each(|index| course.asked.note(*index));
            let peer = course.exchange.attributes.find("peer.spiffe-id");
            let summary = Summary {
                exchange: course.exchange.id,
                start_unix_us: course.start_unix_us,
                duration_us: micros(duration),
                upstream_us: micros(course.upstream),
                status: self.status,
                grpc_status: self.grpc_status,
                outcome: course.outcome,
                attempts: course.attempts,
                bytes_in,
                bytes_out: self.bytes_out,
                rule: local.intern(NameKind::Rule, course.rule_name(local)),
                upstream: local.intern(NameKind::Upstream, service),
                endpoint: local.intern(NameKind::Endpoint, course.endpoint.as_deref()),
                peer: local.intern(NameKind::Identity, peer),
                reason: local.intern(NameKind::Reason, course.reason.as_deref()),
            };
            local.tell(course.chain, summary);
        }
        course.asked.settle(local, self.status);
        let refused =
            course.outcome.contains(Outcome::REFUSED_BY_FILTER) || course.detail.is_some();
        self.count(duration, refused);
        let course = &self.course;
        if !self.shared.recorder.wants(refused || course.outcome.contains(Outcome::UPSTREAM_FAILED))
        {
            return;
        }
        let filter = course.answered_by.and_then(|index| local.attached(index));
        self.shared.recorder.record(&AccessRecord {
            time_unix_us: course.start_unix_us,
            exchange: course.exchange.id,
            trace: course.trace_id(),
            request_id: course.request_id.as_ref().and_then(|id| id.to_str().ok()),
            generation: local.generation.number,
            listener: course.exchange.attributes.find("listener.name"),
            peer: course.exchange.attributes.find("peer.spiffe-id"),
            source: course.exchange.attributes.find("source.address"),
            method: course.exchange.method.as_str(),
            scheme: course.exchange.scheme.as_str(),
            authority: &course.exchange.authority,
            path: &course.exchange.path,
            status: self.status,
            grpc_status: (self.grpc_status != NO_GRPC).then_some(self.grpc_status),
            reason: course.reason.as_deref(),
            detail: course.detail.as_deref(),
            filter: filter.map(|attached| attached.name.as_str()),
            route: course.rule_name(local),
            service,
            endpoint: course.endpoint.as_deref(),
            attempts: course.attempts,
            duration_us: micros(duration),
            upstream_us: micros(course.upstream),
            bytes_in,
            bytes_out: self.bytes_out,
            outcome: outcome_words(course.outcome),
        });
    }
}

impl Settle {
    fn count(&self, duration: Duration, refused: bool) {
        let (local, course) = (&self.local, &self.course);
        // The listener of a chain; those that a test makes up have none.
        let mut listeners = local.generation.listeners.iter();
        let listener = listeners.find(|listener| listener.chain == course.chain);
        let direction = listener.map_or(Direction::Gateway, |listener| listener.direction);
        let worker = course.exchange.id >> ID_BITS;
        self.shared.traffic.ended(worker, direction, self.status, duration);
        if refused && let Some(reason) = course.reason.as_deref() {
            self.shared.traffic.refused(direction, reason);
        }
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        self.tell(Outcome::CLIENT_GONE);
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn outcome_words(outcome: Outcome) -> Vec<&'static str> {
    [
        (Outcome::CLIENT_GONE, "client-gone"),
        (Outcome::UPSTREAM_FAILED, "upstream-failed"),
        (Outcome::TIMED_OUT, "timed-out"),
        (Outcome::REFUSED_BY_FILTER, "refused-by-filter"),
        (Outcome::RETRIED, "retried"),
        (Outcome::HEDGED, "hedged"),
        (Outcome::RESET, "reset"),
    ]
    .into_iter()
    .filter_map(|(bit, word)| outcome.contains(bit).then_some(word))
    .collect()
}

//! A request in progress to one endpoint: what is counted of it, from its beginning to the end of its response.

use crate::ask::BreakerQuestion;
use crate::circuit::admission::Ticket;
use crate::config::Protocol;
use crate::endpoint_state::EndpointState;
use crate::endpoints::Endpoint;
use crate::pool::Pool;
use crate::pool::http1::Tunnel;
use crate::pool::http2;
use crate::service_state::ServiceState;
use crate::window::Sample;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Counted as in flight until dropped. Dropped without a record it was cancelled, which counts neither as
/// success nor as failure.
pub struct Attempt {
    service: Arc<ServiceState>,
    endpoint: Arc<EndpointState>,
    pub(crate) pool: Rc<Pool>,
    ticket: Option<Ticket>,
    /// It counts among the requests of the service.
    is_request: bool,
    began: Instant,
    slow_call: Duration,
    /// Its stream over HTTP/2, until it ends.
    pub(crate) stream: Option<http2::Stream>,
    /// Its connection, once the protocol changed.
    pub(crate) tunnel: Option<Tunnel>,
}

/// How an attempt ended, for the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// With a response that is not a failure.
    Success,
    /// With a failure.
    Failure,
    /// By a timeout.
    Timeout,
}

/// Says whether requests wait for a connection of an endpoint.
#[derive(Clone)]
pub struct EndpointCrowd(Arc<EndpointState>);

impl std::fmt::Debug for EndpointCrowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointCrowd").field("endpoint", &self.0.name).finish_non_exhaustive()
    }
}

impl EndpointCrowd {
    /// Whether requests wait because every connection of the endpoint is in use.
    pub fn is_there(&self) -> bool {
        self.0.queue.waiting() > 0
    }
}

impl Attempt {
    pub(crate) fn new(
        service: &Arc<ServiceState>,
        endpoint: &Endpoint,
        ticket: Ticket,
        slow_call: Duration,
    ) -> Self {
        service.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut attempt = Self::of_copy(service, endpoint, slow_call);
        (attempt.is_request, attempt.ticket) = (true, Some(ticket));
        attempt
    }

    /// That of a copy: none of the requests that the service may have, and nothing that its circuit learns from.
    pub(crate) fn of_copy(
        service: &Arc<ServiceState>,
        endpoint: &Endpoint,
        slow_call: Duration,
    ) -> Self {
        endpoint.state.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            service: Arc::clone(service),
            endpoint: Arc::clone(&endpoint.state),
            pool: Rc::clone(&endpoint.pool),
            ticket: None,
            is_request: false,
            began: service.clock.now(),
            slow_call,
            stream: None,
            tunnel: None,
        }
    }

    /// The address of the endpoint.
    pub fn endpoint(&self) -> &str {
        &self.endpoint.name
    }

    /// The same, to keep.
    pub fn endpoint_name(&self) -> Arc<str> {
        Arc::clone(&self.endpoint.name)
    }

    /// Whether requests without upgrade use HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.pool.protocol == Protocol::Http2
    }

    /// Whether it uses TLS.
    pub fn is_secure(&self) -> bool {
        self.pool.is_secure()
    }

    /// Whether requests wait because every connection of the endpoint is in use.
    pub fn is_crowded(&self) -> bool {
        self.endpoint.queue.waiting() > 0
    }

    /// The same question, to be asked later.
    pub fn crowd(&self) -> EndpointCrowd {
        EndpointCrowd(Arc::clone(&self.endpoint))
    }

    /// Whether it leads to a proxy of the mesh, whose identity is checked.
    pub fn is_of_mesh(&self) -> bool {
        self.pool.is_of_mesh()
    }

    /// The connection, once its protocol changed.
    pub fn take_tunnel(&mut self) -> Option<Tunnel> {
        self.tunnel.take()
    }

    /// Records that another attempt was faster: this endpoint took at least as long as until now.
    pub fn overtaken(self) {
        self.endpoint.overtaken(self.service.clock.since(self.began));
    }

    /// Records how it ended; only the first record counts. Returns a question when the breaker filter
    /// should decide.
    pub fn record(&mut self, outcome: AttemptOutcome) -> Option<BreakerQuestion> {
        let ticket = self.ticket.take()?;
        let latency = self.service.clock.since(self.began);
        let sample = Sample {
            failed: outcome != AttemptOutcome::Success,
            timed_out: outcome == AttemptOutcome::Timeout,
            slow: latency > self.slow_call,
        };
        let look = self.endpoint.record(ticket, sample, latency);
        look.then(|| BreakerQuestion::new(&self.service, &self.endpoint))
    }

    /// Nothing was heard of it for long, neither an answer nor that the endpoint is gone: who sends datagrams may wait for none.
    /// A probe has succeeded then, so that no silence keeps the endpoint out of service; of others nothing is recorded yet.
    /// Returns a question when the breaker filter should decide.
    pub fn record_silence(&mut self) -> Option<BreakerQuestion> {
        let ticket = self.ticket.take_if(|ticket| ticket.is_probe())?;
        let look = self.endpoint.record_silence(ticket);
        look.then(|| BreakerQuestion::new(&self.service, &self.endpoint))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_request {
            self.service.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(ticket) = self.ticket.take() {
            self.endpoint.cancel(ticket);
        }
    }
}

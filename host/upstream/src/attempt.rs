//! A request under way to one endpoint.

use crate::ask::Ask;
use crate::circuit::Ticket;
use crate::config::Protocol;
use crate::endpoints::Endpoint;
use crate::place::{Place, Placed};
use crate::table::{EndpointState, ServiceState};
use crate::window::Sample;
use crate::{http1, http2};
use http::{Request, Response};
use hyper::body::Incoming;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tamis_exchange::{Body, Cause};
use tokio::io::{AsyncRead, AsyncWrite};

/// Counted in flight until dropped. Dropped without a record it was cancelled: that counts neither way.
pub struct Attempt {
    service: Arc<ServiceState>,
    endpoint: Arc<EndpointState>,
    pool: Rc<crate::pool::Pool>,
    ticket: Option<Ticket>,
    began: Instant,
    slow_call: Duration,
    stream: Option<http2::Stream>,
}

/// How an attempt ended, for the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// With a response that is no failure.
    Success,
    /// With a failure.
    Failure,
    /// Not in time.
    Timeout,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct SendFailure {
    /// For the retry filter.
    pub cause: Cause,
    /// For people.
    pub detail: String,
    /// Nothing of the request was sent, or the upstream says that it did not look at it: sending it again is the first
    /// time, whatever its method.
    pub untouched: bool,
    /// The upstream answered, and what it sent is no response. Another attempt would get the same.
    pub protocol: bool,
}

impl SendFailure {
    pub(crate) fn new(cause: Cause, detail: String) -> Self {
        Self { cause, detail, untouched: false, protocol: false }
    }

    pub(crate) fn untouched(cause: Cause, detail: String) -> Self {
        Self { cause, detail, untouched: true, protocol: false }
    }

    pub(crate) fn protocol(detail: String) -> Self {
        Self { cause: Cause::Other, detail, untouched: false, protocol: true }
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
        endpoint.state.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            service: Arc::clone(service),
            endpoint: Arc::clone(&endpoint.state),
            pool: Rc::clone(&endpoint.pool),
            ticket: Some(ticket),
            began: service.clock.now(),
            slow_call,
            stream: None,
        }
    }

    /// Where it goes.
    pub fn endpoint(&self) -> &str {
        &self.endpoint.name
    }

    /// Whether requests without upgrade go over HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.pool.protocol == Protocol::Http2
    }

    /// Whether it goes over TLS.
    pub fn is_secure(&self) -> bool {
        self.pool.is_secure()
    }

    /// Sends the request, whose target is absolute, and waits for the response head.
    ///
    /// With `upgrade` it goes over an HTTP/1.1 connection, which after a 101 is its own; take it with
    /// `hyper::upgrade::on`.
    /// Keep the attempt until the response body has ended.
    ///
    /// A connection that was idle may turn out to be closed when the request is already on it. A request without a
    /// body and of an idempotent method then goes once more, over another connection, if `again` makes it anew.
    ///
    /// # Errors
    /// Says why, in the retry filter's terms.
    pub async fn send(
        &mut self,
        request: Request<Body>,
        upgrade: bool,
        again: impl FnOnce() -> Option<Request<Body>>,
    ) -> Result<Response<Incoming>, SendFailure> {
        match self.pool.protocol {
            Protocol::Http2 if !upgrade => {
                // Of another size than the other arm: boxed, so that HTTP/1 need not carry its room.
                let (response, stream) = Box::pin(http2::send(&self.pool, request)).await?;
                self.stream = Some(stream);
                Ok(response)
            }
            Protocol::Http1 | Protocol::Http2 => http1::send(&self.pool, request, again).await,
        }
    }

    /// Opens a connection of its own for bytes that are no HTTP; it keeps its place among the endpoint's connections
    /// until it is dropped.
    ///
    /// # Errors
    /// Says why there is none; nothing was sent.
    pub async fn connect(
        &mut self,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, SendFailure> {
        let place = Place::take(&self.pool).ok_or_else(|| {
            let detail = format!("{} has all its connections in use", self.pool.address);
            SendFailure::untouched(Cause::Other, detail)
        })?;
        self.pool.open_raw().await.map(|stream| Placed::new(stream, place))
    }

    /// Another attempt answered while this one had not: says about its endpoint that it is no faster than this.
    pub fn overtaken(self) {
        self.endpoint.overtaken(self.service.clock.since(self.began));
    }

    /// How it ended; only the first counts. Gives a question when the breaker filter should look.
    pub fn record(&mut self, outcome: AttemptOutcome) -> Option<Ask> {
        let ticket = self.ticket.take()?;
        let latency = self.service.clock.since(self.began);
        let sample = Sample {
            failed: outcome != AttemptOutcome::Success,
            timed_out: outcome == AttemptOutcome::Timeout,
            slow: latency > self.slow_call,
        };
        let look = self.endpoint.record(ticket, sample, latency);
        look.then(|| Ask::new(&self.service, &self.endpoint))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.service.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(ticket) = self.ticket.take() {
            self.endpoint.cancel(ticket);
        }
    }
}

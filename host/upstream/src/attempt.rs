//! A request in progress to one endpoint.

use crate::ask::BreakerQuestion;
use crate::circuit::Ticket;
use crate::config::Protocol;
use crate::endpoints::Endpoint;
use crate::pool::Pool;
use crate::pool::http1::{self, Tunnel};
use crate::pool::http2;
use crate::pool::place::{ConnectionPlace, PlacedStream};
use crate::send::{SendFailure, UpstreamRequest};
use crate::table::{EndpointState, ServiceState};
use crate::window::Sample;
use http::{HeaderMap, Response, StatusCode};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tamis_exchange::{Body, Cause};
use tokio::io::{AsyncRead, AsyncWrite};

/// Counted as in flight until dropped. Dropped without a record it was cancelled, which counts neither as
/// success nor as failure.
pub struct Attempt {
    service: Arc<ServiceState>,
    endpoint: Arc<EndpointState>,
    pool: Rc<Pool>,
    ticket: Option<Ticket>,
    began: Instant,
    slow_call: Duration,
    stream: Option<http2::Stream>,
    tunnel: Option<Tunnel>,
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

    /// Sends the request and waits for the response head.
    ///
    /// With `upgrade` it uses an HTTP/1.1 connection, which after a 101 belongs to it; take it with
    /// [`Attempt::take_tunnel`]. Keep the attempt until the response body has ended.
    ///
    /// An idle connection may turn out to be closed when the request was already written to it. A request
    /// without a body and with an idempotent method is then sent once more, over another connection, if
    /// `again` can make it.
    ///
    /// # Errors
    /// The reason, in the terms of the retry filter.
    pub async fn send(
        &mut self,
        request: impl Into<UpstreamRequest>,
        upgrade: bool,
        again: impl FnOnce() -> Option<UpstreamRequest>,
    ) -> Result<Response<Body>, SendFailure> {
        self.send_and_note(request, upgrade, again, &|_status, _headers| {}).await
    }

    /// The same, and passes each interim response (1xx) that comes before the head to `interim`.
    ///
    /// # Errors
    /// As [`Attempt::send`].
    pub async fn send_and_note(
        &mut self,
        request: impl Into<UpstreamRequest>,
        upgrade: bool,
        again: impl FnOnce() -> Option<UpstreamRequest>,
        interim: &dyn Fn(StatusCode, HeaderMap),
    ) -> Result<Response<Body>, SendFailure> {
        match (self.pool.protocol, request.into()) {
            (Protocol::Tcp(_), _) => {
                let detail =
                    format!("{} is a tcp port, to which no request is sent", self.pool.address);
                Err(SendFailure::untouched(Cause::ConnectFailure, detail))
            }
            (Protocol::Http2, UpstreamRequest::Parts(request)) if !upgrade => {
                // Its future has another size than the other arm: boxed, so that HTTP/1 does not need the
                // room for it.
                let sent = Box::pin(http2::send(&self.pool, request, interim));
                let (response, stream) = sent.await?;
                self.stream = Some(stream);
                Ok(response)
            }
            (Protocol::Http1 | Protocol::Http2, request) => {
                let sent = http1::send(&self.pool, request.written(), again, interim);
                let (response, tunnel) = sent.await?;
                self.tunnel = tunnel;
                Ok(response)
            }
        }
    }

    /// The connection, once its protocol changed.
    pub fn take_tunnel(&mut self) -> Option<Tunnel> {
        self.tunnel.take()
    }

    /// Opens a connection of its own for bytes that are not HTTP; it keeps its place among the endpoint's
    /// connections until it is dropped.
    ///
    /// # Errors
    /// The reason; nothing was sent.
    pub async fn connect(
        &mut self,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, SendFailure> {
        let place = ConnectionPlace::take(&self.pool).ok_or_else(|| {
            let detail = format!("{} has all its connections in use", self.pool.address);
            SendFailure::untouched(Cause::Other, detail)
        })?;
        self.pool.open_raw().await.map(|stream| PlacedStream::new(stream, place))
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

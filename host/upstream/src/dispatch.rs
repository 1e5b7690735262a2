//! Sends the request of an attempt, over the protocol of its endpoint.

use crate::attempt::Attempt;
use crate::config::Protocol;
use crate::pool::place::{ConnectionPlace, PlacedStream, TunnelPlace};
use crate::pool::{http1, http2};
use crate::send::{SendFailure, UpstreamRequest};
use http::{HeaderMap, Response, StatusCode};
use std::sync::Arc;
use tamis_exchange::{Body, Cause};
use tamis_transport::{AnsweredStream, PeerAnswer};
use tokio::io::{AsyncRead, AsyncWrite};

impl Attempt {
    /// Sends the request and waits for the response head.
    ///
    /// With `upgrade` it uses an HTTP/1.1 connection, which after a 101 belongs to it; take it with
    /// [`Attempt::take_tunnel`]. Keep the attempt until the response body has ended.
    ///
    /// An idle connection may turn out to be closed when the request was already written to it. A request
    /// with an idempotent method is then sent once more, over another connection, if `again` can make it: if its
    /// body can still be read from its first octet.
    ///
    /// # Errors
    /// The reason, in the terms of the retry filter.
    pub async fn send(
        &mut self,
        request: impl Into<UpstreamRequest>,
        upgrade: bool,
        again: impl FnOnce() -> Option<UpstreamRequest>,
    ) -> Result<Response<Body>, SendFailure> {
        self.send_passing_interim(request, upgrade, again, &|_status, _headers| {}).await
    }

    /// The same, and passes each interim response (1xx) that comes before the head to `interim`.
    ///
    /// # Errors
    /// As [`Attempt::send`].
    pub async fn send_passing_interim(
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
                let place = if upgrade { Some(TunnelPlace::take(&self.pool)?) } else { None };
                let sent = http1::send(&self.pool, (request.written(), place), again, interim);
                let (response, tunnel) = sent.await?;
                self.tunnel = tunnel;
                Ok(response)
            }
        }
    }

    /// Opens a connection of its own for bytes that are not HTTP; it keeps its place among the endpoint's
    /// connections until it is dropped, in the share of its caller if that is known. The proxy of a `tcp` port answers with the first octets that are read.
    ///
    /// # Errors
    /// The reason; nothing was sent.
    pub async fn connect(
        &mut self,
        caller: Option<&Arc<str>>,
    ) -> Result<(impl AsyncRead + AsyncWrite + Unpin + Send + use<>, PeerAnswer), SendFailure> {
        // A `tcp` port has no requests that would need places.
        let tunnel = match self.pool.protocol {
            Protocol::Tcp(_) => None,
            Protocol::Http1 | Protocol::Http2 => Some(TunnelPlace::take(&self.pool)?),
        };
        let place = ConnectionPlace::take_for(&self.pool, caller)?;
        let stream = self.pool.open_raw().await?;
        let answer = if self.pool.answers() { PeerAnswer::default() } else { PeerAnswer::opened() };
        let stream =
            AnsweredStream::new(PlacedStream::new(stream, place).of_tunnel(tunnel), answer.clone());
        Ok((stream, answer))
    }
}

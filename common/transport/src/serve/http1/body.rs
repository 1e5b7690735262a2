//! The body of a request, whatever the version it came in, and what belongs to its exchange alone.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error as ThisError;

use super::ExchangeSide;
use crate::gate::GateRefusal;

/// Why the body of a request ended early.
#[derive(Debug, ThisError)]
pub enum RequestBodyError {
    /// It breaks a rule of HTTP/1, or stalled.
    #[error("the body was refused ({})", .0.code())]
    Refused(GateRefusal),
    /// The connection ended or broke before the body was complete.
    #[error("the connection ended before the body was complete")]
    Broken(#[source] std::io::Error),
    /// The exchange is over: its response was sent.
    #[error("the exchange of this body is over")]
    Over,
    /// The HTTP/2 stream failed.
    #[error("the stream of the body failed")]
    Http2(#[source] hyper::Error),
}

/// A request body. Polling is the back-pressure: what nobody polls is not read.
#[derive(Default)]
pub struct RequestBody(Source);

#[derive(Default)]
enum Source {
    #[default]
    Empty,
    Http1(Http1Body),
    Http2(Incoming),
}

/// The exchange of a connection that reads one request at a time.
pub(super) struct Http1Body {
    pub(super) side: Rc<dyn ExchangeSide>,
    /// Its number on the connection: a body that is kept longer reads nothing of the next request.
    pub(super) exchange: u64,
}

impl RequestBody {
    pub(super) fn http1(side: Rc<dyn ExchangeSide>, exchange: u64) -> Self {
        Self(Source::Http1(Http1Body { side, exchange }))
    }

    pub(super) fn http1_side(&self) -> Option<&Http1Body> {
        match &self.0 {
            Source::Http1(body) => Some(body),
            Source::Empty | Source::Http2(_) => None,
        }
    }

    /// The handle for interim responses to this request.
    #[must_use]
    pub fn interim(&self) -> InterimSender {
        let http1 = self.http1_side();
        InterimSender(http1.map(|body| (Rc::clone(&body.side), body.exchange)))
    }

    /// The body of an HTTP/2 stream, which may move between threads; itself where it is another one.
    ///
    /// # Errors
    /// The body itself, when it belongs to an HTTP/1 connection.
    pub fn into_http2(self) -> Result<Incoming, Self> {
        match self.0 {
            Source::Http2(incoming) => Ok(incoming),
            source @ (Source::Empty | Source::Http1(_)) => Err(Self(source)),
        }
    }
}

impl From<Incoming> for RequestBody {
    fn from(incoming: Incoming) -> Self {
        Self(Source::Http2(incoming))
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::Empty => "RequestBody::Empty",
            Source::Http1(_) => "RequestBody::Http1",
            Source::Http2(_) => "RequestBody::Http2",
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match &mut self.get_mut().0 {
            Source::Empty => Poll::Ready(None),
            Source::Http1(body) => body.side.poll_frame(body.exchange, cx),
            Source::Http2(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(RequestBodyError::Http2))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Empty => true,
            Source::Http1(body) => body.side.content_left(body.exchange) == Some(0),
            Source::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Empty => SizeHint::with_exact(0),
            Source::Http1(body) => {
                let left = body.side.content_left(body.exchange);
                left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Source::Http2(incoming) => incoming.size_hint(),
        }
    }
}

/// Sends interim responses (1xx) to the client of a request. Over HTTP/2, to clients before HTTP/1.1, and once the final
/// response has begun, it sends nothing: an interim response may always be left out (RFC 9110 §15.2).
#[derive(Clone, Default)]
pub struct InterimSender(Option<(Rc<dyn ExchangeSide>, u64)>);

impl InterimSender {
    /// Sends one; the connection writes it when its task runs next. `100` and `101` have a meaning of their own and are
    /// not sent.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        if let Some((side, exchange)) = &self.0 {
            side.send_interim(*exchange, status, headers);
        }
    }

    /// Whether the client can receive any.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.as_ref().is_some_and(|(side, exchange)| side.takes_interim(*exchange))
    }
}

impl fmt::Debug for InterimSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InterimSender").field(&self.0.is_some()).finish()
    }
}

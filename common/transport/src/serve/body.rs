//! The body of a request, whatever the version it came in, and what belongs to its exchange alone.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::http2::StreamBody;
use super::http3::StreamBody as Http3Body;
use super::side::{ExchangeSide, RequestBodyError};
use super::stream_side::StreamSide;
use super::tunnel::ServerTunnel;

/// A request body. Polling is the back-pressure: what nobody polls is not read.
#[derive(Default)]
pub struct RequestBody(Source);

#[derive(Default)]
enum Source {
    #[default]
    Empty,
    Http1(Http1Body),
    Http2(StreamBody),
    Http3(Box<Http3Body>),
}

/// The exchange of a connection that reads one request at a time.
struct Http1Body {
    side: Rc<dyn ExchangeSide>,
    /// Its number on the connection: a body that is kept longer reads nothing of the next request.
    exchange: u64,
}

impl RequestBody {
    pub(super) fn http1(side: Rc<dyn ExchangeSide>, exchange: u64) -> Self {
        Self(Source::Http1(Http1Body { side, exchange }))
    }

    pub(super) fn http2(body: StreamBody) -> Self {
        Self(Source::Http2(body))
    }

    pub(super) fn http3(body: Http3Body) -> Self {
        Self(Source::Http3(Box::new(body)))
    }

    /// The tunnel that the request asks for, if it asks for one; once.
    pub(super) fn tunnel(&self) -> Option<oneshot::Receiver<ServerTunnel>> {
        match &self.0 {
            Source::Empty => None,
            Source::Http1(body) => body.side.tunnel(body.exchange),
            Source::Http2(body) => body.side().tunnel(),
            Source::Http3(body) => body.side().tunnel(),
        }
    }

    /// The handle for interim responses to this request.
    #[must_use]
    pub fn interim(&self) -> InterimSender {
        InterimSender(match &self.0 {
            Source::Empty => InterimTarget::Nowhere,
            Source::Http1(body) => InterimTarget::Http1(Rc::clone(&body.side), body.exchange),
            Source::Http2(body) => InterimTarget::Stream(Rc::clone(body.side())),
            Source::Http3(body) => InterimTarget::Stream(Rc::clone(body.side())),
        })
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::Empty => "RequestBody::Empty",
            Source::Http1(_) => "RequestBody::Http1",
            Source::Http2(_) => "RequestBody::Http2",
            Source::Http3(_) => "RequestBody::Http3",
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
            Source::Http2(body) => {
                body.poll_frame(cx).map(|frame| frame.map(|it| it.map_err(RequestBodyError::Http2)))
            }
            Source::Http3(body) => {
                body.poll_frame(cx).map(|frame| frame.map(|it| it.map_err(RequestBodyError::Http3)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Empty => true,
            Source::Http1(body) => body.side.content_left(body.exchange) == Some(0),
            Source::Http2(body) => body.is_end_stream(),
            Source::Http3(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.0 {
            Source::Empty => Some(0),
            Source::Http1(body) => body.side.content_left(body.exchange),
            Source::Http2(body) => body.left(),
            Source::Http3(body) => body.left(),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Sends interim responses (1xx) to the client of a request. To clients before HTTP/1.1, and once the final response has
/// begun, it sends nothing: an interim response may always be left out (RFC 9110 §15.2).
#[derive(Clone, Default)]
pub struct InterimSender(InterimTarget);

#[derive(Clone, Default)]
enum InterimTarget {
    #[default]
    Nowhere,
    Http1(Rc<dyn ExchangeSide>, u64),
    Stream(Rc<StreamSide>),
}

impl InterimSender {
    /// Sends one; the connection writes it when its task runs next. `100` and `101` have a meaning of their own and are
    /// not sent.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        let own = [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS].contains(&status);
        if !status.is_informational() || own {
            return;
        }
        match &self.0 {
            InterimTarget::Nowhere => {}
            InterimTarget::Http1(side, exchange) => side.send_interim(*exchange, status, headers),
            InterimTarget::Stream(side) => side.send_interim(status, headers),
        }
    }

    /// Whether the client can receive any.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match &self.0 {
            InterimTarget::Nowhere => false,
            InterimTarget::Http1(side, exchange) => side.takes_interim(*exchange),
            InterimTarget::Stream(side) => side.takes_interim(),
        }
    }
}

impl fmt::Debug for InterimSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            InterimTarget::Nowhere => "InterimSender::Nowhere",
            InterimTarget::Http1(..) => "InterimSender::Http1",
            InterimTarget::Stream(_) => "InterimSender::Stream",
        })
    }
}

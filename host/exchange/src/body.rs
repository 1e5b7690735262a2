//! A streaming message body: what the client, a filter or an upstream sends.

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer's connection or stream failed.
    #[error("the peer ended the body early")]
    Peer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The body exceeds the limit.
    #[error("the body is longer than {limit_bytes} bytes")]
    TooLarge {
        /// The limit in force.
        limit_bytes: u64,
    },
    /// Nothing came for longer than the host waits.
    #[error("nothing of the body came for {} s", limit.as_secs())]
    Stalled {
        /// The limit in force.
        limit: Duration,
    },
    /// A filter or the host ended the exchange.
    #[error("the exchange was ended: {0}")]
    Ended(&'static str),
    /// Any other source of the body failed.
    #[error("the source of the body failed")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl BodyError {
    /// The peer's connection or stream failed for this reason.
    pub fn peer(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Peer(source.into())
    }
}

/// A streaming body. Polling is the back-pressure: nothing is read ahead.
pub enum Body {
    /// No bytes, no trailers.
    Empty,
    /// All bytes at hand; `None` once they were taken.
    Full(Option<Bytes>),
    /// Anything else: what arrives on a connection, or a limited, replayed or filtered body.
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError>>>),
}

impl Body {
    /// A body with this content.
    pub fn full(octets: impl Into<Bytes>) -> Self {
        let octets = octets.into();
        if octets.is_empty() { Self::Empty } else { Self::Full(Some(octets)) }
    }

    /// A body of the frames that are sent to it; it ends when every sender is dropped. A sender waits while `frames`
    /// frames are not read yet, and fails when the body was dropped.
    #[must_use]
    pub fn channel(frames: usize) -> (FrameSender, Self) {
        let (send, body) = ChannelBody::new(frames);
        (send, Self::stream(body))
    }

    /// Boxes any other body.
    pub fn stream(inner: impl HttpBody<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Self::Stream(Box::pin(inner))
    }
}

/// Sends the frames of a [`Body::channel`].
pub type FrameSender = mpsc::Sender<Result<Frame<Bytes>, BodyError>>;

/// The frames that are sent to it, for connections that may move between threads, as a [`Body`] may not.
#[derive(Debug)]
pub struct ChannelBody(mpsc::Receiver<Result<Frame<Bytes>, BodyError>>);

impl ChannelBody {
    /// See [`Body::channel`].
    #[must_use]
    pub fn new(frames: usize) -> (FrameSender, Self) {
        let (send, receive) = mpsc::channel(frames);
        (send, Self(receive))
    }

    /// A body without content.
    #[must_use]
    pub fn empty() -> Self {
        let (_, receive) = mpsc::channel(1);
        Self(receive)
    }
}

impl HttpBody for ChannelBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.get_mut().0.poll_recv(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Body::Empty",
            Self::Full(_) => "Body::Full",
            Self::Stream(_) => "Body::Stream",
        })
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(octets) => Poll::Ready(octets.take().map(|o| Ok(Frame::data(o)))),
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Full(None) => true,
            Self::Full(Some(_)) => false,
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) => SizeHint::with_exact(0),
            Self::Full(Some(octets)) => SizeHint::with_exact(octets.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

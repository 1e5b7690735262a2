//! HTTP/1.1 to an upstream: a connection that is driven by the task that uses it.
//!
//! There is no task and no channel behind a connection: [`ClientConnection::poll_exchange`] writes the request and reads
//! the head of its response, [`ClientConnection::poll_frame`] reads the body. A response is judged and read in one pass:
//! one that two readers could frame in two ways, that belongs to no request, or that carries more in addition to its
//! content than a budget allows, is a [`ResponseRefusal`].
//!
//! A response that has already arrived is not lost when writing the rest of its request fails: the failure counts once
//! there is nothing more to read.

mod content;
mod outgoing;
mod receive;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

pub use self::outgoing::{OutgoingRequest, RequestLine};
use self::receive::{Head, refusal_of};
use crate::message::content::Content;
use crate::prefixed_stream::PrefixedStream;
use crate::response::{Expectation, ResponseLimits, ResponseRefusal};
use crate::turn::{ConnectionTurn, TURN_BYTES};

/// Bytes of the first read of a response.
const READ_MIN: usize = 8 * 1024;
/// Bytes of a read while a body flows: a read is no more than a turn.
const READ_MAX: usize = TURN_BYTES;
/// How long a request that cannot be written waits for its response.
const HELD_MAX: Duration = Duration::from_secs(60);

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Http1ClientError {
    /// What arrived is no response to the request.
    #[error("the response breaks the protocol")]
    Refused(#[from] ResponseRefusal),
    /// The body of the request failed, or differs from its declared length.
    #[error("the body of the request cannot be sent")]
    Request(#[source] Box<dyn Error + Send + Sync>),
    /// The connection ended before a whole head.
    #[error("the connection broke before the response")]
    Broken {
        /// Bytes of the request that the operating system had taken.
        written: u64,
        /// The reason.
        source: io::Error,
    },
}

/// The head of a final response, or of a 101.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status; informational only as 101.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// All fields, as received.
    pub headers: HeaderMap,
    /// The protocol changed: what follows is not HTTP.
    pub tunnel: bool,
}

/// A connection to an HTTP/1 server.
///
/// Invariants: `buffer` holds bytes that were read and belong to nothing returned so far; between two exchanges it is
/// empty, or the connection is `spoiled`.
#[derive(Debug)]
pub struct ClientConnection<IO> {
    io: IO,
    limits: ResponseLimits,
    buffer: BytesMut,
    content: Content,
    interim: u32,
    interim_bytes: usize,
    /// Interim heads that nobody took yet; as many as the limits allow.
    interims: Vec<(StatusCode, HeaderMap)>,
    /// Bytes of the head in `buffer` that are known not to end it.
    scanned: usize,
    /// Bytes of the next read.
    reading: usize,
    /// Bytes read since we last had to wait for the peer.
    turn: ConnectionTurn,
    /// Whether a response was read from it.
    served: bool,
    /// Whether another request may follow.
    keeps: bool,
    /// Writing failed, and until when its response is waited for.
    held: Option<Box<(io::Error, Pin<Box<Sleep>>)>>,
}

impl<IO> ClientConnection<IO> {
    /// Over this stream.
    pub fn new(io: IO, limits: ResponseLimits) -> Self {
        Self {
            io,
            limits,
            buffer: BytesMut::new(),
            content: Content::Done,
            interim: 0,
            interim_bytes: 0,
            interims: Vec::new(),
            scanned: 0,
            reading: READ_MIN,
            turn: ConnectionTurn::default(),
            served: false,
            keeps: true,
            held: None,
        }
    }

    /// Whether the response has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.content == Content::Done
    }

    /// Whether another request may follow: the response has ended, and the request was written whole.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.is_done() && self.keeps && self.held.is_none() && self.buffer.is_empty()
    }

    /// Bytes of content that follow, where that is known.
    #[must_use]
    pub fn content_left(&self) -> Option<u64> {
        self.content.left()
    }

    /// Gives back memory that an idle connection need not hold.
    pub fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// The interim responses (1xx) that arrived since they were last taken, in their order.
    pub fn take_interims(&mut self) -> impl Iterator<Item = (StatusCode, HeaderMap)> + use<IO> {
        std::mem::take(&mut self.interims).into_iter()
    }

    /// The content that arrived together with its head, if that is all of it; then the response has ended.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.content_left()?).ok()?;
        let whole = length <= self.buffer.len();
        whole.then(|| {
            self.content = Content::Done;
            self.buffer.split_to(length).freeze()
        })
    }

    /// The stream, and what was read from it since the protocol changed.
    pub fn into_tunnel(self) -> PrefixedStream<IO> {
        PrefixedStream::new(self.io, self.buffer)
    }
}

impl<IO: AsyncRead + Unpin> ClientConnection<IO> {
    /// Ready once an idle connection is of no use: it ended, broke, or carried bytes that answer nothing. Wakes the
    /// caller then.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_reusable() {
            return Poll::Ready(());
        }
        let mut octet = [0_u8; 1];
        let mut out = ReadBuf::new(&mut octet);
        Pin::new(&mut self.io).poll_read(cx, &mut out).map(drop)
    }

    /// Reads once; ready with 0 at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.turn.poll(cx));
        let wanted = self.content_left().and_then(|left| usize::try_from(left).ok());
        // Where others use their turns up, a read takes no more than the share of a turn.
        let most = self.reading.min(ConnectionTurn::bytes_max()).max(READ_MIN);
        let wanted = wanted.map_or(most, |left| left.clamp(READ_MIN, most));
        self.buffer.reserve(wanted);
        let mut room = (&mut self.buffer).limit(ConnectionTurn::read_max(wanted));
        let Poll::Ready(read) = std::pin::pin!(self.io.read_buf(&mut room)).poll(cx) else {
            self.turn.end();
            return Poll::Pending;
        };
        let read = read?;
        self.turn.count_bytes(read);
        if read >= wanted {
            self.reading = self.reading.saturating_mul(2).min(READ_MAX);
        }
        if let Some(held) = self.held.as_mut() {
            held.1 = Box::pin(tokio::time::sleep(HELD_MAX));
        }
        Poll::Ready(Ok(read))
    }

    /// The head of the response, once it is there.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        expected: Expectation,
    ) -> Poll<Result<ResponseHead, HeadFailure>> {
        loop {
            if !self.buffer.is_empty()
                && let Some(head) = self.take_head(expected)?
            {
                return Poll::Ready(Ok(head));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                let early = "the connection ended before a whole response";
                let early = io::Error::new(io::ErrorKind::UnexpectedEof, early);
                return Poll::Ready(Err(early.into()));
            }
        }
    }

    /// Takes a final head, and interim ones before it, from the buffer; `None` when more bytes are needed.
    fn take_head(
        &mut self,
        expected: Expectation,
    ) -> Result<Option<ResponseHead>, ResponseRefusal> {
        loop {
            let Some(end) = receive::find_end(&mut self.scanned, &self.buffer, &self.limits)?
            else {
                return Ok(None);
            };
            let octets = self.buffer.split_to(end).freeze();
            self.scanned = 0;
            match receive::read_head(&octets, expected, &self.limits)? {
                Head::Interim(status, headers) => {
                    self.count_interim(end)?;
                    self.interims.push((status, headers));
                }
                Head::Final { head, content, keeps } => {
                    // So that the caller can still send another response.
                    content.judge(&self.buffer).map_err(refusal_of)?;
                    (self.content, self.keeps) = (content, keeps);
                    return Ok(Some(head));
                }
            }
        }
    }

    fn count_interim(&mut self, bytes: usize) -> Result<(), ResponseRefusal> {
        self.interim = self.interim.saturating_add(1);
        self.interim_bytes = self.interim_bytes.saturating_add(bytes);
        if self.interim > self.limits.max_interim {
            return Err(ResponseRefusal::TooManyInterim);
        }
        if self.interim_bytes > self.limits.max_head_bytes {
            return Err(ResponseRefusal::HeadTooLarge);
        }
        Ok(())
    }
}

/// Why no head was read.
enum HeadFailure {
    Refused(ResponseRefusal),
    Broken(io::Error),
}

impl From<ResponseRefusal> for HeadFailure {
    fn from(refusal: ResponseRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for HeadFailure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ClientConnection<IO> {
    /// Writes the request as far as the peer takes it, and is ready with the head of its response. If the request is not
    /// [whole](OutgoingRequest::is_written) by then, the rest is for [`ClientConnection::poll_write`].
    ///
    /// # Errors
    /// [`Http1ClientError`]; the connection is of no further use.
    pub fn poll_exchange<B>(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut OutgoingRequest<B>,
    ) -> Poll<Result<ResponseHead, Http1ClientError>>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if self.is_done() && request.written() == 0 {
            (self.interim, self.interim_bytes) = (0, 0);
            self.interims.clear();
            self.reading = READ_MIN;
        }
        if let Poll::Ready(Err(error)) = self.poll_write(cx, request) {
            return Poll::Ready(Err(error));
        }
        let written = request.written();
        if written == 0 && (self.served || self.held.is_none()) {
            // Nothing that arrives could answer it; a server that takes no more connections answers the first at once.
            return match self.held.take() {
                Some(held) => {
                    Poll::Ready(Err(Http1ClientError::Broken { written, source: held.0 }))
                }
                None => Poll::Pending,
            };
        }
        match self.poll_head(cx, request.expectation()) {
            Poll::Ready(Ok(head)) => {
                self.served = true;
                Poll::Ready(Ok(head))
            }
            Poll::Ready(Err(HeadFailure::Refused(refusal))) => Poll::Ready(Err(refusal.into())),
            Poll::Ready(Err(HeadFailure::Broken(error))) => {
                let source = self.held.take().map_or(error, |held| held.0);
                Poll::Ready(Err(Http1ClientError::Broken { written, source }))
            }
            Poll::Pending => {
                let Some(held) = self.held.as_mut() else { return Poll::Pending };
                ready!(held.1.as_mut().poll(cx));
                let source = self.held.take().map_or(io::ErrorKind::TimedOut.into(), |held| held.0);
                Poll::Ready(Err(Http1ClientError::Broken { written, source }))
            }
        }
    }

    /// Writes the rest of a request; ready when it is written, or when the peer takes no more of it.
    ///
    /// # Errors
    /// [`Http1ClientError::Request`].
    pub fn poll_write<B>(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut OutgoingRequest<B>,
    ) -> Poll<Result<(), Http1ClientError>>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if self.held.is_some() || request.is_written() {
            return Poll::Ready(Ok(()));
        }
        match ready!(request.poll_write(cx, &mut self.io)) {
            Ok(()) => {}
            Err(outgoing::WriteFailure::Body(error)) => {
                return Poll::Ready(Err(Http1ClientError::Request(error)));
            }
            Err(outgoing::WriteFailure::Peer(error)) => {
                self.held = Some(Box::new((error, Box::pin(tokio::time::sleep(HELD_MAX)))));
            }
        }
        Poll::Ready(Ok(()))
    }
}

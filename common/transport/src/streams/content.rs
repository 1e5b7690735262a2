//! Content that arrives on a stream. What was read is acknowledged at once, so that the peer may send as much again.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header;
use http_body::Frame;

use crate::intake::{MAX_TRAILER_BYTES, MAX_TRAILERS};

/// The content of a message, and its trailers.
#[derive(Debug)]
pub struct ReceivedContent {
    /// `None`: there is none, or it was read.
    stream: Option<RecvStream>,
    /// Bytes that follow, where that was stated.
    left: Option<u64>,
    trailers: bool,
}

impl ReceivedContent {
    /// That of a message with these fields.
    #[must_use]
    pub fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        if stream.is_end_stream() {
            return Self::empty();
        }
        // `h2` has reset a stream on which it could be read in two ways.
        let stated = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let left = stated.and_then(|length| length.parse().ok());
        Self { stream: Some(stream), left, trailers: false }
    }

    /// No content.
    #[must_use]
    pub fn empty() -> Self {
        Self { stream: None, left: None, trailers: false }
    }

    /// The next piece, or the trailers.
    ///
    /// A stream that is reset before its end fails, whatever the reason of the reset: what was read is not all.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        if !self.trailers {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(octets)) => {
                    // It fails only for more than was read.
                    let _acknowledged = stream.flow_control().release_capacity(octets.len());
                    self.left = self.left.map(|left| left.saturating_sub(octets.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(octets))));
                }
                Some(Err(error)) => {
                    self.stream = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.trailers = true,
            }
        }
        let trailers = ready!(stream.poll_trailers(cx));
        self.stream = None;
        let trailers = trailers.and_then(|trailers| match trailers {
            Some(trailers) if !are_within_bounds(&trailers) => Err(Reason::PROTOCOL_ERROR.into()),
            trailers => Ok(trailers),
        });
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    /// Whether nothing follows, as far as has arrived.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    /// Bytes that follow, where that was stated.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        if self.stream.is_none() { Some(0) } else { self.left }
    }
}

/// Whether there are as few trailers, and as short ones, as HTTP/1.1 may have.
pub(crate) fn are_within_bounds(trailers: &HeaderMap) -> bool {
    let octets = trailers.iter().map(|(name, value)| {
        let (name, value) = (name.as_str().len(), value.len());
        // With `: ` and the end of a line.
        name.saturating_add(value).saturating_add(4)
    });
    trailers.len() <= MAX_TRAILERS && octets.fold(0, usize::saturating_add) <= MAX_TRAILER_BYTES
}

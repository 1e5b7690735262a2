//! A message on its way out: what waits to be written, and how its content is framed (RFC 9112 §6, §7).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use tokio::io::AsyncWrite;

use crate::message::spare;

/// A shorter piece of content is copied behind what waits to be written.
const COPIED_BELOW: usize = 4 * 1024;

/// Waiting small pieces are written once there are this many bytes of them.
const SMALL_MAX: usize = 16 * 1024;

/// How the end of content is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutgoingFraming {
    /// So many bytes follow.
    Length(u64),
    Chunked,
    /// The connection ends after it.
    UntilClose,
}

/// Content that differs from its declared length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LengthError {
    #[error("the body is longer than its declared length")]
    Longer,
    #[error("the body is shorter than its declared length")]
    Shorter,
}

/// What waits to be written. The parts are written in their order; a new one is taken while there is room.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Written first: a head, the line before a chunk, small pieces.
    small: Vec<u8>,
    start: usize,
    /// Written then: a piece of content as it came.
    piece: Bytes,
    /// Written last: the end of a chunk.
    end: &'static [u8],
    written: u64,
    flushed: bool,
    /// What waits has had its place behind the tasks that were ready.
    queued: bool,
}

impl Outbox {
    /// With room for a head.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut outbox = Self::default();
        outbox.small = spare::buffer(bytes);
        outbox
    }

    /// The same, if nothing but a head waits and nothing was written.
    pub(crate) fn copy(&self) -> Self {
        let mut outbox = Self::default();
        outbox.small.clone_from(&self.small);
        outbox
    }

    /// Frees memory that is not needed while nothing waits.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() {
            self.small = Vec::new();
        }
    }

    /// What is written next: at first, the head.
    pub(crate) fn waiting(&self) -> &[u8] {
        self.small.get(self.start..).unwrap_or_default()
    }

    /// Bytes that the peer's connection took.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Whether all was written and passed on.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed && self.is_empty()
    }

    /// Octets that are not written yet.
    pub(crate) fn len(&self) -> usize {
        let small = self.small.len().saturating_sub(self.start);
        small.saturating_add(self.piece.len()).saturating_add(self.end.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start >= self.small.len() && self.piece.is_empty() && self.end.is_empty()
    }

    /// Whether another piece of content can be written together with what waits.
    pub(crate) fn has_room(&self) -> bool {
        self.piece.is_empty() && self.end.is_empty() && self.small.len() < SMALL_MAX
    }

    /// Adds octets of a head.
    pub(crate) fn put(&mut self, octets: &[u8]) {
        self.small.extend_from_slice(octets);
        self.flushed = false;
    }

    /// Adds a field.
    pub(crate) fn put_field(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.put(part);
        }
    }

    /// Adds a number in decimal digits.
    pub(crate) fn put_number(&mut self, name: &str, number: u64) {
        let mut digits = [0_u8; 20];
        let mut left = number;
        let mut start = digits.len();
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0'.saturating_add((left % 10) as u8);
            left /= 10;
            start = at;
            if left == 0 {
                break;
            }
        }
        self.put_field(name, digits.get(start..).unwrap_or_default());
    }

    /// Adds a piece of content; call only while there is [room](Self::has_room).
    pub(crate) fn put_data(
        &mut self,
        framing: &mut OutgoingFraming,
        data: Bytes,
    ) -> Result<(), LengthError> {
        if data.is_empty() {
            return Ok(());
        }
        let chunked = match framing {
            OutgoingFraming::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(LengthError::Longer)?;
                false
            }
            OutgoingFraming::Chunked => {
                self.put_size(data.len());
                true
            }
            OutgoingFraming::UntilClose => false,
        };
        self.flushed = false;
        if data.len() < COPIED_BELOW {
            self.small.extend_from_slice(&data);
            self.small.extend_from_slice(if chunked { &b"\r\n"[..] } else { b"" });
        } else {
            (self.piece, self.end) = (data, if chunked { &b"\r\n"[..] } else { b"" });
        }
        Ok(())
    }

    /// The line before a chunk.
    fn put_size(&mut self, size: usize) {
        let digits = usize::BITS.saturating_sub(size.leading_zeros()).div_ceil(4).max(1);
        for place in (0..digits).rev() {
            let digit = (size >> place.saturating_mul(4)) & 0xf;
            self.small.push(*b"0123456789abcdef".get(digit).unwrap_or(&b'0'));
        }
        self.small.extend_from_slice(b"\r\n");
    }

    /// Adds the end of content, with its trailers where the framing has room for them.
    pub(crate) fn put_end(
        &mut self,
        framing: OutgoingFraming,
        trailers: Option<&HeaderMap>,
    ) -> Result<(), LengthError> {
        match framing {
            OutgoingFraming::Length(0) | OutgoingFraming::UntilClose => return Ok(()),
            OutgoingFraming::Length(_) => return Err(LengthError::Shorter),
            OutgoingFraming::Chunked => self.flushed = false,
        }
        if let Some(trailers) = trailers {
            // They are a frame of their own, which is taken once the piece before is written.
            self.small.extend_from_slice(b"0\r\n");
            for (name, value) in trailers {
                self.put_field(name.as_str(), value.as_bytes());
            }
            self.small.extend_from_slice(b"\r\n");
        } else if self.piece.is_empty() {
            self.small.extend_from_slice(b"0\r\n\r\n");
        } else {
            self.end = b"\r\n0\r\n\r\n";
        }
        Ok(())
    }

    /// Ready once all is written and passed on.
    ///
    /// A short message is written after the tasks that are ready now have run, so that those of a turn leave together: a peer
    /// that sleeps is woken once for all of them, and waking another core costs more than writing.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        if !self.queued && !self.is_empty() && self.piece.is_empty() {
            self.queued = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while !self.is_empty() {
            let small = self.small.get(self.start..).unwrap_or_default();
            let taken = if self.piece.is_empty() && self.end.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, small))
            } else {
                let slices = [small, &self.piece, self.end].map(IoSlice::new);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))
            }?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(taken);
        }
        if !self.flushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.flushed = true;
        }
        self.queued = false;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut taken: usize) {
        self.written = self.written.saturating_add(taken as u64);
        let small = taken.min(self.small.len().saturating_sub(self.start));
        self.start = self.start.saturating_add(small);
        if self.start >= self.small.len() {
            self.small.clear();
            self.start = 0;
        }
        taken = taken.saturating_sub(small);
        let piece = taken.min(self.piece.len());
        self.piece.advance(piece);
        if self.piece.is_empty() {
            // Frees the buffer it came in.
            self.piece = Bytes::new();
        }
        self.end = self.end.get(taken.saturating_sub(piece)..).unwrap_or_default();
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        spare::give_back_buffer(std::mem::take(&mut self.small));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lengths_are_written_as_they_are_read() {
        for number in [0, 1, 9, 10, 15, 16, 255, 256, 4_095, 65_536, 1 << 40, u64::MAX] {
            let mut outbox = Outbox::default();
            outbox.put_number("n", number);
            assert_eq!(outbox.waiting(), format!("n: {number}\r\n").as_bytes());
            let mut outbox = Outbox::default();
            outbox.put_size(usize::try_from(number).unwrap());
            assert_eq!(outbox.waiting(), format!("{number:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn content_of_another_length_than_declared_is_an_error() {
        for (declared, sent, end) in [
            (3, Ok(()), Ok(())),
            (2, Err(LengthError::Longer), Err(LengthError::Shorter)),
            (4, Ok(()), Err(LengthError::Shorter)),
        ] {
            let mut framing = OutgoingFraming::Length(declared);
            let mut outbox = Outbox::default();
            assert_eq!(outbox.put_data(&mut framing, Bytes::from_static(b"abc")), sent);
            assert_eq!(outbox.put_end(framing, None), end);
        }
    }
}

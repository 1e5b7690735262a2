//! Frames of a stream (RFC 9114 §7.1), and the integers of QUIC that their headers are made of (RFC 9000 §16).

use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use quinn::{ReadError, RecvStream};

use super::code::Code;
use super::error::Http3Error;
use super::state::ConnectionState;

/// The types of frames (RFC 9114 §7.2).
pub(super) const DATA: u64 = 0x0;
pub(super) const HEADERS: u64 = 0x1;
pub(super) const CANCEL_PUSH: u64 = 0x3;
pub(super) const SETTINGS: u64 = 0x4;
pub(super) const PUSH_PROMISE: u64 = 0x5;
pub(super) const GOAWAY: u64 = 0x7;
pub(super) const MAX_PUSH_ID: u64 = 0xd;
/// Those of HTTP/2 that have no meaning here and may not be sent (§7.2.8).
pub(super) const OF_HTTP2: [u64; 4] = [0x2, 0x6, 0x8, 0x9];

/// The longest read.
const READ_MAX: usize = 64 * 1024;
/// The longest integer.
const VARINT_MAX: usize = 8;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: u64,
    pub(super) length: u64,
}

/// Reads the frames of a stream. Dropped before the end of the stream, it asks the client to send no more.
pub(super) struct FrameReader {
    stream: RecvStream,
    state: Rc<ConnectionState>,
    /// Received, and not looked at.
    chunk: Bytes,
    /// An integer that has begun.
    begun: [u8; VARINT_MAX],
    filled: usize,
    /// The type of a frame whose length follows.
    kind: Option<u64>,
    /// What follows of the payload of the current frame.
    left: u64,
    /// Nothing more is read: the stream ended, or its reading did.
    ended: bool,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream, state: Rc<ConnectionState>) -> Self {
        Self {
            stream,
            state,
            chunk: Bytes::new(),
            begun: [0; VARINT_MAX],
            filled: 0,
            kind: None,
            left: 0,
            ended: false,
        }
    }

    pub(super) fn state(&self) -> &Rc<ConnectionState> {
        &self.state
    }

    /// What follows of the payload of the current frame.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next integer; `None`: the stream ended before it.
    pub(super) fn poll_integer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<u64>, Http3Error>> {
        loop {
            if let Some(value) = integer(self.begun.get(..self.filled).unwrap_or_default()) {
                self.filled = 0;
                return Poll::Ready(Ok(Some(value)));
            }
            if !ready!(self.poll_chunk(cx))? {
                let none = self.filled == 0 && self.kind.is_none();
                return Poll::Ready(if none { Ok(None) } else { Err(self.truncated()) });
            }
            if let Some(place) = self.begun.get_mut(self.filled) {
                *place = self.chunk.get_u8();
                self.filled = self.filled.saturating_add(1);
            }
        }
    }

    /// The header of the next frame, after the payload of the one before; `None`: the stream ended before it.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<FrameHead>, Http3Error>> {
        loop {
            let Some(value) = ready!(self.poll_integer(cx))? else { return Poll::Ready(Ok(None)) };
            let Some(kind) = self.kind.take() else {
                self.kind = Some(value);
                continue;
            };
            self.left = value;
            return Poll::Ready(Ok(Some(FrameHead { kind, length: value })));
        }
    }

    /// The next part of the payload, which has not ended.
    pub(super) fn poll_payload(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Http3Error>> {
        if !ready!(self.poll_chunk(cx))? {
            return Poll::Ready(Err(self.truncated()));
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let part = self.chunk.split_to(self.chunk.len().min(left));
        self.left = self.left.saturating_sub(part.len() as u64);
        Poll::Ready(Ok(part))
    }

    /// Collects the payload of a frame, of which `whole` has the beginning. The caller has judged its length.
    pub(super) fn poll_whole(
        &mut self,
        whole: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Http3Error>> {
        while self.left > 0 {
            let part = ready!(self.poll_payload(cx))?;
            whole.extend_from_slice(&part);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads over what is left of the payload.
    pub(super) fn poll_skip(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http3Error>> {
        while self.left > 0 {
            ready!(self.poll_payload(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// The next octet; `None`: the stream ended.
    pub(super) fn poll_octet(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<u8>, Http3Error>> {
        let there = ready!(self.poll_chunk(cx))?;
        Poll::Ready(Ok(there.then(|| self.chunk.get_u8())))
    }

    /// Makes sure that there is something to look at; `false`: the stream ended.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Http3Error>> {
        if !self.chunk.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        ready!(self.state.poll_turn(cx));
        let read = pin!(self.stream.read_chunk(READ_MAX, true)).poll(cx);
        let Poll::Ready(read) = read else {
            self.state.note_wait();
            return Poll::Pending;
        };
        let chunk = match read {
            Ok(chunk) => chunk,
            Err(error) => {
                self.ended = true;
                return Poll::Ready(Err(failed(error)));
            }
        };
        self.ended = chunk.is_none();
        if let Some(chunk) = chunk {
            self.state.note_read(chunk.bytes.len());
            self.chunk = chunk.bytes;
        }
        Poll::Ready(Ok(!self.ended))
    }

    /// The stream ended in a frame (RFC 9114 §7.1).
    fn truncated(&self) -> Http3Error {
        self.state.fail(Code::Frame, "a stream does not end in the middle of a frame")
    }

    /// Asks the client to send no more.
    pub(super) fn stop(&mut self, code: Code) {
        if !std::mem::replace(&mut self.ended, true) {
            // Stopping fails only if the stream has ended.
            let _ended = self.stream.stop(code.number());
        }
    }
}

impl Drop for FrameReader {
    fn drop(&mut self) {
        self.stop(Code::NoError);
    }
}

fn failed(error: ReadError) -> Http3Error {
    match error {
        ReadError::Reset(code) => Http3Error::Reset { code: code.into_inner() },
        ReadError::ConnectionLost(error) => Http3Error::Connection(error),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            Http3Error::Closed
        }
    }
}

/// The integer that these octets are; `None`: it is longer.
pub(super) fn integer(octets: &[u8]) -> Option<u64> {
    let (first, rest) = octets.split_first()?;
    let more = (1_usize << (first >> 6)).saturating_sub(1);
    let rest = rest.get(..more)?;
    let value = u64::from(first & 0x3f);
    Some(rest.iter().fold(value, |value, octet| (value << 8) | u64::from(*octet)))
}

/// Writes an integer; one that is too large becomes the largest.
pub(super) fn put_integer(out: &mut Vec<u8>, value: u64) {
    let octets = value.min((1 << 62) - 1);
    let length: u32 = match octets {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        _ => 8,
    };
    let prefix = u64::from(length.trailing_zeros()) << length.saturating_mul(8).saturating_sub(2);
    let octets = (octets | prefix).to_be_bytes();
    let skipped = octets.len().saturating_sub(length as usize);
    out.extend_from_slice(octets.get(skipped..).unwrap_or_default());
}

/// A frame with this payload.
pub(super) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = head(kind, payload.len());
    out.extend_from_slice(payload);
    out
}

/// The header of a frame of so many octets.
pub(super) fn head(kind: u64, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * VARINT_MAX);
    put_integer(&mut out, kind);
    put_integer(&mut out, length as u64);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_of_quic() {
        // RFC 9000, appendix A.1.
        for (octets, value) in [
            (&[0x25][..], 37),
            (&[0x7b, 0xbd], 15_293),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
        ] {
            assert_eq!(integer(octets), Some(value));
            for end in 0..octets.len() {
                assert_eq!(integer(&octets[..end]), None);
            }
            let mut out = Vec::new();
            put_integer(&mut out, value);
            assert_eq!(out, octets);
        }
        assert_eq!(integer(&[0x40, 0x25]), Some(37), "a longer form is one too");
        for value in [0, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, (1 << 62) - 1] {
            let mut out = Vec::new();
            put_integer(&mut out, value);
            assert_eq!(integer(&out), Some(value));
        }
    }
}

//! The position of the next byte in the stream of requests; no I/O.

use super::GateLimits;
use super::body::Body;
use super::head::{self, Framing};
use super::refusal::GateRefusal;

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// More bytes are needed.
    More,
    /// This many bytes have no meaning and are dropped.
    Skip(usize),
    /// A whole head.
    Head(usize),
    /// A piece of a body.
    Body(usize),
}

/// The state machine over the request stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framer {
    /// In a head; this many bytes are known not to end it.
    Head { scanned: usize, blank: BlankLine },
    /// In a body.
    Body(Body),
    /// After an upgrade request without a response yet.
    Held,
    /// The protocol changed.
    Passing,
}

/// The empty line that some clients send after a body: one is dropped (RFC 9112 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlankLine {
    Allowed,
    Seen,
}

impl Default for Framer {
    fn default() -> Self {
        Self::Head { scanned: 0, blank: BlankLine::Allowed }
    }
}

impl Framer {
    pub(super) fn in_body(&self) -> bool {
        matches!(self, Self::Body(_))
    }

    pub(super) fn is_held(&self) -> bool {
        *self == Self::Held
    }

    pub(super) fn is_passing(&self) -> bool {
        *self == Self::Passing
    }

    pub(super) fn pass(&mut self) {
        *self = Self::Passing;
    }

    pub(super) fn resume(&mut self) {
        *self = Self::default();
    }

    /// Bytes before the end of content of a known length.
    pub(super) fn length_left(&self) -> Option<u64> {
        match self {
            Self::Body(Body::Length(left)) => Some(*left),
            Self::Head { .. } | Self::Body(_) | Self::Held | Self::Passing => None,
        }
    }

    /// So many bytes of it were passed on.
    pub(super) fn passed(&mut self, bytes: usize) {
        let Some(left) = self.length_left() else { return };
        *self = match left.saturating_sub(bytes as u64) {
            0 => Self::default(),
            left => Self::Body(Body::Length(left)),
        };
    }

    /// Checks the next piece of `pending`, which begins where the last piece ended.
    pub(super) fn step(
        &mut self,
        pending: &[u8],
        limits: &GateLimits,
    ) -> Result<Step, GateRefusal> {
        match *self {
            Self::Head { scanned, blank } => self.step_head(scanned, blank, pending, limits),
            Self::Body(body) => {
                let Some((bytes, next)) = body.step(pending)? else { return Ok(Step::More) };
                *self = if next == Body::Done { Self::default() } else { Self::Body(next) };
                Ok(Step::Body(bytes))
            }
            Self::Held | Self::Passing => Ok(Step::More),
        }
    }

    fn step_head(
        &mut self,
        scanned: usize,
        blank: BlankLine,
        pending: &[u8],
        limits: &GateLimits,
    ) -> Result<Step, GateRefusal> {
        if scanned == 0 && blank == BlankLine::Allowed && pending.starts_with(b"\r\n") {
            *self = Self::Head { scanned: 0, blank: BlankLine::Seen };
            return Ok(Step::Skip(2));
        }
        let end = find_end(scanned, pending, limits)?;
        match end {
            End::Unknown(scanned) => {
                *self = Self::Head { scanned, blank };
                Ok(Step::More)
            }
            End::At(end) => {
                let framing = head::judge(pending.get(..end).unwrap_or_default(), limits)?;
                *self = match framing {
                    Framing::Empty => Self::default(),
                    Framing::Length(length) => Self::Body(Body::Length(length)),
                    Framing::Chunked => Self::Body(Body::ChunkSize),
                    Framing::Tunnel => Self::Held,
                };
                Ok(Step::Head(end))
            }
        }
    }
}

enum End {
    At(usize),
    Unknown(usize),
}

/// Searches line by line for the empty one, so that a bare LF is refused at once.
fn find_end(mut start: usize, bytes: &[u8], limits: &GateLimits) -> Result<End, GateRefusal> {
    let window = bytes.get(..limits.max_head_bytes).unwrap_or(bytes);
    let rest = window.get(start..).unwrap_or_default();
    let from = start;
    for at in memchr::memchr_iter(b'\n', rest) {
        let at = from.saturating_add(at);
        let line = window.get(start..at).unwrap_or_default();
        let Some(line) = line.strip_suffix(b"\r") else { return Err(GateRefusal::LineEnd) };
        if start == 0 && !head::looks_like_http(line) {
            return Err(GateRefusal::NotHttp);
        }
        start = at.saturating_add(1);
        if line.is_empty() {
            return Ok(End::At(start));
        }
    }
    if bytes.len() >= limits.max_head_bytes {
        return Err(GateRefusal::HeadTooLarge);
    }
    Ok(End::Unknown(start))
}

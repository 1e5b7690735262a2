//! Finds the end of a body, in the same bytes that hyper will read (RFC 9112 §6, §7.1).

use super::refusal::IntakeRefusal;
use crate::message::field::{is_look_alike, split_field};

/// Enough for 2^60 bytes; a size line is never longer than [`MAX_SIZE_LINE`].
const MAX_SIZE_DIGITS: usize = 15;
const MAX_SIZE_LINE: usize = 256;
/// Trailers of a message, and their bytes, over every version of HTTP.
pub(crate) const MAX_TRAILERS: usize = 32;
pub(crate) const MAX_TRAILER_BYTES: usize = 8 * 1024;

/// Fields that must not be trailers: they are for framing, routing, authentication or the description of a
/// body (RFC 9110 §6.5.1).
const NO_TRAILERS: &[&str] = &[
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "max-forwards",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The position of the next byte in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// This many bytes before the end.
    Length(u64),
    /// At the beginning of a size line.
    ChunkSize,
    /// This many bytes before the end of the chunk.
    ChunkData(u64),
    /// At the CR LF after a chunk.
    ChunkEnd,
    /// At the beginning of a trailer line; after this many lines and this many bytes of them.
    Trailer(usize, usize),
    /// After the last byte.
    Done,
}

impl Body {
    /// Takes a step: how many of `bytes` are accepted and what comes next; `None` when more bytes are
    /// needed.
    pub(crate) fn step(self, bytes: &[u8]) -> Result<Option<(usize, Self)>, IntakeRefusal> {
        match self {
            Self::Length(left) => Ok(take(left, bytes).map(|(taken, left)| {
                (taken, if left == 0 { Self::Done } else { Self::Length(left) })
            })),
            Self::ChunkData(left) => Ok(take(left, bytes).map(|(taken, left)| {
                (taken, if left == 0 { Self::ChunkEnd } else { Self::ChunkData(left) })
            })),
            Self::ChunkSize => size_line(bytes),
            Self::ChunkEnd => match bytes {
                [] | [b'\r'] => Ok(None),
                [b'\r', b'\n', ..] => Ok(Some((2, Self::ChunkSize))),
                _ => Err(IntakeRefusal::Chunk),
            },
            Self::Trailer(count, size) => trailer_line(count, size, bytes),
            Self::Done => Ok(None),
        }
    }
}

fn take(left: u64, bytes: &[u8]) -> Option<(usize, u64)> {
    if bytes.is_empty() {
        return None;
    }
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    Some((taken, left.saturating_sub(taken as u64)))
}

/// A line without its CR LF, and its length including it.
fn line(
    bytes: &[u8],
    max: usize,
    over: IntakeRefusal,
) -> Result<Option<(&[u8], usize)>, IntakeRefusal> {
    let window = bytes.get(..max).unwrap_or(bytes);
    let Some(at) = memchr::memchr(b'\n', window) else {
        return if bytes.len() >= max { Err(over) } else { Ok(None) };
    };
    let line =
        window.get(..at).unwrap_or_default().strip_suffix(b"\r").ok_or(IntakeRefusal::LineEnd)?;
    Ok(Some((line, at.saturating_add(1))))
}

fn size_line(bytes: &[u8]) -> Result<Option<(usize, Body)>, IntakeRefusal> {
    // Does not wait for the end of the line: a line of digits may never end.
    if bytes.get(..=MAX_SIZE_DIGITS).is_some_and(|start| start.iter().all(u8::is_ascii_hexdigit)) {
        return Err(IntakeRefusal::Chunk);
    }
    let Some((line, length)) = line(bytes, MAX_SIZE_LINE, IntakeRefusal::Chunk)? else {
        return Ok(None);
    };
    let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
    let (size, extension) = line.split_at(digits);
    let size = str::from_utf8(size)
        .ok()
        .filter(|text| text.len() <= MAX_SIZE_DIGITS)
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or(IntakeRefusal::Chunk)?;
    let plain = extension.iter().all(|b| (b' '..0x7f).contains(b) || *b == b'\t');
    if !plain || !matches!(extension, [] | [b';', _, ..]) {
        return Err(IntakeRefusal::Chunk);
    }
    Ok(Some((length, if size == 0 { Body::Trailer(0, 0) } else { Body::ChunkData(size) })))
}

fn trailer_line(
    count: usize,
    size: usize,
    bytes: &[u8],
) -> Result<Option<(usize, Body)>, IntakeRefusal> {
    let left = MAX_TRAILER_BYTES.saturating_sub(size);
    let Some((line, length)) = line(bytes, left, IntakeRefusal::HeadTooLarge)? else {
        return Ok(None);
    };
    if line.is_empty() {
        return Ok(Some((length, Body::Done)));
    }
    let (name, _value) = split_field(line).map_err(|_| IntakeRefusal::Trailer)?;
    if is_look_alike(name) || NO_TRAILERS.iter().any(|no| name.eq_ignore_ascii_case(no.as_bytes()))
    {
        return Err(IntakeRefusal::Trailer);
    }
    if count >= MAX_TRAILERS {
        return Err(IntakeRefusal::HeadTooLarge);
    }
    Ok(Some((length, Body::Trailer(count.saturating_add(1), size.saturating_add(length)))))
}

//! A response in the bytes that arrived: its head, then pieces of its content; no I/O.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use http_body::Frame;

use super::ResponseHead;
use crate::gate::head::split_field;
use crate::gate::{Body, GateRefusal};
use crate::response::head::{self, End, Framing};
use crate::response::{Expectation, ResponseLimits, ResponseRefusal};
use crate::turn::Turn;

/// Room in a map for the fields that a proxy adds.
const FIELDS_ADDED: usize = 6;

/// Chunks are joined until a piece has this many bytes.
const GATHERED_BYTES: usize = 4 * 1024;

/// A head.
pub(super) enum Head {
    /// Another one follows.
    Interim,
    /// The last one.
    Final {
        head: ResponseHead,
        content: Content,
        /// Whether the connection persists after the content (RFC 9112 §9.3).
        keeps: bool,
    },
}

/// The end of the head at the beginning of `octets`; `scanned` of them are known not to end it.
pub(super) fn find_end(
    scanned: &mut usize,
    octets: &[u8],
    limits: &ResponseLimits,
) -> Result<Option<usize>, ResponseRefusal> {
    match head::find_end(*scanned, octets, limits.max_head_bytes)? {
        End::At(end) => Ok(Some(end)),
        End::Unknown(known) => {
            *scanned = known;
            Ok(None)
        }
    }
}

/// Judges and reads a complete head.
pub(super) fn read_head(
    octets: &Bytes,
    expected: Expectation,
    limits: &ResponseLimits,
) -> Result<Head, ResponseRefusal> {
    let lines = memchr::memchr_iter(b'\n', octets).count();
    // Without the status line and the empty one.
    let fields = lines.saturating_sub(2).min(limits.max_fields);
    let mut headers = HeaderMap::with_capacity(fields.saturating_add(FIELDS_ADDED));
    let judged = head::judge(octets, expected, limits, |name, value| {
        let name = HeaderName::from_bytes(name).map_err(|_| ResponseRefusal::FieldName)?;
        let value = HeaderValue::from_maybe_shared(octets.slice_ref(value));
        let value = value.map_err(|_| ResponseRefusal::FieldValue)?;
        headers.try_append(name, value).map_err(|_| ResponseRefusal::TooManyFields)?;
        Ok(())
    })?;
    if judged.framing == Framing::Interim {
        return Ok(Head::Interim);
    }
    let content = match judged.framing {
        Framing::Interim | Framing::Empty | Framing::Tunnel => Content::Done,
        Framing::Length(length) => Content::Framed(Body::Length(length)),
        Framing::Chunked => Content::Framed(Body::ChunkSize),
        Framing::UntilClose => Content::UntilClose,
    };
    let names = |token: &str| names(&headers, token);
    let persistent = if judged.minor == 0 { names("keep-alive") } else { true };
    let keeps = persistent && !names("close");
    let status = StatusCode::from_u16(judged.status).map_err(|_| ResponseRefusal::StatusLine)?;
    let version = if judged.minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let tunnel = judged.framing == Framing::Tunnel;
    Ok(Head::Final { head: ResponseHead { status, version, headers, tunnel }, content, keeps })
}

/// Whether as much of a chunk as arrived is cheaper to copy than to pass on.
fn is_small(left: u64, buffer: &BytesMut) -> bool {
    left.min(buffer.len() as u64) <= GATHERED_BYTES as u64
}

/// Whether `connection` has this token.
fn names(headers: &HeaderMap, token: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    let mut tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.any(|one| one.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// What is left of a response's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Framed(Body),
    /// At a line of trailers, after those.
    Trailers(Body, Box<HeaderMap>),
    UntilClose,
    Done,
}

impl Content {
    /// Bytes that follow, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self {
            Self::Framed(Body::Length(left)) => Some(*left),
            Self::Done => Some(0),
            Self::Framed(_) | Self::Trailers(..) | Self::UntilClose => None,
        }
    }

    /// Checks what arrived of it, and takes nothing.
    pub(super) fn judge(&self, mut octets: &[u8]) -> Result<(), ResponseRefusal> {
        let Self::Framed(mut body) = *self else { return Ok(()) };
        while let Some((taken, next)) = body.step(octets).map_err(refusal_of)? {
            octets = octets.get(taken..).unwrap_or_default();
            body = next;
        }
        Ok(())
    }

    /// The end of the stream.
    pub(super) fn end(&mut self) -> io::Result<()> {
        match std::mem::replace(self, Self::Done) {
            Self::UntilClose | Self::Done => Ok(()),
            Self::Framed(_) | Self::Trailers(..) => {
                let early = "the connection ended before the response was complete";
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, early))
            }
        }
    }

    /// The next piece of what arrived; `None` when there is nothing more in it. Once a piece is taken, the lines after it
    /// are read as far as they arrived, so that the end is known together with the last piece.
    pub(super) fn take(
        &mut self,
        buffer: &mut BytesMut,
        turn: &mut Turn,
    ) -> Result<Option<Frame<Bytes>>, ResponseRefusal> {
        let frame = self.step_to_frame(buffer)?;
        if frame.is_some() {
            turn.count_piece();
        }
        match frame.map(Frame::into_data) {
            None => Ok(None),
            Some(Ok(data)) => Ok(Some(Frame::data(self.gather(data, buffer, turn)))),
            Some(Err(trailers)) => Ok(Some(trailers)),
        }
    }

    /// Passes the lines after a piece, and joins it with the chunks after it as long as they are small: what a chunk
    /// costs on its way through filters and into the client's framing does not depend on its length.
    fn gather(&mut self, first: Bytes, buffer: &mut BytesMut, turn: &mut Turn) -> Bytes {
        let mut gathered: Option<BytesMut> = None;
        // What is wrong is found again with the next piece: nothing is taken before it is judged.
        while let Self::Framed(body) = *self {
            let length = gathered.as_ref().map_or(first.len(), BytesMut::len);
            match body {
                Body::ChunkEnd | Body::ChunkSize => {}
                Body::ChunkData(left)
                    if length < GATHERED_BYTES
                        && is_small(left, buffer)
                        && !buffer.is_empty()
                        && !turn.is_over() => {}
                _ => break,
            }
            match self.step(buffer) {
                Ok(Stepped::On) => {}
                Ok(Stepped::Frame(frame)) => {
                    let Ok(data) = frame.into_data() else { break };
                    turn.count_piece();
                    let all = gathered.get_or_insert_with(|| {
                        let mut all = BytesMut::with_capacity(2 * GATHERED_BYTES);
                        all.extend_from_slice(&first);
                        all
                    });
                    all.extend_from_slice(&data);
                }
                Ok(Stepped::More) | Err(_) => break,
            }
        }
        gathered.map_or(first, BytesMut::freeze)
    }

    fn step_to_frame(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Frame<Bytes>>, ResponseRefusal> {
        loop {
            match self.step(buffer)? {
                Stepped::On => {}
                Stepped::Frame(frame) => return Ok(Some(frame)),
                Stepped::More => return Ok(None),
            }
        }
    }

    fn step(&mut self, buffer: &mut BytesMut) -> Result<Stepped, ResponseRefusal> {
        let body = match self {
            Self::Done => return Ok(Stepped::More),
            Self::UntilClose if buffer.is_empty() => return Ok(Stepped::More),
            Self::UntilClose => {
                let data = buffer.split().freeze();
                return Ok(Stepped::Frame(Frame::data(data)));
            }
            Self::Framed(body) | Self::Trailers(body, _) => *body,
        };
        let stepped = body.step(buffer).map_err(refusal_of)?;
        let Some((taken, next)) = stepped else { return Ok(Stepped::More) };
        match body {
            Body::Length(_) | Body::ChunkData(_) => {
                *self = if next == Body::Done { Self::Done } else { Self::Framed(next) };
                Ok(Stepped::Frame(Frame::data(buffer.split_to(taken).freeze())))
            }
            Body::Trailer(..) => self.take_trailer(buffer.split_to(taken).freeze(), next),
            Body::ChunkSize | Body::ChunkEnd | Body::Done => {
                buffer.advance(taken);
                // Most chunked bodies have no trailers: their end is one line that need not be waited for.
                *self = Self::Framed(next);
                if let (Body::Trailer(0, 0), [b'\r', b'\n', ..]) = (next, &buffer[..]) {
                    buffer.advance(2);
                    *self = Self::Done;
                }
                Ok(Stepped::On)
            }
        }
    }

    /// Takes a line of trailers that was judged, or the empty one after them.
    fn take_trailer(&mut self, line: Bytes, next: Body) -> Result<Stepped, ResponseRefusal> {
        let mut trailers = match std::mem::replace(self, Self::Done) {
            Self::Trailers(_, trailers) => trailers,
            Self::Framed(_) | Self::UntilClose | Self::Done => Box::default(),
        };
        if next == Body::Done {
            let frame = (!trailers.is_empty()).then(|| Frame::trailers(*trailers));
            return Ok(frame.map_or(Stepped::On, Stepped::Frame));
        }
        let text = line.strip_suffix(b"\r\n").unwrap_or(&line);
        let (name, value) = split_field(text).map_err(|_| ResponseRefusal::Trailer)?;
        let name = HeaderName::from_bytes(name).map_err(|_| ResponseRefusal::Trailer)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| ResponseRefusal::Trailer)?;
        trailers.append(name, value);
        *self = Self::Trailers(next, trailers);
        Ok(Stepped::On)
    }
}

fn refusal_of(refusal: GateRefusal) -> ResponseRefusal {
    match refusal {
        GateRefusal::Chunk | GateRefusal::LineEnd => ResponseRefusal::Chunk,
        _ => ResponseRefusal::Trailer,
    }
}

/// Result of a step through content.
enum Stepped {
    /// A line was read; go on.
    On,
    Frame(Frame<Bytes>),
    /// More bytes are needed, or none follow.
    More,
}

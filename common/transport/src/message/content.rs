//! The content of a message in the bytes that arrived, piece by piece; no I/O.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use crate::intake::{Body, IntakeRefusal};
use crate::message::field::split_field;
use crate::turn::ConnectionTurn;

/// Chunks are joined until a piece has this many bytes.
const GATHERED_BYTES: usize = 4 * 1024;

/// Whether as much of a chunk as arrived is cheaper to copy than to pass on.
fn is_small(left: u64, buffer: &BytesMut) -> bool {
    left.min(buffer.len() as u64) <= GATHERED_BYTES as u64
}

/// What is left of a message's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Framed(Body),
    /// At a line of trailers, after those.
    Trailers(Body, Box<HeaderMap>),
    UntilClose,
    Done,
}

impl Content {
    /// Bytes that follow, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Framed(Body::Length(left)) => Some(*left),
            Self::Done => Some(0),
            Self::Framed(_) | Self::Trailers(..) | Self::UntilClose => None,
        }
    }

    /// Checks without consuming; true if complete.
    pub(crate) fn judge(&self, mut octets: &[u8]) -> Result<bool, IntakeRefusal> {
        let mut body = match self {
            Self::Done => return Ok(true),
            Self::UntilClose => return Ok(false),
            Self::Framed(body) | Self::Trailers(body, _) => *body,
        };
        while let Some((taken, next)) = body.step(octets)? {
            octets = octets.get(taken..).unwrap_or_default();
            body = next;
        }
        Ok(body == Body::Done)
    }

    /// The end of the stream: whether the content ends with it.
    pub(crate) fn end(&mut self) -> bool {
        matches!(std::mem::replace(self, Self::Done), Self::UntilClose | Self::Done)
    }

    /// The next piece of what arrived; `None` when there is nothing more in it. Once a piece is taken, the lines after it
    /// are read as far as they arrived, so that the end is known together with the last piece.
    pub(crate) fn take(
        &mut self,
        buffer: &mut BytesMut,
        turn: &mut ConnectionTurn,
    ) -> Result<Option<Frame<Bytes>>, IntakeRefusal> {
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
    fn gather(&mut self, first: Bytes, buffer: &mut BytesMut, turn: &mut ConnectionTurn) -> Bytes {
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
                Ok(ContentStep::On) => {}
                Ok(ContentStep::Frame(frame)) => {
                    let Ok(data) = frame.into_data() else { break };
                    turn.count_piece();
                    let all = gathered.get_or_insert_with(|| {
                        let mut all = BytesMut::with_capacity(2 * GATHERED_BYTES);
                        all.extend_from_slice(&first);
                        all
                    });
                    all.extend_from_slice(&data);
                }
                Ok(ContentStep::More) | Err(_) => break,
            }
        }
        gathered.map_or(first, BytesMut::freeze)
    }

    fn step_to_frame(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Frame<Bytes>>, IntakeRefusal> {
        loop {
            match self.step(buffer)? {
                ContentStep::On => {}
                ContentStep::Frame(frame) => return Ok(Some(frame)),
                ContentStep::More => return Ok(None),
            }
        }
    }

    fn step(&mut self, buffer: &mut BytesMut) -> Result<ContentStep, IntakeRefusal> {
        let body = match self {
            Self::Done => return Ok(ContentStep::More),
            Self::UntilClose if buffer.is_empty() => return Ok(ContentStep::More),
            Self::UntilClose => {
                let data = buffer.split().freeze();
                return Ok(ContentStep::Frame(Frame::data(data)));
            }
            Self::Framed(body) | Self::Trailers(body, _) => *body,
        };
        let Some((taken, next)) = body.step(buffer)? else { return Ok(ContentStep::More) };
        match body {
            Body::Length(_) | Body::ChunkData(_) => {
                *self = if next == Body::Done { Self::Done } else { Self::Framed(next) };
                Ok(ContentStep::Frame(Frame::data(buffer.split_to(taken).freeze())))
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
                Ok(ContentStep::On)
            }
        }
    }

    /// Takes a line of trailers that was judged, or the empty one after them.
    fn take_trailer(&mut self, line: Bytes, next: Body) -> Result<ContentStep, IntakeRefusal> {
        let mut trailers = match std::mem::replace(self, Self::Done) {
            Self::Trailers(_, trailers) => trailers,
            Self::Framed(_) | Self::UntilClose | Self::Done => Box::default(),
        };
        if next == Body::Done {
            let frame = (!trailers.is_empty()).then(|| Frame::trailers(*trailers));
            return Ok(frame.map_or(ContentStep::On, ContentStep::Frame));
        }
        let text = line.strip_suffix(b"\r\n").unwrap_or(&line);
        let (name, value) = split_field(text).map_err(|_| IntakeRefusal::Trailer)?;
        let name = HeaderName::from_bytes(name).map_err(|_| IntakeRefusal::Trailer)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| IntakeRefusal::Trailer)?;
        trailers.append(name, value);
        *self = Self::Trailers(next, trailers);
        Ok(ContentStep::On)
    }
}

/// Result of a step through content.
enum ContentStep {
    /// A line was read; go on.
    On,
    Frame(Frame<Bytes>),
    /// Nothing yet: more bytes are needed, or the body is complete.
    More,
}

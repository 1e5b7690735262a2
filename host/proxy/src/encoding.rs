//! The body of a response on its way through an encoder.
//!
//! Octets are encoded in pieces, and between two of them the worker does everything else that is ready: a piece costs some
//! hundred microseconds. Whenever nothing more has arrived, what the encoder holds is flushed, so that a client has at once
//! what a slow upstream sends.

mod encoder;

use crate::body_budget::TakenRoom;
use crate::encodings::Encodings;
use crate::slot::LongCallTurns;
use bytes::Bytes;
use encoder::Encoder;
use http::header::HeaderName;
use http_body::Frame;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tamis_exchange::{BodyError, ContentCoding};

/// Octets that are encoded in one turn, and after which the encoder is flushed: it holds no more than that.
const PIECE: usize = 16 * 1024;
/// Octets that a body may have encoded without a turn: they cost as much as a call of a filter.
const WITHOUT_TURN: usize = 4 * 1024;

/// Fields about the octets of a body as they were before they were encoded (RFC 9530, RFC 3230, RFC 1864).
pub(crate) const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// One response on its way through its encoder.
pub(crate) struct Encoding {
    coding: ContentCoding,
    /// `None`: everything was encoded and taken.
    encoder: Option<Encoder>,
    /// What came and is not encoded yet.
    input: Bytes,
    /// Octets that the encoder may hold.
    unflushed: usize,
    /// Octets that were encoded since the last turn.
    since_turn: usize,
    turns: LongCallTurns,
    /// `None`: nothing waits for a turn.
    turn: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The source has ended.
    is_ended: bool,
    trailers: Option<Frame<Bytes>>,
    octets: u64,
    encoded: u64,
    encodings: Arc<Encodings>,
    /// The memory of the encoder.
    _room: TakenRoom,
}

impl Encoding {
    /// An encoder for a response.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn new(
        coding: ContentCoding,
        room: TakenRoom,
        encodings: &Arc<Encodings>,
        turns: LongCallTurns,
    ) -> io::Result<Self> {
        Ok(Self {
            coding,
            encoder: Some(Encoder::new(coding)?),
            input: Bytes::new(),
            unflushed: 0,
            since_turn: 0,
            turns,
            turn: None,
            is_ended: false,
            trailers: None,
            octets: 0,
            encoded: 0,
            encodings: Arc::clone(encodings),
            _room: room,
        })
    }

    /// Whether everything was handed out.
    pub(crate) fn is_done(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    /// The next frame, made of those that `next` returns.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if !self.input.is_empty() {
                ready!(self.poll_turn(cx));
                match self.encode_piece() {
                    Ok(octets) if octets.is_empty() => continue,
                    octets => return Poll::Ready(Some(self.leaving(octets))),
                }
            }
            if self.is_ended {
                let Some(encoder) = self.encoder.take() else {
                    return Poll::Ready(self.trailers.take().map(Ok));
                };
                match encoder.finish() {
                    Ok(octets) if octets.is_empty() => continue,
                    octets => return Poll::Ready(Some(self.leaving(octets))),
                }
            }
            match next(cx) {
                Poll::Pending if self.unflushed > 0 => match self.flush() {
                    Ok(octets) if octets.is_empty() => return Poll::Pending,
                    octets => return Poll::Ready(Some(self.leaving(octets))),
                },
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => self.is_ended = true,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.input = data,
                    Err(frame) => {
                        self.is_ended = true;
                        self.trailers = Some(without_digests(frame));
                    }
                },
            }
        }
    }

    /// Ready when the next piece may be encoded: at once, unless that would take long.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let piece = self.input.len().min(PIECE);
        if self.since_turn + piece > WITHOUT_TURN {
            let turns = &self.turns;
            let turn = self.turn.get_or_insert_with(|| {
                let turns = turns.clone();
                Box::pin(async move { turns.next().await })
            });
            ready!(turn.as_mut().poll(cx));
            self.turn = None;
            self.since_turn = 0;
        }
        Poll::Ready(())
    }

    /// Encodes a piece of what came; returns what came of it, if anything did.
    fn encode_piece(&mut self) -> io::Result<Vec<u8>> {
        let Some(encoder) = self.encoder.as_mut() else { return Ok(Vec::new()) };
        let piece = self.input.split_to(self.input.len().min(PIECE - self.unflushed));
        encoder.write(&piece)?;
        self.octets += piece.len() as u64;
        self.unflushed += piece.len();
        self.since_turn += piece.len();
        if self.unflushed >= PIECE {
            return self.flush();
        }
        Ok(encoder.take())
    }

    fn flush(&mut self) -> io::Result<Vec<u8>> {
        self.unflushed = 0;
        let Some(encoder) = self.encoder.as_mut() else { return Ok(Vec::new()) };
        encoder.flush()?;
        Ok(encoder.take())
    }

    fn leaving(&mut self, octets: io::Result<Vec<u8>>) -> Result<Frame<Bytes>, BodyError> {
        let octets = octets.map_err(|error| BodyError::Source(error.into()))?;
        self.encoded += octets.len() as u64;
        Ok(Frame::data(octets.into()))
    }
}

impl Drop for Encoding {
    fn drop(&mut self) {
        self.encodings.count(self.coding, self.octets, self.encoded);
    }
}

/// Trailers without what they say about the octets before they were encoded.
fn without_digests(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        for name in &DIGESTS {
            trailers.remove(name);
        }
    }
    frame
}

#[cfg(test)]
mod tests;

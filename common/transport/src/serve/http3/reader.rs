//! What a client sends on the stream of a request (RFC 9114 §4.1): a head, content, and perhaps trailers, in this order.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use quinn::RecvStream;

use super::code::Code;
use super::error::Http3Error;
use super::frames::{self, FrameReader};
use super::state::ConnectionState;

/// A part of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A field section: the head, or the trailers.
    Section(Bytes),
    /// A field section that is too long to be read.
    TooLong,
    /// Some of the content.
    Content(Bytes),
    /// The end of the stream.
    End,
}

/// The place in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Content,
    Trailed,
}

/// What the payload that is being read belongs to.
enum Payload {
    Section(BytesMut),
    Content,
    Unknown,
}

/// Reads the stream of a request.
pub(super) struct RequestReader {
    frames: FrameReader,
    stage: Stage,
    payload: Payload,
    /// The longest section, coded.
    most: usize,
}

impl RequestReader {
    pub(super) fn new(stream: RecvStream, state: Rc<ConnectionState>, most: usize) -> Self {
        let frames = FrameReader::new(stream, state);
        Self { frames, stage: Stage::Head, payload: Payload::Unknown, most }
    }

    /// The connection of the stream.
    pub(super) fn state(&self) -> &Rc<ConnectionState> {
        self.frames.state()
    }

    /// The next part.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Http3Error>> {
        loop {
            match &mut self.payload {
                Payload::Section(section) => {
                    ready!(self.frames.poll_whole(section, cx))?;
                    let section = std::mem::take(section).freeze();
                    self.payload = Payload::Unknown;
                    return Poll::Ready(Ok(Part::Section(section)));
                }
                Payload::Content if self.frames.left() > 0 => {
                    let content = ready!(self.frames.poll_payload(cx))?;
                    return Poll::Ready(Ok(Part::Content(content)));
                }
                Payload::Content => {}
                Payload::Unknown => ready!(self.frames.poll_skip(cx))?,
            }
            let Some(head) = ready!(self.frames.poll_head(cx))? else {
                return Poll::Ready(Ok(Part::End));
            };
            self.payload = match (head.kind, self.stage) {
                (frames::HEADERS, Stage::Head | Stage::Content) => {
                    self.stage = match self.stage {
                        Stage::Head => Stage::Content,
                        Stage::Content | Stage::Trailed => Stage::Trailed,
                    };
                    if head.length > self.most as u64 {
                        return Poll::Ready(Ok(Part::TooLong));
                    }
                    Payload::Section(BytesMut::new())
                }
                (frames::DATA, Stage::Content) => {
                    if head.length == 0 {
                        self.state().spend()?;
                    }
                    Payload::Content
                }
                (kind, _) if is_misplaced(kind) => {
                    let rule = "a frame stands where its type has no place";
                    return Poll::Ready(Err(self.state().fail(Code::FrameUnexpected, rule)));
                }
                _ => {
                    self.state().spend()?;
                    Payload::Unknown
                }
            };
        }
    }

    /// Asks the client to send no more.
    pub(super) fn stop(&mut self, code: Code) {
        self.frames.stop(code);
    }
}

/// Whether frames of that type have a meaning elsewhere, or none that may be sent.
fn is_misplaced(kind: u64) -> bool {
    use frames::{CANCEL_PUSH, DATA, GOAWAY, HEADERS, MAX_PUSH_ID, PUSH_PROMISE, SETTINGS};
    [DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID].contains(&kind)
        || frames::OF_HTTP2.contains(&kind)
}

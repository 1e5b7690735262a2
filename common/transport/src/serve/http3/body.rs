//! The content of a request, and the client that may wait for `100 Continue` before it sends any.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::code::Code;
use super::error::Http3Error;
use super::head::{self, HeadError};
use super::reader::{Part, RequestReader};
use crate::qpack::SectionError;
use crate::serve::stream_side::{StreamSide, expects_continue};

const LENGTH: &str = "content is as long as its head says";
const TRAILERS: &str = "trailers are few and short";

/// The rule that content broke after its head, which ends the whole stream.
#[derive(Debug, Default)]
pub(super) struct ContentFlaw(Cell<Option<&'static str>>);

impl ContentFlaw {
    /// The rule.
    pub(super) fn rule(&self) -> Option<&'static str> {
        self.0.get()
    }
}

/// The content of a request.
pub(in crate::serve) struct StreamBody {
    side: Rc<StreamSide>,
    flaw: Rc<ContentFlaw>,
    /// `None`: there is none, or it was read.
    reader: Option<RequestReader>,
    /// Arrived with the head.
    first: Option<Part>,
    /// They wait for the end of the stream.
    trailers: Option<HeaderMap>,
    /// Bytes that follow, where that was stated.
    left: Option<u64>,
    /// Whether the client sends it only once it is asked to.
    waits: bool,
    /// The longest trailers.
    most: usize,
}

/// What is known of content when its head was read.
pub(super) struct BegunContent {
    pub(super) reader: RequestReader,
    /// What arrived with the head.
    pub(super) first: Option<Part>,
    /// The length that the head states.
    pub(super) length: Option<u64>,
    pub(super) most: usize,
}

impl StreamBody {
    /// That of a request with these fields.
    pub(super) fn new(side: Rc<StreamSide>, begun: BegunContent, headers: &HeaderMap) -> Self {
        let BegunContent { reader, first, length, most } = begun;
        let waits = first.is_none() && expects_continue(headers);
        let (reader, flaw, trailers) = (Some(reader), Rc::default(), None);
        Self { side, flaw, reader, first, trailers, left: length, waits, most }
    }

    /// No content.
    pub(super) fn empty(side: Rc<StreamSide>) -> Self {
        let (flaw, left) = (Rc::default(), Some(0));
        Self { side, flaw, reader: None, first: None, trailers: None, left, waits: false, most: 0 }
    }

    pub(in crate::serve) fn side(&self) -> &Rc<StreamSide> {
        &self.side
    }

    /// What it breaks, once it does.
    pub(super) fn flaw(&self) -> Rc<ContentFlaw> {
        Rc::clone(&self.flaw)
    }

    /// The next piece, or the trailers.
    pub(in crate::serve) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Http3Error>>> {
        let frame = self.poll_part(cx);
        if frame.is_pending() && std::mem::take(&mut self.waits) {
            self.side.send_interim(StatusCode::CONTINUE, &HeaderMap::new());
        }
        if matches!(frame, Poll::Ready(Some(Err(_)))) {
            self.reader = None;
        }
        frame
    }

    fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Http3Error>>> {
        loop {
            let Some(reader) = &mut self.reader else { return Poll::Ready(None) };
            let part = match self.first.take() {
                Some(first) => first,
                None => ready!(reader.poll_part(cx))?,
            };
            match part {
                Part::Content(octets) => return Poll::Ready(Some(self.content(octets))),
                Part::Section(section) => self.trailers = Some(self.read_trailers(&section)?),
                Part::TooLong => return Poll::Ready(Some(Err(self.malformed(TRAILERS)))),
                Part::End => {
                    self.end()?;
                    return Poll::Ready(self.trailers.take().map(|it| Ok(Frame::trailers(it))));
                }
            }
        }
    }

    fn content(&mut self, octets: Bytes) -> Result<Frame<Bytes>, Http3Error> {
        if let Some(left) = self.left {
            let left = left.checked_sub(octets.len() as u64);
            self.left = Some(left.ok_or_else(|| self.malformed(LENGTH))?);
        }
        Ok(Frame::data(octets))
    }

    /// Everything was read.
    fn end(&mut self) -> Result<(), Http3Error> {
        if self.left.is_some_and(|left| left > 0) {
            return Err(self.malformed(LENGTH));
        }
        self.reader = None;
        Ok(())
    }

    fn read_trailers(&self, section: &[u8]) -> Result<HeaderMap, Http3Error> {
        head::trailers(section, self.most).map_err(|error| match (error, &self.reader) {
            (HeadError::Malformed(rule), _) => self.malformed(rule),
            (HeadError::Section(SectionError::Broken), Some(reader)) => {
                reader.state().fail(Code::Decompression, "trailers can be decoded")
            }
            (HeadError::Section(_), _) => self.malformed(TRAILERS),
        })
    }

    fn malformed(&self, rule: &'static str) -> Http3Error {
        self.flaw.0.set(Some(rule));
        Http3Error::Broken { code: Code::Message as u32, rule }
    }

    pub(in crate::serve) fn is_end_stream(&self) -> bool {
        self.reader.is_none()
    }

    pub(in crate::serve) fn left(&self) -> Option<u64> {
        if self.reader.is_none() { Some(0) } else { self.left }
    }
}

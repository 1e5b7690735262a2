//! The content of a request, and the client that may wait for `100 Continue` before it sends any.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use crate::serve::stream_side::{StreamSide, expects_continue};
use crate::streams::ReceivedContent;

/// The content of a request.
pub(in crate::serve) struct StreamBody {
    side: Rc<StreamSide>,
    content: ReceivedContent,
    /// Whether the client sends it only once it is asked to.
    waits: bool,
}

impl StreamBody {
    /// That of a request with these fields.
    pub(super) fn new(side: Rc<StreamSide>, stream: RecvStream, headers: &HeaderMap) -> Self {
        let waits = !stream.is_end_stream() && expects_continue(headers);
        Self { side, content: ReceivedContent::new(stream, headers), waits }
    }

    /// No content.
    pub(super) fn empty(side: Rc<StreamSide>) -> Self {
        Self { side, content: ReceivedContent::empty(), waits: false }
    }

    pub(in crate::serve) fn side(&self) -> &Rc<StreamSide> {
        &self.side
    }

    /// The next piece, or the trailers.
    pub(in crate::serve) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let frame = self.content.poll_frame(cx);
        if frame.is_pending() && std::mem::take(&mut self.waits) {
            self.side.send_interim(StatusCode::CONTINUE, &HeaderMap::new());
        }
        frame
    }

    pub(in crate::serve) fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    pub(in crate::serve) fn left(&self) -> Option<u64> {
        self.content.left()
    }
}

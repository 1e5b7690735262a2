//! The body that a client sends, as the exchange reads it.

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use tamis_exchange::{Body, BodyError};
use tamis_transport::RequestBody;

/// The body of a request. Only one that has content needs memory of its own.
pub(crate) fn body(received: RequestBody) -> Body {
    if received.is_end_stream() { Body::Empty } else { Body::stream(ClientBody(received)) }
}

struct ClientBody(RequestBody);

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.get_mut().0).poll_frame(cx);
        frame.map(|frame| frame.map(|frame| frame.map_err(BodyError::peer)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

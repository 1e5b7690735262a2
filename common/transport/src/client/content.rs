//! The content of a response, read as its frames arrive.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::io::AsyncRead;

use super::{ClientConnection, refusal_of};

impl<IO: AsyncRead + Unpin> ClientConnection<IO> {
    /// The next piece of the content, or its trailers; `None` after the last.
    ///
    /// # Errors
    /// The connection broke, or the content breaks the protocol ([`io::ErrorKind::InvalidData`]).
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            ready!(self.turn.poll(cx));
            match self.content.take(&mut self.buffer, &mut self.turn) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(refusal) => {
                    self.keeps = false;
                    return Poll::Ready(Some(Err(refusal_of(refusal).into())));
                }
            }
            let read = ready!(self.poll_fill(cx));
            let error = match read {
                Ok(0) if self.content.end() => None,
                Ok(0) => {
                    let early = "the connection ended before the response was complete";
                    Some(io::Error::new(io::ErrorKind::UnexpectedEof, early))
                }
                Ok(_) => continue,
                Err(error) => Some(error),
            };
            self.keeps = false;
            if let Some(error) = error {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

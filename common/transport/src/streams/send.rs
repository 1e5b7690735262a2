//! Sends content on a stream, as fast as the peer's windows let it.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::Body;
use thiserror::Error as ThisError;

use super::reader::{ReaderWatch, ServedBody};

/// Why content was not sent to its end.
#[derive(Debug, ThisError)]
pub enum SendContentError {
    /// The peer reset the stream, or the connection broke.
    #[error("the peer takes no more of the content")]
    Gone(#[source] h2::Error),
    /// The peer took nothing of it for too long, and the stream was reset.
    #[error("the peer took nothing of the content for too long")]
    Unread,
    /// The body failed, and the stream was reset.
    #[error("the content failed")]
    Body(#[source] Box<dyn Error + Send + Sync>),
}

/// Sends a body to its end. Dropped before, it resets the stream.
///
/// # Errors
/// [`SendContentError`]. A body that fails resets the stream: with `CANCEL` if the stream that it came from was reset with
/// that, otherwise with `INTERNAL_ERROR`.
pub async fn send_content<B>(body: B, stream: SendStream<Bytes>) -> Result<(), SendContentError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    send(body, stream, |_, _| true).await
}

/// Sends the body of a response, as [`send_content`]; a client that takes nothing of it for longer than the body allows gets the
/// stream reset with `CANCEL`.
///
/// # Errors
/// As [`send_content`], and [`SendContentError::Unread`].
pub(crate) async fn send_response<B>(
    body: B,
    stream: SendStream<Bytes>,
) -> Result<(), SendContentError>
where
    B: ServedBody,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    send(body, stream, ServedBody::may_wait).await
}

async fn send<B>(
    body: B,
    mut stream: SendStream<Bytes>,
    mut may_wait: impl FnMut(Pin<&mut B>, Duration) -> bool,
) -> Result<(), SendContentError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut body = pin!(body);
    let mut reader = ReaderWatch::default();
    // Taken from the body and not yet sent, and whether it is the last.
    let mut waiting: Option<(Bytes, bool)> = None;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(reset) = stream.poll_reset(cx) {
                let error = reset.map_or_else(|error| error, h2::Error::from);
                return Poll::Ready(Err(SendContentError::Gone(error)));
            }
            if let Some((octets, last)) = &mut waiting {
                let Poll::Ready(room) = poll_room(&mut stream, cx) else {
                    ready!(reader.poll_look(cx, |waited| may_wait(body.as_mut(), waited)));
                    stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(SendContentError::Unread));
                };
                room.map_err(SendContentError::Gone)?;
                let part = octets.split_to(octets.len().min(stream.capacity()));
                reader.took(part.len());
                let (whole, last) = (octets.is_empty(), *last);
                stream.send_data(part, whole && last).map_err(SendContentError::Gone)?;
                match (whole, last) {
                    (true, true) => return Poll::Ready(Ok(())),
                    (true, false) => waiting = None,
                    (false, _) => stream.reserve_capacity(octets.len()),
                }
                continue;
            }
            let piece = poll_piece(body.as_mut(), cx);
            if piece.is_pending() {
                reader.nothing_waits();
            }
            match ready!(piece) {
                Ok(Piece::Last(octets)) if octets.is_empty() => {
                    return Poll::Ready(
                        stream.send_data(octets, true).map_err(SendContentError::Gone),
                    );
                }
                // Room is asked for only for what is at hand: otherwise a body that does not go on would hold some of the
                // connection's. Nothing is passed on that has no room: `h2` would keep it, and the stream, for as long as
                // the peer does not open its window, and nobody could give it up.
                Ok(Piece::Data(octets)) => {
                    stream.reserve_capacity(octets.len());
                    waiting = Some((octets, false));
                }
                Ok(Piece::Last(octets)) => {
                    stream.reserve_capacity(octets.len());
                    waiting = Some((octets, true));
                }
                Ok(Piece::Trailers(trailers)) => {
                    return Poll::Ready(
                        stream.send_trailers(trailers).map_err(SendContentError::Gone),
                    );
                }
                Err(error) => {
                    stream.send_reset(reason(&*error));
                    return Poll::Ready(Err(SendContentError::Body(error)));
                }
            }
        }
    })
    .await
}

/// A piece of a body.
pub(crate) enum Piece {
    /// Some octets.
    Data(Bytes),
    /// The last one, or no octets after the last one.
    Last(Bytes),
    /// What ends it.
    Trailers(HeaderMap),
}

/// The next piece. An empty one says nothing, unless it is the last.
pub(crate) fn poll_piece<B>(
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Result<Piece, Box<dyn Error + Send + Sync>>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    loop {
        let Some(frame) = ready!(body.as_mut().poll_frame(cx)) else {
            return Poll::Ready(Ok(Piece::Last(Bytes::new())));
        };
        match frame.map_err(Into::into)?.into_data() {
            Ok(octets) if body.is_end_stream() => return Poll::Ready(Ok(Piece::Last(octets))),
            Ok(octets) if octets.is_empty() => {}
            Ok(octets) => return Poll::Ready(Ok(Piece::Data(octets))),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return Poll::Ready(Ok(Piece::Trailers(trailers)));
                }
            }
        }
    }
}

/// Ready once the windows of stream and connection have room.
pub(crate) fn poll_room(
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), h2::Error>> {
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(room) => {
                room?;
            }
            // It was reset.
            None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
        }
    }
    Poll::Ready(Ok(()))
}

/// The reason with which a stream is reset when its body fails: that the other side gave up is passed on, other reasons are
/// not. `REFUSED_STREAM` would say that nothing was processed, and `HTTP_1_1_REQUIRED` ask for the same over another version,
/// so that a peer would send a request again that was passed on (RFC 9113 §8.7, §7).
fn reason(error: &(dyn Error + 'static)) -> Reason {
    if gives_up(error) { Reason::CANCEL } else { Reason::INTERNAL_ERROR }
}

/// Whether a body failed because the other side gave it up.
pub(crate) fn gives_up(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) == Some(Reason::CANCEL) {
            return true;
        }
        next = error.source();
    }
    false
}

//! The stream of a request: its head, its handler and its response, in one task.

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{Request, Response, StatusCode};
use quinn::{Connection, RecvStream, SendStream};
use tamis_ambient::Clock;
use thiserror::Error as ThisError;

use super::body::{BegunContent, ContentFlaw, StreamBody};
use super::code::Code;
use super::error::Http3Error;
use super::head::{self, HeadError};
use super::reader::{Part, RequestReader};
use super::state::{ConnectionState, OpenStream};
use super::tunnel::StreamTunnel;
use super::writer::StreamWriter;
use crate::causes::causes;
use crate::qpack::SectionError;
use crate::serve::ConnectionInfo;
use crate::serve::body::RequestBody;
use crate::serve::stream_head::{self, AfterHead, ResponseNeed};
use crate::serve::stream_side::StreamSide;
use crate::serve::tunnel::ServerTunnel;
use crate::streams::{Piece, ReaderWatch, ServedBody, gives_up, may_wait, poll_piece};

/// Bounds on the stream of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamLimits {
    /// The longest field section, as it is counted and as it is coded.
    pub(super) section: usize,
    /// From the beginning of the stream to the end of its head.
    pub(super) head_timeout: Duration,
}

/// Why a stream ended before its response was handed over.
#[derive(Debug, ThisError)]
enum StreamError {
    /// The client gave it up, or its connection broke.
    #[error("the client is gone")]
    Gone(#[source] Http3Error),
    /// The client wants no more of a response that had begun, or its connection broke.
    #[error("the client left its response")]
    Left(#[source] Http3Error),
    /// What the client sent breaks a rule.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// Its head did not end in time.
    #[error("the head of the request took too long")]
    Late,
    /// The client took nothing of the response for too long, and the stream was reset.
    #[error("the client took nothing of the content for too long")]
    Unread,
    /// The body of the response failed, and the stream was reset.
    #[error("the content failed")]
    Body(#[source] Box<dyn Error + Send + Sync>),
}

/// A request whose head was read.
struct Arrived {
    request: Request<RequestBody>,
    side: Rc<StreamSide>,
    flaw: Rc<ContentFlaw>,
    need: ResponseNeed,
    /// What the client sends through the tunnel, if there will be one.
    through: Option<RequestReader>,
}

/// Serves a stream to its end. Handler and response are dropped when the client gives the stream up.
pub(super) async fn serve<H, B>(
    (connection, send, receive): (Connection, SendStream, RecvStream),
    state: Rc<ConnectionState>,
    limits: StreamLimits,
    (handler, info): (Rc<H>, Rc<ConnectionInfo>),
) where
    H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B>,
    B: ServedBody,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let open = state.open();
    let mut writer = StreamWriter::new(send, connection);
    let reader = RequestReader::new(receive, Rc::clone(&state), limits.section);
    let outcome = match arrive(reader, &mut writer, limits).await {
        Ok(Some(arrived)) => respond(arrived, writer, (&state, open), &*handler, &info).await,
        // The request was refused, and the refusal is written completely.
        Ok(None) => {
            writer.taken().await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        if let StreamError::Gone(Http3Error::Reset { .. })
        | StreamError::Malformed(_)
        | StreamError::Late = error
        {
            state.given_up();
        }
        tracing::debug!(error = causes(&error), "a stream ended early");
    }
}

/// Reads the head of a request, which has to end in time. `None`: it was answered here.
async fn arrive(
    mut reader: RequestReader,
    writer: &mut StreamWriter,
    limits: StreamLimits,
) -> Result<Option<Arrived>, StreamError> {
    let part = poll_fn(|cx| reader.poll_part(cx));
    let Ok(part) = tokio::time::timeout(limits.head_timeout, part).await else {
        end_both(&mut reader, writer, Code::RequestIncomplete);
        return Err(StreamError::Late);
    };
    let head = match part.map_err(StreamError::Gone)? {
        Part::Section(section) => head::request(&section, limits.section),
        Part::TooLong => Err(SectionError::TooLarge.into()),
        Part::Content(_) | Part::End => {
            end_both(&mut reader, writer, Code::RequestIncomplete);
            return Err(StreamError::Malformed("a stream begins with a head"));
        }
    };
    match head {
        Ok(head) => request(head, reader, writer, limits).await.map(Some),
        Err(HeadError::Malformed(rule)) => {
            end_both(&mut reader, writer, Code::Message);
            Err(StreamError::Malformed(rule))
        }
        Err(HeadError::Section(SectionError::Broken)) => {
            let rule = "the head of a request can be decoded";
            Err(StreamError::Gone(reader.state().fail(Code::Decompression, rule)))
        }
        Err(HeadError::Section(SectionError::TooLarge)) => {
            refuse_large(writer).await?;
            reader.state().given_up();
            Ok(None)
        }
    }
}

/// Answers a head that is too large.
async fn refuse_large(writer: &mut StreamWriter) -> Result<(), StreamError> {
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    let mut parts = Response::new(()).into_parts().0;
    parts.status = status;
    let none = http_body::SizeHint::with_exact(0);
    stream_head::prepare(&mut parts, ResponseNeed::Content, false, &none, Clock::system());
    writer.put_section(&head::response(status, &parts.headers));
    poll_fn(|cx| {
        while writer.has_waiting() {
            ready!(writer.poll_write(cx))?;
        }
        Poll::Ready(Ok(()))
    })
    .await
    .map_err(StreamError::Gone)?;
    writer.finish();
    Ok(())
}

fn end_both(reader: &mut RequestReader, writer: &mut StreamWriter, code: Code) {
    reader.stop(code);
    writer.reset(code);
}

/// A request with what is known of its content.
async fn request(
    head: Request<()>,
    mut reader: RequestReader,
    writer: &mut StreamWriter,
    limits: StreamLimits,
) -> Result<Arrived, StreamError> {
    let need = ResponseNeed::of(head.method());
    let side = Rc::new(StreamSide::new(need == ResponseNeed::Tunnel));
    let (parts, ()) = head.into_parts();
    if need == ResponseNeed::Tunnel {
        // A CONNECT has no content: what follows its head is the tunnel's (RFC 9110 §9.3.6).
        let body = StreamBody::empty(Rc::clone(&side));
        let (flaw, through) = (body.flaw(), Some(reader));
        let request = Request::from_parts(parts, RequestBody::http3(body));
        return Ok(Arrived { request, side, flaw, need, through });
    }
    // The head was judged, its length among it.
    let length = head::content_length(&parts.headers).unwrap_or_default();
    let first = match length {
        // Nobody reads what is stated to be nothing, so it is looked at here.
        Some(0) => Some(no_content(&mut reader, writer, limits.head_timeout).await?),
        // The end of the stream mostly comes with the head, and then there is no content.
        _ => match poll_fn(|cx| Poll::Ready(reader.poll_part(cx))).await {
            Poll::Ready(part) => Some(part.map_err(StreamError::Gone)?),
            Poll::Pending => None,
        },
    };
    let body = match first {
        Some(Part::End) if length.unwrap_or(0) == 0 => StreamBody::empty(Rc::clone(&side)),
        Some(Part::End) => {
            end_both(&mut reader, writer, Code::Message);
            return Err(StreamError::Malformed("content is as long as its head says"));
        }
        first => {
            let begun = BegunContent { reader, first, length, most: limits.section };
            StreamBody::new(Rc::clone(&side), begun, &parts.headers)
        }
    };
    let flaw = body.flaw();
    let request = Request::from_parts(parts, RequestBody::http3(body));
    Ok(Arrived { request, side, flaw, need, through: None })
}

/// What follows a head that states no content: the end, or trailers. It has to come in the time of a head.
async fn no_content(
    reader: &mut RequestReader,
    writer: &mut StreamWriter,
    time: Duration,
) -> Result<Part, StreamError> {
    let part = poll_fn(|cx| {
        loop {
            match ready!(reader.poll_part(cx)) {
                Ok(Part::Content(octets)) if octets.is_empty() => {}
                part => return Poll::Ready(part),
            }
        }
    });
    match tokio::time::timeout(time, part).await {
        Ok(Ok(Part::Content(_))) => {
            end_both(reader, writer, Code::Message);
            Err(StreamError::Malformed("content is as long as its head says"))
        }
        Ok(part) => part.map_err(StreamError::Gone),
        Err(_elapsed) => {
            end_both(reader, writer, Code::RequestIncomplete);
            Err(StreamError::Late)
        }
    }
}

/// Whatever way a stream ends, nothing wakes its task after that.
struct StreamEnd(Rc<StreamSide>);

impl Drop for StreamEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Runs the handler and sends its response.
async fn respond<H, B>(
    arrived: Arrived,
    mut writer: StreamWriter,
    (state, open): (&ConnectionState, OpenStream),
    handler: &H,
    info: &ConnectionInfo,
) -> Result<(), StreamError>
where
    H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B>,
    B: ServedBody,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Arrived { request, side, flaw, need, through } = arrived;
    let end = StreamEnd(side);
    let response = handle(handler(request, info), &mut writer, &end.0, &flaw).await?;
    state.answered();
    let tunnel = end.0.take_tunnel();
    drop(end);
    let (mut parts, body) = response.into_parts();
    let hint = body.size_hint();
    let after = stream_head::prepare(&mut parts, need, tunnel.is_some(), &hint, Clock::system());
    writer.put_section(&head::response(parts.status, &parts.headers));
    match (after, tunnel, through) {
        (AfterHead::Tunnel, Some(tunnel), Some(through)) => {
            // The client waits for it, and whoever has the tunnel may wait for the client.
            poll_fn(|cx| Poll::Ready(writer.write_some(cx))).await.map_err(StreamError::Left)?;
            let stream = StreamTunnel::new(writer, through, open);
            // Nobody may wait any more: then the stream is reset with it.
            drop(tunnel.send(ServerTunnel::new(stream, BytesMut::new())));
            return Ok(());
        }
        (AfterHead::Content, _, _) => send(Some(body), &mut writer).await?,
        (AfterHead::End | AfterHead::Tunnel, _, _) => send(None::<B>, &mut writer).await?,
    }
    writer.taken().await;
    Ok(())
}

/// Runs the handler, and sends its interim responses, until the client is gone.
async fn handle<F, B>(
    handler: F,
    writer: &mut StreamWriter,
    side: &StreamSide,
    flaw: &ContentFlaw,
) -> Result<Response<B>, StreamError>
where
    F: Future<Output = Response<B>>,
{
    let mut handler = pin!(handler);
    poll_fn(|cx| {
        let handled = handler.as_mut().poll(cx);
        if let Some(rule) = flaw.rule() {
            writer.reset(Code::Message);
            return Poll::Ready(Err(StreamError::Malformed(rule)));
        }
        for interim in side.take_interims() {
            writer.put_section(&head::response(interim.status(), interim.headers()));
        }
        if handled.is_pending() {
            if let Poll::Ready(gone) = writer.poll_gone(cx) {
                return Poll::Ready(Err(StreamError::Gone(gone)));
            }
            writer.write_some(cx).map_err(StreamError::Gone)?;
            side.note_task(cx);
        }
        handled.map(Ok)
    })
    .await
}

/// Sends what waits, then a body to its end.
async fn send<B>(body: Option<B>, writer: &mut StreamWriter) -> Result<(), StreamError>
where
    B: ServedBody,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut body = pin!(body);
    let mut reader = ReaderWatch::default();
    let mut last = body.as_ref().as_pin_ref().is_none_or(|body| body.is_end_stream());
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(gone) = writer.poll_gone(cx) {
                return Poll::Ready(Err(StreamError::Left(gone)));
            }
            if writer.has_waiting() {
                let Poll::Ready(written) = writer.poll_write(cx) else {
                    ready!(reader.poll_look(cx, |waited| match body.as_mut().as_pin_mut() {
                        Some(body) => body.may_wait(waited),
                        None => may_wait(waited),
                    }));
                    writer.reset(Code::RequestCancelled);
                    return Poll::Ready(Err(StreamError::Unread));
                };
                reader.took(written.map_err(StreamError::Left)?);
                continue;
            }
            let Some(body) = body.as_mut().as_pin_mut().filter(|_| !last) else {
                writer.finish();
                return Poll::Ready(Ok(()));
            };
            let piece = poll_piece(body, cx);
            if piece.is_pending() {
                reader.nothing_waits();
            }
            match ready!(piece) {
                Ok(Piece::Last(octets)) => {
                    last = true;
                    if !octets.is_empty() {
                        writer.put_content(octets);
                    }
                }
                Ok(Piece::Data(octets)) => writer.put_content(octets),
                Ok(Piece::Trailers(trailers)) => {
                    last = true;
                    writer.put_section(&head::trailer_section(&trailers));
                }
                Err(error) => {
                    let gave_up = gives_up(&*error);
                    writer.reset(if gave_up { Code::RequestCancelled } else { Code::Internal });
                    return Poll::Ready(Err(StreamError::Body(error)));
                }
            }
        }
    })
    .await
}

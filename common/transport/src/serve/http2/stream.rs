//! A stream: its request, its handler and its response, in one task.

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tamis_ambient::Clock;
use thiserror::Error as ThisError;

use super::body::StreamBody;
use super::tunnel::StreamTunnel;
use crate::causes::causes;
use crate::serve::ConnectionInfo;
use crate::serve::body::RequestBody;
use crate::serve::stream_head::{self, AfterHead, ConnectProtocol, ResponseNeed};
use crate::serve::stream_side::StreamSide;
use crate::serve::tunnel::ServerTunnel;
use crate::streams::{SendContentError, ServedBody, send_response};

/// Why a stream ended before its response was handed over.
#[derive(Debug, ThisError)]
pub(super) enum StreamError {
    /// The client reset it, or its connection broke.
    #[error("the client is gone")]
    Gone(#[source] h2::Error),
    /// The content of the response was not sent to its end.
    #[error(transparent)]
    Content(#[from] SendContentError),
}

/// An accepted stream.
pub(super) struct Stream {
    request: Request<RequestBody>,
    respond: SendResponse<Bytes>,
    side: Rc<StreamSide>,
    need: ResponseNeed,
    /// What the client sends through the tunnel, if there will be one.
    through: Option<RecvStream>,
}

impl Stream {
    pub(super) fn new(mut request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let need = ResponseNeed::of(request.method());
        if let Some(protocol) = request.extensions_mut().remove::<h2::ext::Protocol>() {
            request.extensions_mut().insert(ConnectProtocol::sent(protocol.as_str()));
        }
        let side = Rc::new(StreamSide::new(need == ResponseNeed::Tunnel));
        let (parts, stream) = request.into_parts();
        let (body, through) = if need == ResponseNeed::Tunnel {
            // A CONNECT has no content: what follows its head is the tunnel's (RFC 9110 §9.3.6).
            (StreamBody::empty(Rc::clone(&side)), Some(stream))
        } else {
            (StreamBody::new(Rc::clone(&side), stream, &parts.headers), None)
        };
        let request = Request::from_parts(parts, RequestBody::http2(body));
        Self { request, respond, side, need, through }
    }

    /// Runs the handler and sends its response. Both are dropped when the client resets the stream.
    pub(super) async fn serve<H, B>(self, handler: Rc<H>, info: Rc<ConnectionInfo>)
    where
        H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B>,
        B: ServedBody,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { request, mut respond, side, need, through } = self;
        let end = StreamEnd(side);
        let handled = handle(handler(request, &info), &mut respond, &end.0).await;
        let outcome = match handled {
            Ok(response) => answer(response, respond, end, need, through).await,
            Err(error) => Err(StreamError::Gone(error)),
        };
        if let Err(error) = outcome {
            tracing::debug!(error = causes(&error), "a stream ended early");
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

/// Runs the handler, and sends its interim responses, until the client is gone.
async fn handle<F, B>(
    handler: F,
    respond: &mut SendResponse<Bytes>,
    side: &StreamSide,
) -> Result<Response<B>, h2::Error>
where
    F: Future<Output = Response<B>>,
{
    let mut handler = pin!(handler);
    poll_fn(|cx| {
        let handled = handler.as_mut().poll(cx);
        let interims = side.take_interims();
        if handled.is_pending() || !interims.is_empty() {
            if let Poll::Ready(reset) = respond.poll_reset(cx) {
                return Poll::Ready(Err(reset.map_or_else(|error| error, h2::Error::from)));
            }
            for interim in interims {
                // One that cannot be sent may be left out.
                let _sent = respond.send_informational(interim);
            }
        }
        if handled.is_pending() {
            side.note_task(cx);
        }
        handled.map(Ok)
    })
    .await
}

/// Sends a response: its head, then its content as it comes.
async fn answer<B>(
    response: Response<B>,
    mut respond: SendResponse<Bytes>,
    end: StreamEnd,
    need: ResponseNeed,
    through: Option<RecvStream>,
) -> Result<(), StreamError>
where
    B: ServedBody,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let tunnel = end.0.take_tunnel();
    drop(end);
    let (mut parts, body) = response.into_parts();
    let hint = body.size_hint();
    let after = stream_head::prepare(&mut parts, need, tunnel.is_some(), &hint, Clock::system());
    let ends = after == AfterHead::End || (after == AfterHead::Content && body.is_end_stream());
    let stream = respond.send_response(Response::from_parts(parts, ()), ends).map_err(|error| {
        respond.send_reset(Reason::INTERNAL_ERROR);
        StreamError::Gone(error)
    })?;
    if let (AfterHead::Tunnel, Some(tunnel), Some(through)) = (after, tunnel, through) {
        let stream = StreamTunnel::new(stream, through);
        // Nobody may wait any more: then the stream is reset with it.
        drop(tunnel.send(ServerTunnel::new(stream, BytesMut::new())));
    } else if !ends {
        send_response(body, stream).await?;
    }
    Ok(())
}

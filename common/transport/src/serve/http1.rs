//! HTTP/1 on a client's connection: requests are read, handled and answered one after the other by the connection's own
//! task; there is no other task and no channel.
//!
//! A head is judged and read in one pass ([`request`]): one with more than one reading is refused before anybody sees it.
//! The body is read by whoever polls it. Bytes after a request that asks for another protocol wait for its response, so
//! that a request cannot be smuggled into a tunnel that never opened.

mod request;
mod response;
mod side;
mod socket;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::HeaderValue;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tamis_ambient::Clock;
use tokio::io::{AsyncRead, AsyncWrite};

use self::request::RequestFacts;
use self::response::{AfterResponse, ResponsePlan};
use self::socket::{RequestArrival, ServerSocket, Wait};
use super::body::RequestBody;
use super::side::ExchangeSide;
use super::tunnel::ServerTunnel;
use super::{ConnectionInfo, ListenerStage, ServeError, Shutdown, linger, reached};
use crate::intake::{IntakeLimits, RefusedRequest};
use crate::message::spare;
use crate::streams::{ReaderWatch, ServedBody, may_wait};

/// The connection's own hold on its socket: a body that somebody keeps for longer does not keep the socket open.
struct SocketOwner<IO>(Rc<RefCell<ServerSocket<IO>>>);

impl<IO> Drop for SocketOwner<IO> {
    fn drop(&mut self) {
        drop(self.0.borrow_mut().close());
    }
}

/// Serves the connection to its end.
pub(super) async fn serve<IO, H, B>(
    (io, seen): (IO, BytesMut),
    info: &ConnectionInfo,
    limits: IntakeLimits,
    handler: H,
    refused: impl FnOnce(RefusedRequest) -> Option<HeaderValue>,
    mut shutdown: Shutdown,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B>,
    B: ServedBody,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (reasons, stage) = (limits.reasons, shutdown.clone());
    let owner = SocketOwner(Rc::new(RefCell::new(ServerSocket::new(io, seen, limits))));
    let socket = &owner.0;
    // The state of a handler is large: it keeps its place between two requests that follow one another, and an idle
    // connection gives the place back.
    let mut place = None;
    let mut end = std::pin::pin!(reached(&mut shutdown, ListenerStage::End));
    let (outcome, reply) = loop {
        let arrived = poll_fn(|cx| {
            let mut socket = socket.borrow_mut();
            if let Poll::Ready(arrived) = socket.poll_request(cx) {
                return Poll::Ready(arrived);
            }
            let ends = socket.is_idle() && end.as_mut().poll(cx).is_ready();
            if ends { Poll::Ready(Ok(RequestArrival::End)) } else { Poll::Pending }
        });
        let (request, facts) = match arrived.await {
            Ok(RequestArrival::Request(request, facts)) => (request, facts),
            Ok(RequestArrival::Nothing) => {
                place = None;
                continue;
            }
            Ok(RequestArrival::End) => break (Ok(()), String::new()),
            Ok(RequestArrival::Refused(request)) => {
                let refusal = request.refusal;
                tracing::debug!(code = refusal.code(), "a request was refused");
                let id = refused(request);
                break (Ok(()), refusal.reply(reasons, id.as_ref()));
            }
            Err(error) => break (Err(error), String::new()),
        };
        let side: Rc<dyn ExchangeSide> = Rc::<RefCell<ServerSocket<IO>>>::clone(socket);
        let body = RequestBody::http1(side, socket.borrow().exchange);
        let place = place.get_or_insert_with(|| Box::pin(None));
        place.set(Some(handler(request.map(|()| body), info)));
        let handled = handle(socket, place.as_mut()).await;
        place.set(None);
        let after = match handled {
            Ok(response) => {
                let leaves = *stage.borrow() != ListenerStage::Serve;
                respond(socket, facts, leaves, response).await
            }
            Err(error) => Err(error),
        };
        match after {
            Ok(AfterResponse::Next) if socket.borrow_mut().finish_exchange() => {}
            Ok(AfterResponse::Next | AfterResponse::End) => break (Ok(()), String::new()),
            Ok(AfterResponse::Tunnel) => {
                open_tunnel(socket);
                return Ok(());
            }
            Err(error) => break (Err(error), String::new()),
        }
    };
    drop(place);
    let io = socket.borrow_mut().close();
    if let Some(io) = io {
        Box::pin(linger::close(io, reply.as_bytes())).await;
    }
    outcome.map_err(ServeError::Http1)
}

/// Runs the handler, and drops it when its client is gone.
async fn handle<IO, F, B>(
    socket: &RefCell<ServerSocket<IO>>,
    mut handler: Pin<&mut Option<F>>,
) -> io::Result<Response<B>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<B>>,
{
    poll_fn(|cx| {
        if let Some(handler) = handler.as_mut().as_pin_mut()
            && let Poll::Ready(response) = handler.poll(cx)
        {
            return Poll::Ready(Ok(response));
        }
        let mut socket = socket.borrow_mut();
        if socket.driver.as_ref().is_none_or(|driver| !driver.will_wake(cx.waker())) {
            socket.driver = Some(cx.waker().clone());
        }
        if !socket.outbox.is_flushed()
            && let Poll::Ready(Err(error)) = socket.poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        socket.poll_peer_gone(cx, Wait::PeerGone).map(Err)
    })
    .await
}

/// Writes a response: its head, then its body as it comes.
async fn respond<IO, B>(
    socket: &RefCell<ServerSocket<IO>>,
    facts: RequestFacts,
    leaves: bool,
    response: Response<B>,
) -> io::Result<AfterResponse>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    B: ServedBody,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (parts, body) = response.into_parts();
    // A body may be that of the request, which asks the socket.
    let hint = body.size_hint();
    let ResponsePlan { framing, after } = {
        let mut socket = socket.borrow_mut();
        (socket.replied, socket.driver) = (true, None);
        // The rest of a request that has not arrived may never be read, so the next one cannot be promised.
        let ends = leaves || !socket.is_message_whole();
        let head = (parts.status, &parts.headers);
        response::put_head(&mut socket.outbox, facts, head, &hint, ends, Clock::system())
    };
    spare::give_back(parts.headers);
    let Some(mut framing) = framing else {
        drop(body);
        let mut reader = ReaderWatch::default();
        return poll_fn(|cx| poll_written(socket, cx, &mut reader, may_wait)).await.map(|()| after);
    };
    let mut reader = ReaderWatch::default();
    // Dropped with its last piece, before that is written.
    let mut body = std::pin::pin!(Some(body));
    poll_fn(|cx| {
        loop {
            // A body that is pending may have ended its turn, so it is not asked again before it wakes this task.
            let mut pending = false;
            while socket.borrow().outbox.has_room()
                && let Some(source) = body.as_mut().as_pin_mut()
            {
                let Poll::Ready(piece) = poll_piece(source, cx) else {
                    pending = true;
                    break;
                };
                let mut socket = socket.borrow_mut();
                socket.note_piece();
                let outbox = &mut socket.outbox;
                let (data, ended) = match piece {
                    Ok(Piece::Data(data, ended)) => (data, ended.then_some(None)),
                    Ok(Piece::End(trailers)) => (Bytes::new(), Some(trailers)),
                    Err(error) => return Poll::Ready(Err(error)),
                };
                outbox.put_data(&mut framing, data).map_err(io::Error::other)?;
                if let Some(trailers) = ended {
                    let trailers = trailers.filter(|_| facts.trailers);
                    outbox.put_end(framing, trailers.as_ref()).map_err(io::Error::other)?;
                    drop(socket);
                    body.set(None);
                }
            }
            ready!(poll_written(socket, cx, &mut reader, |waited| {
                match body.as_mut().as_pin_mut() {
                    Some(body) => body.may_wait(waited),
                    None => may_wait(waited),
                }
            }))?;
            if body.is_none() {
                return Poll::Ready(Ok(after));
            }
            if pending {
                reader.nothing_waits();
                // Writing shows that a client left, but nothing may come to write for as long as the upstream likes.
                let mut socket = socket.borrow_mut();
                return socket.poll_peer_gone(cx, Wait::PeerLeft).map(Err);
            }
        }
    })
    .await
}

/// Writes what is there; fails once the client took next to nothing of it for too long.
fn poll_written<IO: AsyncRead + AsyncWrite + Unpin>(
    socket: &RefCell<ServerSocket<IO>>,
    cx: &mut Context<'_>,
    reader: &mut ReaderWatch,
    may_wait: impl FnMut(Duration) -> bool,
) -> Poll<io::Result<()>> {
    let mut socket = socket.borrow_mut();
    let before = socket.outbox.len();
    let written = socket.poll_flush(cx);
    reader.took(before.saturating_sub(socket.outbox.len()));
    if written.is_pending() {
        drop(socket);
        ready!(reader.poll_look(cx, may_wait));
        let unread = "the client took nothing of the response for too long";
        return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, unread)));
    }
    written
}

/// A piece of a response's body.
enum Piece {
    /// Data, and whether it is the last.
    Data(Bytes, bool),
    End(Option<HeaderMap>),
}

/// The next piece.
fn poll_piece<B>(mut body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<io::Result<Piece>>
where
    B: ServedBody,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return Poll::Ready(Ok(Piece::End(None)));
    }
    let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else { return Poll::Pending };
    Poll::Ready(match frame {
        None => Ok(Piece::End(None)),
        Some(Err(error)) => Err(io::Error::other(error)),
        Some(Ok(frame)) => Ok(match frame.into_data() {
            Ok(data) => Piece::Data(data, body.is_end_stream()),
            Err(frame) => Piece::End(frame.into_trailers().ok()),
        }),
    })
}

/// Hands the connection over to whoever waits for the tunnel.
fn open_tunnel<IO: AsyncRead + AsyncWrite + Unpin + 'static>(socket: &RefCell<ServerSocket<IO>>) {
    let mut socket = socket.borrow_mut();
    if let (Some(send), Some(io)) = (socket.tunnel.take(), socket.take_io()) {
        let read = std::mem::take(&mut socket.buffer);
        // Nobody may wait any more: then the connection ends with it.
        drop(send.send(ServerTunnel::new(io, read)));
    }
}

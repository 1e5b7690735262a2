//! HTTP/2 on a client's connection: the `h2` crate reads and writes its frames. The connection's own task drives it and
//! accepts streams; each stream has a task of its own, which runs the handler and then sends the response.
//!
//! Nothing is said about a stream that `h2` finds malformed: it is reset before anybody sees its request.

mod body;
mod stream;
#[cfg(test)]
mod tests;
mod tunnel;

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use h2::server::Builder;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use self::body::StreamBody;
use self::stream::Stream;
use super::body::RequestBody;
use super::{ConnectionInfo, ListenerStage, ServeError, ServeLimits, Shutdown, reached};
use crate::frames::MeteredStream;
use crate::prefixed_stream::PrefixedStream;
use crate::streams::{KeepAlive, PingTimes, ServedBody};

/// Bytes that a client may send on a stream, and on all of a connection, before somebody reads them.
const CLIENT_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same for a stream of a proxy with an identity, or that its listener names. Its connection carries requests of many clients, and has room for what
/// all of its streams may send: otherwise a few uploads that nobody reads would stop all others.
const PROXY_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The longest frame that a client may send.
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of responses that wait to be written, on one stream.
const SEND_BUFFER_BYTES: usize = 400 * 1024;
/// Streams that clients reset before they were accepted, and those that we reset because of what clients sent.
const PENDING_RESETS_MAX: usize = 20;
const ERROR_RESETS_MAX: usize = 1024;
/// The same for such a proxy: clients that leave are many, and each would otherwise end the responses of all
/// others on its connection.
const PROXY_PENDING_RESETS_MAX: usize = 10_000;
const PROXY_ERROR_RESETS_MAX: usize = 100_000;

/// Serves the connection to its end.
pub(super) async fn serve<IO, H, B>(
    (io, seen): (IO, BytesMut),
    info: Rc<ConnectionInfo>,
    limits: &ServeLimits,
    handler: H,
    mut shutdown: Shutdown,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B> + 'static,
    B: ServedBody + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let io = MeteredStream::from_client(PrefixedStream::new(io, seen), limits.max_idle_frames);
    let heard = io.heard();
    let mut connection = builder(limits, PeerLimits::of(&info, limits))
        .handshake(io)
        .await
        .map_err(ServeError::Http2)?;
    let times = PingTimes { interval: limits.ping_interval, timeout: limits.ping_timeout };
    let mut keep_alive = KeepAlive::new(connection.ping_pong(), heard, times);
    let mut leave = pin!(reached(&mut shutdown, ListenerStage::Leave));
    let mut leaves = false;
    let handler = Rc::new(handler);
    poll_fn(|cx| {
        loop {
            if keep_alive.poll(cx).is_ready() {
                return Poll::Ready(Err(ServeError::Silent));
            }
            // A GOAWAY with the highest stream id, and the true last one a round trip later: requests in transit are answered
            // (RFC 9113 §6.8).
            if !leaves && leave.as_mut().poll(cx).is_ready() {
                leaves = true;
                connection.graceful_shutdown();
            }
            let Poll::Ready(accepted) = connection.poll_accept(cx) else {
                keep_alive.note_heard();
                return Poll::Pending;
            };
            match accepted {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(ServeError::Http2(error))),
                Some(Ok((request, respond))) => {
                    let stream = Stream::new(request, respond);
                    let serve = stream.serve(Rc::clone(&handler), Rc::clone(&info));
                    // The end of the connection ends its streams, so nobody waits for the handle.
                    drop(tokio::task::spawn_local(serve));
                }
            }
        }
    })
    .await
}

/// What a peer may send before somebody reads it, in bytes, and how often it may give a stream up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PeerLimits {
    stream: u32,
    connection: u32,
    pending_resets: usize,
    error_resets: usize,
}

impl PeerLimits {
    fn of(info: &ConnectionInfo, limits: &ServeLimits) -> Self {
        let proved = info.identity.as_ref().is_some_and(|identity| identity.spiffe_id.is_some());
        if !proved && !limits.many_clients {
            return Self {
                stream: CLIENT_WINDOW_BYTES,
                connection: CLIENT_WINDOW_BYTES,
                pending_resets: PENDING_RESETS_MAX,
                error_resets: ERROR_RESETS_MAX,
            };
        }
        let stream = PROXY_STREAM_WINDOW_BYTES;
        // The most that a window may be (RFC 9113 §6.9.1).
        let connection = stream.saturating_mul(limits.max_streams).min((1 << 31) - 1);
        Self {
            stream,
            connection: connection.max(stream),
            pending_resets: PROXY_PENDING_RESETS_MAX,
            error_resets: PROXY_ERROR_RESETS_MAX,
        }
    }
}

fn builder(limits: &ServeLimits, peer: PeerLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(peer.stream)
        .initial_connection_window_size(peer.connection)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(limits.max_header_list_bytes)
        .max_pending_accept_reset_streams(peer.pending_resets)
        .max_local_error_reset_streams(Some(peer.error_resets))
        .enable_connect_protocol();
    builder
}

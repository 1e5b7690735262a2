//! Serves one connection: detects its HTTP version, handles its requests, ends it.

mod body;
mod date;
mod http1;
mod http2;
mod http3;
pub(crate) mod linger;
mod pending;
mod side;
mod stream_head;
mod stream_side;
#[cfg(test)]
mod tests;
mod tunnel;

use std::error::Error;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::HeaderValue;
use http::{Request, Response};
use http_body::Body;
use thiserror::Error as ThisError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

pub use self::body::{InterimSender, RequestBody};
pub use self::http3::{Http3Error, serve_quic};
pub use self::pending::{PendingTunnel, TunnelError};
pub use self::side::RequestBodyError;
pub use self::stream_head::ConnectProtocol;
pub use self::tunnel::ServerTunnel;
use crate::address::Address;
use crate::first_read::poll_first_read;
use crate::frames::IDLE_FRAMES_MAX;
use crate::intake::{IntakeLimits, RefusedRequest};
use crate::streams::{PlainBody, ServedBody};
use crate::tls::PeerIdentity;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Facts about a connection before its first request.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// The address that it comes from: its peer's, or the one that a PROXY header states; `None` on a unix socket.
    pub sender: Option<SocketAddr>,
    /// The address it connected to.
    pub local: Address,
    /// The identity that the peer proved and the result of the TLS handshake; `None` without TLS.
    pub identity: Option<PeerIdentity>,
}

/// Bounds on one connection.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// Bounds on HTTP/1.
    pub intake: IntakeLimits,
    /// Concurrent requests on an HTTP/2 connection; 128.
    pub max_streams: u32,
    /// Longest header list after expansion in bytes; 64 KiB.
    pub max_header_list_bytes: u32,
    /// Between two pings on a silent HTTP/2 connection; 30 s.
    pub ping_interval: Duration,
    /// Time limit for the answer to a ping; 20 s.
    pub ping_timeout: Duration,
    /// Unnecessary HTTP/2 frames (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, empty DATA and
    /// CONTINUATION, unknown types) that a peer may send beyond what its requests and our responses need;
    /// 1,000, of which SETTINGS counts as 10. Each request and each DATA frame that we send adds to the budget up
    /// to that, and so does time, 50 per second.
    pub max_idle_frames: u32,
    /// Whether the peer is a proxy by its place, such as a load balancer: its HTTP/2 connection has room for many clients, as
    /// that of a proxy with an identity has. No.
    pub many_clients: bool,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            intake: IntakeLimits::default(),
            max_streams: 128,
            max_header_list_bytes: 64 * 1024,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            max_idle_frames: IDLE_FRAMES_MAX,
            many_clients: false,
        }
    }
}

/// The stage of a listener's end, which its connections follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ListenerStage {
    /// It serves.
    #[default]
    Serve,
    /// Everything is still served, and clients are made to go elsewhere: HTTP/1 responses carry
    /// `Connection: close` (RFC 9112 §9.6), HTTP/2 connections get a GOAWAY (RFC 9113 §6.8). The listener
    /// may return to serving.
    Leave,
    /// Exchanges in progress are finished and no more are accepted.
    End,
}

/// The current stage of a listener's end.
pub type Shutdown = watch::Receiver<ListenerStage>;

/// How a connection failed; only records use it, since its exchanges have their own outcome.
#[derive(Debug, ThisError)]
pub enum ServeError {
    /// The socket failed before the HTTP version was known.
    #[error("the connection broke before its first request")]
    Sniff(#[source] std::io::Error),
    /// The connection began an HTTP/2 preface and continued differently.
    #[error("the connection preface is not that of HTTP/2")]
    Preface,
    /// The peer left, or a body failed.
    #[error("the connection broke")]
    Http1(#[source] std::io::Error),
    /// The peer left, broke the protocol, or a body failed.
    #[error("the connection broke")]
    Http2(#[source] h2::Error),
    /// The peer left, or broke the protocol.
    #[error("the connection broke")]
    Http3(#[source] Http3Error),
    /// The peer did not answer a ping.
    #[error("the peer of a silent connection did not answer a ping")]
    Silent,
}

/// Serves a connection to its end, or until `shutdown` reaches [`ListenerStage::End`] and its exchanges are done.
///
/// With ALPN the negotiated protocol is used; without, HTTP/2 by prior knowledge is recognised by its
/// preface. The handler runs on the current thread and need not be `Send`; it is dropped when its peer resets the stream.
/// On HTTP/1 a peer may end its side after the last request and still gets its response if that begins soon
/// ([`IntakeLimits::left_timeout`]); after that it counts as gone, and the handler is dropped too.
///
/// A client on HTTP/1.1 or HTTP/2 gets `100 Continue` once the handler reads a body that waits for it, and other interim
/// responses through [`RequestBody::interim`].
///
/// Must run inside a `LocalSet`. Rare states are boxed: an idle connection otherwise occupies the size of
/// its largest state.
///
/// # Errors
/// [`ServeError`] when the connection did not end normally. A refusal by the intake is normal.
pub async fn serve_connection<IO, H, B>(
    io: IO,
    info: Rc<ConnectionInfo>,
    limits: &ServeLimits,
    handler: H,
    shutdown: Shutdown,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let handler = async move |request: Request<RequestBody>, info: &ConnectionInfo| {
        handler(request, info).await.map(PlainBody::new)
    };
    serve_recording_refusals(io, info, limits, handler, |_refused| None, shutdown).await
}

/// The same, and `refused` learns of the request that the intake refused before the handler saw it. There is at most one: the
/// connection ends with it. What it gives is sent as `x-request-id`.
///
/// # Errors
/// As [`serve_connection`].
pub async fn serve_recording_refusals<IO, H, B>(
    mut io: IO,
    info: Rc<ConnectionInfo>,
    limits: &ServeLimits,
    handler: H,
    refused: impl FnOnce(RefusedRequest) -> Option<HeaderValue>,
    mut shutdown: Shutdown,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: AsyncFn(Request<RequestBody>, &ConnectionInfo) -> Response<B> + 'static,
    B: ServedBody + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let negotiated = info.identity.as_ref().and_then(|identity| identity.alpn.as_deref());
    let negotiated = negotiated.map(|protocol| protocol == b"h2");
    let mut seen = BytesMut::new();
    let protocol = match negotiated {
        Some(false) => Protocol::Http1,
        // The preface of a protocol that was agreed on is waited for no longer than that of one that was not.
        Some(true) | None => tokio::select! {
            biased;
            protocol = sniff(&mut io, &mut seen, &limits.intake) => protocol?,
            () = reached(&mut shutdown, ListenerStage::End) => return Ok(()),
        },
    };
    match (protocol, negotiated) {
        (Protocol::Nothing, _) => Ok(()),
        (Protocol::Http1, None | Some(false)) => {
            http1::serve((io, seen), &info, limits.intake.clone(), handler, refused, shutdown).await
        }
        (Protocol::Http2, _) => {
            Box::pin(http2::serve((io, seen), info, limits, handler, shutdown)).await
        }
        (Protocol::Neither, _) | (Protocol::Http1, Some(true)) => {
            Box::pin(linger::close(io, b"")).await;
            Err(ServeError::Preface)
        }
    }
}

enum Protocol {
    Nothing,
    Http1,
    Http2,
    Neither,
}

async fn sniff<IO: AsyncRead + Unpin>(
    io: &mut IO,
    seen: &mut BytesMut,
    limits: &IntakeLimits,
) -> Result<Protocol, ServeError> {
    let mut patience = limits.idle_timeout;
    loop {
        let read = poll_fn(|cx| poll_first_read(cx, io, seen));
        let read = tokio::time::timeout(patience, read).await;
        let ended = match read {
            Ok(read) => read.map_err(ServeError::Sniff)? == 0,
            Err(_elapsed) => return Ok(Protocol::Nothing),
        };
        if seen.is_empty() {
            return Ok(Protocol::Nothing);
        }
        if seen.starts_with(PREFACE) {
            return Ok(Protocol::Http2);
        }
        let common = seen.iter().zip(PREFACE).take_while(|(a, b)| a == b).count();
        match (common == seen.len(), common >= 4) {
            (true, _) if !ended => patience = limits.head_timeout,
            (_, true) => return Ok(Protocol::Neither),
            (_, false) => return Ok(Protocol::Http1),
        }
    }
}

/// Ready once that stage is reached; never when the sender is gone.
async fn reached(shutdown: &mut Shutdown, stage: ListenerStage) {
    if shutdown.wait_for(|now| *now >= stage).await.is_err() {
        std::future::pending::<()>().await;
    }
}

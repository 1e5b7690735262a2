//! A connection whose protocol changed (RFC 9110 §7.8, RFC 8441).

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::Request;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use thiserror::Error as ThisError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::body::RequestBody;

/// Why no tunnel opened.
#[derive(Debug, ThisError)]
pub enum TunnelError {
    /// The response did not change the protocol, or the connection ended before it was sent.
    #[error("the protocol was not changed")]
    NotOpened,
    /// The same, over HTTP/2.
    #[error("the stream opened no tunnel")]
    Http2(#[source] hyper::Error),
}

/// The client's side of a tunnel, ready once the response that opens it was sent.
pub struct PendingTunnel(Pending);

enum Pending {
    Http1(oneshot::Receiver<ServerTunnel>),
    Http2(OnUpgrade),
    None,
}

impl PendingTunnel {
    /// That of a request. It never opens when the request asks for no other protocol.
    pub fn of(request: &mut Request<RequestBody>) -> Self {
        if let Some(body) = request.body().http1_side() {
            let pending = body.side.tunnel(body.exchange);
            return Self(pending.map_or(Pending::None, Pending::Http1));
        }
        Self(Pending::Http2(hyper::upgrade::on(request)))
    }
}

impl Future for PendingTunnel {
    type Output = Result<ServerTunnel, TunnelError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Pending::Http1(receiver) => {
                Pin::new(receiver).poll(cx).map_err(|_dropped| TunnelError::NotOpened)
            }
            Pending::Http2(upgrade) => {
                let upgraded = ready!(Pin::new(upgrade).poll(cx)).map_err(TunnelError::Http2)?;
                let stream = Side::Http2(Box::new(TokioIo::new(upgraded)));
                Poll::Ready(Ok(ServerTunnel { stream, read: BytesMut::new() }))
            }
            Pending::None => Poll::Ready(Err(TunnelError::NotOpened)),
        }
    }
}

impl fmt::Debug for PendingTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingTunnel")
    }
}

/// A stream of either direction, without its type.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Unpin> Duplex for IO {}

/// An open tunnel; what had arrived with its request is read first.
pub struct ServerTunnel {
    stream: Side,
    read: BytesMut,
}

enum Side {
    Http1(Box<dyn Duplex>),
    Http2(Box<TokioIo<Upgraded>>),
}

impl ServerTunnel {
    pub(super) fn http1(stream: Box<dyn Duplex>, read: BytesMut) -> Self {
        Self { stream: Side::Http1(stream), read }
    }

    fn stream(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.stream {
            Side::Http1(stream) => Pin::new(&mut **stream),
            Side::Http2(stream) => Pin::new(&mut **stream),
        }
    }
}

impl fmt::Debug for ServerTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTunnel")
    }
}

impl AsyncRead for ServerTunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read.is_empty() {
            return this.stream().poll_read(cx, out);
        }
        let bytes = this.read.split_to(this.read.len().min(out.remaining()));
        out.put_slice(bytes.chunk());
        if this.read.is_empty() {
            this.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerTunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().poll_shutdown(cx)
    }
}

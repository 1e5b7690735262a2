//! A connection or stream whose protocol changed (RFC 9110 §7.8, RFC 8441).

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream of either direction, without its type.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Unpin> Duplex for IO {}

/// An open tunnel; what had arrived with its request is read first.
pub struct ServerTunnel {
    stream: Box<dyn Duplex>,
    read: BytesMut,
}

impl ServerTunnel {
    /// Over `stream`, of which `read` was read before.
    pub(super) fn new(
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        read: BytesMut,
    ) -> Self {
        Self { stream: Box::new(stream), read }
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
            return Pin::new(&mut *this.stream).poll_read(cx, out);
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
        Pin::new(&mut *self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_shutdown(cx)
    }
}

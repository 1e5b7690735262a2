//! A stream as bytes of another protocol (RFC 8441 §5): the end of one direction is END_STREAM, and one that is dropped before
//! it was ended is reset.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::streams::poll_room;

/// The bytes of a write at most: they are copied, and may wait for the client's window.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Both directions of a stream.
pub(super) struct StreamTunnel {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// Received and not read yet; its room is given back as it is read.
    read: Bytes,
    /// Whether room for a write was asked for.
    asked: bool,
    ended: bool,
}

impl StreamTunnel {
    pub(super) fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self { send, receive, read: Bytes::new(), asked: false, ended: false }
    }
}

impl AsyncRead for StreamTunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.read.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(octets)) => this.read = octets,
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
            }
        }
        let taken = this.read.len().min(out.remaining());
        out.put_slice(this.read.get(..taken).unwrap_or_default());
        this.read.advance(taken);
        // It fails only for more than was read.
        let _acknowledged = this.receive.flow_control().release_capacity(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamTunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if octets.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Poll::Ready(reset) = this.send.poll_reset(cx) {
            return Poll::Ready(Err(failed(reset.map_or_else(|error| error, h2::Error::from))));
        }
        // Room is asked for only for what is at hand, as for a body.
        if !this.asked {
            this.send.reserve_capacity(1);
            this.asked = true;
        }
        ready!(poll_room(&mut this.send, cx)).map_err(failed)?;
        this.asked = false;
        let taken = octets.get(..WRITE_BYTES_MAX).unwrap_or(octets);
        this.send.send_data(Bytes::copy_from_slice(taken), false).map_err(failed)?;
        Poll::Ready(Ok(taken.len()))
    }

    /// The connection's task writes what it was given.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.ended, true) {
            this.send.send_data(Bytes::new(), true).map_err(failed)?;
        }
        Poll::Ready(Ok(()))
    }
}

/// The error of the connection itself, where it is one.
fn failed(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

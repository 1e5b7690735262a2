//! A stream as bytes of another protocol (RFC 9220 §3): they are the content of its frames, and the end of one direction is the
//! end of the stream in it. One that is dropped before it was ended is reset.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::Http3Error;
use super::reader::{Part, RequestReader};
use super::state::OpenStream;
use super::writer::StreamWriter;

/// The bytes of a write at most: they are copied, and may wait for the client's window.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Both directions of a stream.
pub(super) struct StreamTunnel {
    writer: StreamWriter,
    reader: RequestReader,
    /// Received and not read yet.
    read: Bytes,
    /// Whether the client ended its direction.
    read_all: bool,
    _open: OpenStream,
}

impl StreamTunnel {
    pub(super) fn new(writer: StreamWriter, reader: RequestReader, open: OpenStream) -> Self {
        Self { writer, reader, read: Bytes::new(), read_all: false, _open: open }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.writer.has_waiting() {
            ready!(self.writer.poll_write(cx)).map_err(failed)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for StreamTunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What the client's window had no room for: nobody may write anything more before something is read.
        this.writer.write_some(cx).map_err(failed)?;
        while this.read.is_empty() && !this.read_all {
            match ready!(this.reader.poll_part(cx)).map_err(failed)? {
                Part::Content(octets) => this.read = octets,
                Part::End => this.read_all = true,
                Part::Section(_) | Part::TooLong => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a tunnel has no trailers",
                    )));
                }
            }
        }
        let taken = this.read.len().min(out.remaining());
        out.put_slice(this.read.get(..taken).unwrap_or_default());
        this.read.advance(taken);
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
        ready!(this.poll_drain(cx))?;
        let taken = octets.get(..WRITE_BYTES_MAX).unwrap_or(octets);
        this.writer.put_content(Bytes::copy_from_slice(taken));
        this.writer.write_some(cx).map_err(failed)?;
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        this.writer.finish();
        Poll::Ready(Ok(()))
    }
}

fn failed(error: Http3Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

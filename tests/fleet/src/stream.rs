//! The transport of a simulated proxy: a counted connection, lines out, lines in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use anyhow::{Result, bail};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose bytes are counted as they come out of TLS: with the frames of HTTP/2, without those of TLS.
pub(crate) struct CountedStream<S> {
    pub(crate) stream: S,
    pub(crate) read: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let more = buffer.filled().len().saturating_sub(before);
        self.read.fetch_add(u64::try_from(more).unwrap_or(0), Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The lines of an answer.
pub(crate) struct Lines {
    body: Incoming,
    rest: Vec<u8>,
    /// How far `rest` was looked through without finding an end.
    looked: usize,
}

/// The longest line, in bytes.
const MAX_LINE_BYTES: usize = 4 << 20;

impl Lines {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, rest: Vec::new(), looked: 0 }
    }

    /// The next line; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let unseen = self.rest.iter().skip(self.looked);
            if let Some(at) = unseen.clone().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.rest.drain(..=self.looked + at).collect();
                self.looked = 0;
                line.pop();
                return Ok(Some(line));
            }
            self.looked = self.rest.len();
            if self.looked >= MAX_LINE_BYTES {
                bail!("a line has more than {MAX_LINE_BYTES} bytes");
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    self.rest.extend_from_slice(&frame?.into_data().unwrap_or_default());
                }
            }
        }
    }
}

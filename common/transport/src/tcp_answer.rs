//! The answer of a proxy that another one asked for a `tcp` port: one octet, before any octet of the service.
//!
//! The handshake agrees on the port ([`crate::TcpPort`]). Who may connect, and whether the service can be reached, is known
//! after it. Without an answer a refusal would look like a service that closes at once to the proxy that asked.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// How long, and how much, is read of a peer after the last answer, so that it arrives.
const LINGER: (Duration, u64) = (Duration::from_secs(1), 64 * 1024);

/// The decision about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpAnswer {
    /// It is open: everything that follows is the service's.
    Opened,
    /// Whoever asked may not connect.
    Refused,
    /// The service cannot be reached, or nobody can decide who may connect.
    Unavailable,
}

impl TcpAnswer {
    fn octet(self) -> u8 {
        match self {
            Self::Opened => 0,
            Self::Refused => 1,
            Self::Unavailable => 2,
        }
    }

    fn read(octet: u8) -> Option<Self> {
        [Self::Opened, Self::Refused, Self::Unavailable].into_iter().find(|it| it.octet() == octet)
    }

    /// Sends it, and leaves the connection open.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(self, peer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        peer.write_all(&[self.octet()]).await?;
        peer.flush().await
    }

    /// Sends it, and ends the connection. What the peer sends meanwhile is read for a second: a connection that is closed
    /// with unread octets is reset, and the peer may lose what it has not read (RFC 9112 §9.6).
    ///
    /// Cancel-safe: dropping the future closes the connection.
    pub async fn send_last(self, mut peer: impl AsyncRead + AsyncWrite + Unpin) {
        let (most, octets) = LINGER;
        let ended = async {
            self.send(&mut peer).await?;
            peer.shutdown().await?;
            tokio::io::copy(&mut (&mut peer).take(octets), &mut tokio::io::sink()).await
        };
        // Nobody is left to report a failure to: the peer knows that the connection ended.
        drop(tokio::time::timeout(most, ended).await);
    }
}

/// What was received from a peer that was asked for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceivedAnswer {
    /// Its answer.
    Answered(TcpAnswer),
    /// An octet that is no answer.
    Unclear,
    /// The connection ended before the answer.
    Missing,
}

/// The answer to a connection, shared with whoever reports it.
#[derive(Debug, Clone, Default)]
pub struct PeerAnswer(Arc<OnceLock<ReceivedAnswer>>);

impl PeerAnswer {
    /// That of a connection whose peer is the service itself, which gives none.
    #[must_use]
    pub fn opened() -> Self {
        Self(Arc::new(OnceLock::from(ReceivedAnswer::Answered(TcpAnswer::Opened))))
    }

    /// What was received; `None`: nothing yet.
    #[must_use]
    pub fn received(&self) -> Option<ReceivedAnswer> {
        self.0.get().copied()
    }

    fn receive(&self, polled: &io::Result<()>, octets: &[u8]) -> ReceivedAnswer {
        *self.0.get_or_init(|| match (polled, octets) {
            (Ok(()), [octet]) => {
                TcpAnswer::read(*octet).map_or(ReceivedAnswer::Unclear, ReceivedAnswer::Answered)
            }
            _ => ReceivedAnswer::Missing,
        })
    }
}

/// A connection whose first octet is the answer of a peer, unless that was heard. Of one that is not opened nothing more is
/// read: it fails with `ConnectionRefused`.
#[derive(Debug)]
pub struct AnsweredStream<S> {
    stream: S,
    answer: PeerAnswer,
}

impl<S> AnsweredStream<S> {
    /// The stream, and where its answer is reported.
    pub fn new(stream: S, answer: PeerAnswer) -> Self {
        Self { stream, answer }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AnsweredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let heard = match self.answer.received() {
            Some(heard) => heard,
            None => {
                let mut octet = [0];
                let mut read = ReadBuf::new(&mut octet);
                let polled = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read));
                self.answer.receive(&polled, read.filled())
            }
        };
        if heard != ReceivedAnswer::Answered(TcpAnswer::Opened) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AnsweredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;

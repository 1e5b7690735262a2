//! Connections to upstreams: TCP, unix socket, TLS over either.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::address::Address;
use crate::tls::{ClientTls, PeerIdentity, TlsError};

/// A connection without TLS.
#[derive(Debug)]
pub enum PlainStream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// A connection to an upstream.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(PlainStream),
    /// With TLS, the identity that the peer proved, and whether the peer has sent an octet within TLS.
    Tls(Box<tokio_rustls::client::TlsStream<PlainStream>>, PeerIdentity, bool),
}

/// Why a connection failed. No byte of a request had been sent, so an attempt at another endpoint is always
/// safe.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The endpoint refused, or cannot be reached.
    #[error("cannot connect to {address}")]
    Connect {
        /// The endpoint.
        address: Address,
        /// The operating system's error.
        source: io::Error,
    },
    /// Connecting, handshake included, took longer than allowed.
    #[error("connecting to {address} took longer than {timeout:?}")]
    Timeout {
        /// The endpoint.
        address: Address,
        /// The time allowed.
        timeout: Duration,
    },
    /// The TLS handshake failed.
    #[error("TLS with {address} failed")]
    Tls {
        /// The endpoint.
        address: Address,
        /// Why.
        source: TlsError,
    },
}

/// Connects, and does the TLS handshake if `tls` is given; both together take at most `timeout`.
///
/// Cancel-safe: dropping the future closes the socket.
///
/// # Errors
/// [`ConnectError`] names the endpoint.
pub async fn connect(
    address: &Address,
    tls: Option<&ClientTls>,
    timeout: Duration,
) -> Result<Stream, ConnectError> {
    match tokio::time::timeout(timeout, establish(address, tls)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(ConnectError::Timeout { address: address.clone(), timeout }),
    }
}

async fn establish(address: &Address, tls: Option<&ClientTls>) -> Result<Stream, ConnectError> {
    let plain = dial(address)
        .await
        .map_err(|source| ConnectError::Connect { address: address.clone(), source })?;
    let Some(tls) = tls else { return Ok(Stream::Plain(plain)) };
    let (stream, identity) = tls
        .connect(plain)
        .await
        .map_err(|source| ConnectError::Tls { address: address.clone(), source })?;
    Ok(Stream::Tls(Box::new(stream), identity, false))
}

async fn dial(address: &Address) -> io::Result<PlainStream> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(PlainStream::Tcp(stream))
        }
        Address::Unix(path) => UnixStream::connect(path).await.map(PlainStream::Unix),
    }
}

impl Stream {
    /// The identity that the peer proved; `None` without TLS.
    #[must_use]
    pub fn identity(&self) -> Option<&PeerIdentity> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(_, identity, _) => Some(identity),
        }
    }

    /// Makes the operating system probe the connection after this long without traffic, and then at this
    /// interval; has no effect on unix sockets.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn probe_every(&self, interval: Duration) -> io::Result<()> {
        let plain = match self {
            Self::Plain(plain) => plain,
            Self::Tls(stream, ..) => stream.get_ref().0,
        };
        match plain {
            PlainStream::Tcp(stream) => socket2::SockRef::from(stream).set_tcp_keepalive(
                &socket2::TcpKeepalive::new().with_time(interval).with_interval(interval),
            ),
            PlainStream::Unix(_) => Ok(()),
        }
    }

    /// Whether TLS agreed on HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.identity().is_some_and(PeerIdentity::is_http2)
    }
}

/// Runs the body with `$io` pinned to whichever stream is inside.
macro_rules! each {
    ($self:expr, $($variant:path),+; $io:pat => $body:expr) => {
        match $self.get_mut() { $($variant($io, ..) => $body),+ }
    };
}

impl AsyncRead for PlainStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, Self::Tcp, Self::Unix; io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, Self::Tcp, Self::Unix; io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, Self::Tcp, Self::Unix; io => Pin::new(io).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, Self::Tcp, Self::Unix; io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, Self::Tcp, Self::Unix; io => Pin::new(io).poll_shutdown(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io, _, answered) => {
                let before = buf.filled().len();
                let read = Pin::new(io).poll_read(cx, buf);
                *answered |= buf.filled().len() > before;
                if *answered { read } else { read.map_err(refused) }
            }
        }
    }
}

/// An error of a read, with the kind [`io::ErrorKind::ConnectionRefused`] if the peer refused this side's certificate: with TLS
/// 1.3 the handshake of a client is over before the server judges the client (RFC 8446 §4.4.2.4), so that the refusal is read
/// like a response, before anything else. No system gives this kind for a read of an open connection.
fn refused(error: io::Error) -> io::Error {
    use rustls::AlertDescription as Alert;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired,
        )) => io::Error::new(
            io::ErrorKind::ConnectionRefused,
            format!("the upstream refuses the certificate of this proxy: {error}"),
        ),
        _ => error,
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, Self::Plain, Self::Tls; io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, Self::Plain, Self::Tls; io => Pin::new(io).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, Self::Plain, Self::Tls; io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, Self::Plain, Self::Tls; io => Pin::new(io).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::listen;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn both_kinds_of_address_are_listened_on_and_reached() {
        let folder = tempfile::tempdir().unwrap();
        for wanted in ["127.0.0.1:0".parse().unwrap(), Address::Unix(folder.path().join("s"))] {
            let bound = listen::bind(&wanted, NonZeroUsize::MIN).unwrap().remove(0);
            let address = bound.local_address().unwrap();
            let listener = bound.into_listener().unwrap();
            let (accepted, connected) =
                tokio::join!(listener.accept(), connect(&address, None, SOON));
            let ((mut server, peer), mut client) = (accepted, connected.unwrap());
            assert_eq!(peer.is_some(), matches!(address, Address::Tcp(_)));
            client.write_all(b"hi").await.unwrap();
            let mut seen = [0; 2];
            server.read_exact(&mut seen).await.unwrap();
            assert_eq!(&seen, b"hi");
        }
    }

    #[tokio::test]
    async fn an_endpoint_nobody_listens_on_is_named() {
        let bound = listen::bind(&"127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN).unwrap();
        let address = bound[0].local_address().unwrap();
        drop(bound);
        let error = connect(&address, None, SOON).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}

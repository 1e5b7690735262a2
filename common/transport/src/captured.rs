//! Connections that the kernel led to another address than the one that their client asked for.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;

use crate::connect::{PlainStream, Stream};

/// The first octet of a connection that begins with TLS: a record of a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;

/// What a client sends first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamBeginning {
    /// A handshake of TLS.
    Tls,
    /// Anything else.
    Plaintext,
    /// Nothing: it ended its side, or the stream is one of a Unix socket, which is not looked at.
    Nothing,
}

impl PlainStream {
    /// The address that the client asked for, as the kernel remembers it (`SO_ORIGINAL_DST`); `None`: the client asked for
    /// the address at which it was accepted, or nobody follows connections.
    #[must_use]
    pub fn original_destination(&self) -> Option<SocketAddr> {
        let Self::Tcp(stream) = self else { return None };
        let local = stream.local_addr().ok()?;
        let socket = SockRef::from(stream);
        let asked =
            if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
        // IPv6 addresses may come with flow and scope, which say nothing about the destination.
        let asked = asked.ok()?.as_socket()?;
        let asked = SocketAddr::new(asked.ip(), asked.port());
        (asked != SocketAddr::new(local.ip(), local.port())).then_some(asked)
    }

    /// Waits for the first octet, leaves it where it is, and says whether it is one of TLS. Cancel-safe.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn begins_with_tls(&self) -> io::Result<bool> {
        Ok(self.beginning().await? == StreamBeginning::Tls)
    }

    /// Waits for the first octet, leaves it where it is, and says what it begins. Cancel-safe.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn beginning(&self) -> io::Result<StreamBeginning> {
        let Self::Tcp(stream) = self else { return Ok(StreamBeginning::Nothing) };
        let mut first = [0];
        Ok(match stream.peek(&mut first).await? {
            0 => StreamBeginning::Nothing,
            _ if first == [HANDSHAKE] => StreamBeginning::Tls,
            _ => StreamBeginning::Plaintext,
        })
    }
}

impl Stream {
    /// The own address of the connection; `None` of a unix socket.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        let plain = match self {
            Self::Plain(plain) => plain,
            Self::Tls(stream, ..) => stream.get_ref().0,
        };
        match plain {
            PlainStream::Tcp(stream) => stream.local_addr().ok(),
            PlainStream::Unix(_) => None,
        }
    }
}

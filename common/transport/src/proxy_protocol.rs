//! The header of the PROXY protocol, with which a load balancer states the client's address before anything
//! else on a connection (HAProxy, "The PROXY protocol", versions 1 and 2).
//!
//! Nothing but the header is read, so what follows it may be TLS. Whether the sender may state an address is
//! for the caller to decide, before it reads. [`proxy_header`] makes headers for applications that read them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ppp::{v1, v2};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Time for the whole header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest header of version 1, its end of line included (section 2.1).
const MAX_TEXT: usize = 107;
/// Shortest header of version 1: `PROXY UNKNOWN` and the end of its line.
const MIN_TEXT: usize = 15;
/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before its addresses.
const FIXED: usize = 16;
/// Longest part of version 2 after that: addresses and further values, which are skipped.
const MAX_REST: usize = 4096;

/// Version of a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeaderVersion {
    /// One line of text (section 2.1).
    One,
    /// Binary (section 2.2).
    Two,
}

/// The header that states where a client's connection comes from and where it arrived, in this order; `None`: it has no
/// addresses, as on a Unix socket, so the header is `UNKNOWN` or `LOCAL`.
///
/// # Errors
/// The header does not fit: never with these addresses.
pub fn proxy_header(
    version: ProxyHeaderVersion,
    ends: Option<(SocketAddr, SocketAddr)>,
) -> io::Result<Vec<u8>> {
    let plain = |address: SocketAddr| canonical(address.ip(), address.port());
    let ends = ends.map(|(from, to)| (plain(from), plain(to)));
    // A header has addresses of one family.
    let ends = ends.filter(|(from, to)| from.is_ipv4() == to.is_ipv4());
    match (version, ends) {
        (ProxyHeaderVersion::One, ends) => {
            let addresses = ends.map_or(v1::Addresses::Unknown, v1::Addresses::from);
            Ok(addresses.to_string().into_bytes())
        }
        (ProxyHeaderVersion::Two, Some(ends)) => {
            let proxy = v2::Version::Two | v2::Command::Proxy;
            v2::Builder::with_addresses(proxy, v2::Protocol::Stream, ends).build()
        }
        (ProxyHeaderVersion::Two, None) => {
            let local = v2::Version::Two | v2::Command::Local;
            let none = v2::Addresses::Unspecified;
            v2::Builder::with_addresses(local, v2::Protocol::Unspecified, none).build()
        }
    }
}

/// Why a connection has no usable PROXY header. It is closed without a reply.
#[derive(Debug, Error)]
pub enum ProxyHeaderError {
    /// The connection begins with something else.
    #[error(
        "the connection does not begin with a PROXY header: let its sender write one (`send-proxy-v2`), or remove `proxyProtocol` of the listener"
    )]
    Absent,
    /// It begins like one and is none.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// It is longer than version 1 allows, or than 4,096 bytes after the fixed part of version 2.
    #[error("the PROXY header is too long")]
    TooLong,
    /// It did not arrive within 5 s.
    #[error("the PROXY header took longer than {HEADER_TIMEOUT:?}")]
    Timeout,
    /// The connection ended within it.
    #[error("the connection ended before its PROXY header")]
    Closed(#[source] io::Error),
}

impl ProxyHeaderError {
    /// The reason as one word of a short list, for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Absent => "proxy-header-absent",
            Self::Malformed | Self::TooLong => "proxy-header",
            Self::Timeout => "timeout",
            Self::Closed(_) => "closed",
        }
    }
}

/// Reads the header and nothing more. `None`: the sender speaks for itself (`LOCAL`, as health checks do) or
/// knows no address of a client (`UNKNOWN`), so the client is the sender.
///
/// Not cancel-safe: a part of the header may have been read.
///
/// # Errors
/// [`ProxyHeaderError`]; the connection cannot be used.
pub async fn read_proxy_header<IO: AsyncRead + Unpin>(
    io: &mut IO,
) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    match tokio::time::timeout(HEADER_TIMEOUT, read(io)).await {
        Ok(read) => read,
        Err(_elapsed) => Err(ProxyHeaderError::Timeout),
    }
}

async fn read<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut octets = Vec::with_capacity(MAX_TEXT);
    // One byte decides about most other protocols, so a client of those is not waited for.
    more(io, &mut octets, 1).await?;
    match octets.as_slice() {
        b"P" => text(io, octets).await,
        b"\r" => binary(io, octets).await,
        _ => Err(ProxyHeaderError::Absent),
    }
}

/// Version 1. Its length is known at its end only, so the last part is read byte by byte.
async fn text<IO: AsyncRead + Unpin>(
    io: &mut IO,
    mut octets: Vec<u8>,
) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    more(io, &mut octets, b"PROXY ".len()).await?;
    if octets != *b"PROXY " {
        return Err(ProxyHeaderError::Absent);
    }
    more(io, &mut octets, MIN_TEXT).await?;
    while octets.last() != Some(&b'\n') {
        if octets.len() == MAX_TEXT {
            return Err(ProxyHeaderError::TooLong);
        }
        let longer = octets.len().saturating_add(1);
        more(io, &mut octets, longer).await?;
    }
    let header =
        v1::Header::try_from(octets.as_slice()).map_err(|_| ProxyHeaderError::Malformed)?;
    if header.header.len() != octets.len() {
        return Err(ProxyHeaderError::Malformed);
    }
    Ok(match header.addresses {
        v1::Addresses::Unknown => None,
        // A number is digits alone; the parser of the standard library takes a sign as well.
        v1::Addresses::Tcp4(_) | v1::Addresses::Tcp6(_) if octets.contains(&b'+') => {
            return Err(ProxyHeaderError::Malformed);
        }
        v1::Addresses::Tcp4(it) => Some((it.source_address, it.source_port).into()),
        v1::Addresses::Tcp6(it) => Some(canonical(it.source_address.into(), it.source_port)),
    })
}

/// Version 2, which states its length.
async fn binary<IO: AsyncRead + Unpin>(
    io: &mut IO,
    mut octets: Vec<u8>,
) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    more(io, &mut octets, SIGNATURE.len()).await?;
    if octets != *SIGNATURE {
        return Err(ProxyHeaderError::Absent);
    }
    more(io, &mut octets, FIXED).await?;
    let rest = match octets.as_slice() {
        [.., high, low] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => return Err(ProxyHeaderError::Malformed),
    };
    if rest > MAX_REST {
        return Err(ProxyHeaderError::TooLong);
    }
    more(io, &mut octets, FIXED.saturating_add(rest)).await?;
    let header =
        v2::Header::try_from(octets.as_slice()).map_err(|_| ProxyHeaderError::Malformed)?;
    if header.command == v2::Command::Local {
        return Ok(None);
    }
    match (header.addresses, header.protocol) {
        // A sender that knows no address, or one of a Unix socket.
        (v2::Addresses::Unspecified | v2::Addresses::Unix(_), _) => Ok(None),
        (v2::Addresses::IPv4(it), v2::Protocol::Stream) => {
            Ok(Some((it.source_address, it.source_port).into()))
        }
        (v2::Addresses::IPv6(it), v2::Protocol::Stream) => {
            Ok(Some(canonical(it.source_address.into(), it.source_port)))
        }
        // This connection carries no datagrams.
        (
            v2::Addresses::IPv4(_) | v2::Addresses::IPv6(_),
            v2::Protocol::Datagram | v2::Protocol::Unspecified,
        ) => Err(ProxyHeaderError::Malformed),
    }
}

/// An IPv6 address that stands for one of IPv4 is that of IPv4: a rule for one must hold for both.
fn canonical(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

/// Reads until there are `length` bytes.
async fn more<IO: AsyncRead + Unpin>(
    io: &mut IO,
    octets: &mut Vec<u8>,
    length: usize,
) -> Result<(), ProxyHeaderError> {
    let at = octets.len();
    octets.resize(length.max(at), 0);
    let Some(missing) = octets.get_mut(at..) else { return Ok(()) };
    io.read_exact(missing).await.map(|_| ()).map_err(ProxyHeaderError::Closed)
}

#[cfg(test)]
mod tests;

//! Where a new connection comes from: its peer, or the address that a load balancer states in a PROXY header.

use std::net::SocketAddr;

use tamis_exchange::AddressPrefixes;
use tamis_transport::{PlainStream, ProxyHeaderError, causes, read_proxy_header};

/// Why a connection is closed before its first byte counts.
#[derive(Debug, thiserror::Error)]
pub(super) enum SenderRefusal {
    /// The peer may not state another address.
    #[error("the peer is not one of `proxyProtocol.trusted` of the listener")]
    Peer,
    /// There is no usable header.
    #[error(transparent)]
    Header(#[from] ProxyHeaderError),
}

impl SenderRefusal {
    /// The reason as one word of a short list, for metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Peer => "proxy-peer",
            Self::Header(error) => error.reason(),
        }
    }

    /// The refusal with its causes.
    pub(super) fn text(&self) -> String {
        causes(self)
    }
}

/// Whether a connection begins with a PROXY header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SenderRule {
    /// It does not; it comes from the peer.
    Peer,
    /// It does.
    Header,
    /// It would, but this peer may not write one.
    Refused,
}

impl SenderRule {
    /// The rule for a peer, given the senders of a listener that requires the header. A peer without an
    /// address is none of them.
    pub(super) fn of(senders: Option<&AddressPrefixes>, peer: Option<SocketAddr>) -> Self {
        match (senders, peer) {
            (None, _) => Self::Peer,
            (Some(senders), Some(peer)) if senders.contains(peer.ip()) => Self::Header,
            (Some(_), _) => Self::Refused,
        }
    }

    /// The address that the connection comes from.
    ///
    /// # Errors
    /// The connection must be closed.
    pub(super) async fn sender(
        self,
        plain: &mut PlainStream,
        peer: Option<SocketAddr>,
    ) -> Result<Option<SocketAddr>, SenderRefusal> {
        match self {
            Self::Peer => Ok(peer),
            // Boxed, so that other connections need no room for it.
            Self::Header => Ok(Box::pin(read_proxy_header(plain)).await?.or(peer)),
            Self::Refused => Err(SenderRefusal::Peer),
        }
    }
}

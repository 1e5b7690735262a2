//! TLS on both sides, with SPIFFE identities.
//!
//! A [`ServerTls`] or [`ClientTls`] never changes: new files make a new value, which belongs to a new
//! generation, and connections keep the one they began with.

mod acme;
mod bundles;
mod client;
mod error;
mod facts;
mod files;
mod hello;
mod mesh;
mod peer_certificate;
mod peers;
mod quic;
mod refusal;
mod server;
mod shown;
mod signatures;
pub mod spiffe;
mod tcp_port;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod verify;

use std::io;
use std::time::Duration;

use rustls::{CommonState, ProtocolVersion};

pub use self::acme::{CertificateOrders, LiveChallenge, OrderState};
pub use self::bundles::TrustBundles;
pub use self::client::{ClientTls, OwnCertificate};
pub use self::error::TlsError;
pub use self::facts::{CertificateFacts, CertificateNeeds};
pub use self::hello::{read_hello, refuse_challenge, refuse_name};
pub use self::mesh::{ClientCertificates, FederatedPeer, MeshIdentity, SuppliedSvid, SvidRenewals};
pub use self::peer_certificate::PeerCertificate;
pub(crate) use self::quic::read_bare_hello;
pub use self::refusal::PeerRefusal;
pub use self::server::{AskedHandshake, ServerStream, ServerTls};
use self::spiffe::SpiffeId;
pub use self::tcp_port::{AskedProtocol, TcpPort};
pub use self::verify::ServerAltName;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The protocols of HTTP, as ALPN names them (RFC 7301 §6).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The identity that a peer proved, and the result of the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The SPIFFE id of the peer's verified certificate; `None` when it showed none.
    pub spiffe_id: Option<SpiffeId>,
    /// The server name the client asked for.
    pub sni: Option<String>,
    /// The protocol agreed on by ALPN, as on the wire: `h2` or `http/1.1`.
    pub alpn: Option<Vec<u8>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: &'static str,
}

impl PeerIdentity {
    /// Whether ALPN agreed on HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.alpn.as_deref() == Some(b"h2")
    }

    /// Whether ALPN agreed on that opaque port.
    #[must_use]
    pub fn is_tcp(&self, port: TcpPort) -> bool {
        self.alpn.as_ref().is_some_and(|alpn| *alpn == port.protocol())
    }

    fn of(state: &CommonState, sni: Option<&str>) -> Self {
        let leaf = state.peer_certificates().and_then(<[_]>::first);
        Self {
            spiffe_id: leaf.and_then(|leaf| SpiffeId::of_certificate(leaf).ok()),
            sni: sni.map(str::to_owned),
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            tls_version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "unknown",
            },
        }
    }
}

async fn deadline<T>(handshake: impl Future<Output = io::Result<T>>) -> Result<T, TlsError> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(outcome) => outcome.map_err(TlsError::Handshake),
        Err(_elapsed) => Err(TlsError::Timeout),
    }
}

//! TLS inside QUIC (RFC 9001).

use std::sync::Arc;

use quinn_proto::crypto::rustls::QuicServerConfig;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use rustls_pki_types::CertificateDer;

use super::server::asked;
use super::spiffe::SpiffeId;
use super::{AskedHandshake, PeerIdentity, ServerTls, TlsError, verify};

/// HTTP/3, as ALPN names it (RFC 9114 §3.1).
const H3: &[u8] = b"h3";
/// The longest record, in octets (RFC 8446 §5.1).
const RECORD_MAX: usize = 1 << 14;

impl ServerTls {
    /// The same for connections of QUIC: HTTP/3 alone, and nothing before the handshake is complete.
    pub(crate) fn for_quic(&self) -> Result<Arc<QuicServerConfig>, TlsError> {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = vec![H3.to_vec()];
        config.max_early_data_size = 0;
        quic(config)
    }

    /// One that completes no handshake.
    pub(crate) fn quic_without_certificate() -> Result<Arc<QuicServerConfig>, TlsError> {
        let config = ServerConfig::builder_with_provider(verify::provider())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NoCertificate));
        quic(config)
    }
}

fn quic(config: ServerConfig) -> Result<Arc<QuicServerConfig>, TlsError> {
    let unusable =
        |_| TlsError::Setup(rustls::Error::General("no cipher suite for QUIC".to_owned()));
    QuicServerConfig::try_from(config).map(Arc::new).map_err(unusable)
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// What a first message of a handshake asks for that came without records, as over QUIC; `None`: it cannot be read.
pub(crate) fn read_bare_hello(message: &[u8]) -> Option<AskedHandshake> {
    let mut acceptor = Acceptor::default();
    for part in message.chunks(RECORD_MAX) {
        let length = u16::try_from(part.len()).ok()?.to_be_bytes();
        // A handshake record of TLS 1.0, as all first ones are.
        let record = [&[22, 3, 1][..], &length, part].concat();
        acceptor.read_tls(&mut record.as_slice()).ok()?;
    }
    let accepted = acceptor.accept().ok()??;
    Some(asked(&accepted.client_hello()))
}

impl PeerIdentity {
    /// That of a client over QUIC, which has TLS 1.3 alone (RFC 9001 §4.2).
    pub(crate) fn of_quic(
        leaf: Option<&CertificateDer<'_>>,
        sni: Option<String>,
        alpn: Option<Vec<u8>>,
    ) -> Self {
        let spiffe_id = leaf.and_then(|leaf| SpiffeId::of_certificate(leaf).ok());
        Self { spiffe_id, sni, alpn, tls_version: "TLSv1.3" }
    }
}

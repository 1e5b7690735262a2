//! Authorities of trust domains, for tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{ClientTls, MeshIdentity, PeerIdentity, ServerTls, TlsError, TrustBundles};

/// An authority with an intermediate below it.
pub(super) struct TestAuthority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// A chain and its key.
pub(super) struct TestSvid {
    pub(super) chain: String,
    pub(super) key: KeyPair,
}

impl TestSvid {
    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

impl TestAuthority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "test root");
        let key = KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(params.clone(), key).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(rcgen::DnType::CommonName, "test intermediate");
        let key = KeyPair::generate().unwrap();
        let intermediate = CertifiedIssuer::signed_by(params, key, &root).unwrap();
        Self { root, intermediate }
    }

    pub(super) fn bundle(&self) -> String {
        self.root.pem()
    }

    /// An SVID after a change.
    pub(super) fn issue(
        &self,
        uris: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> TestSvid {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        for uri in uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.intermediate).unwrap();
        TestSvid { chain: format!("{}{}", leaf.pem(), self.intermediate.pem()), key }
    }

    /// The identity of a member with a valid SVID.
    pub(super) fn member(&self, id: &str, bundles: TrustBundles) -> MeshIdentity {
        let svid = self.issue(&[id], |_| {});
        MeshIdentity::new(&svid.chain, svid.key(), bundles, UnixTime::now()).unwrap()
    }
}

/// Bundles of trust domains.
pub(super) fn bundles(all: &[(&str, &TestAuthority)]) -> TrustBundles {
    let texts: Vec<_> =
        all.iter().map(|(domain, of)| (domain.parse().unwrap(), of.bundle())).collect();
    let texts = texts.iter().map(|(domain, text)| (Clone::clone(domain), text.as_str()));
    TrustBundles::from_pem(texts).unwrap()
}

/// The result of a handshake on both sides; a byte goes each way, since with TLS 1.3 the client finishes
/// first.
pub(super) async fn shake(
    server: &ServerTls,
    client: &ClientTls,
) -> (Result<PeerIdentity, TlsError>, Result<PeerIdentity, TlsError>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let serve = async {
        let (mut io, identity) = server.accept(far).await?;
        io.write_all(b"x").await.map_err(TlsError::Handshake)?;
        Ok(identity)
    };
    let connect = async {
        let (mut io, identity) = client.connect(near).await?;
        io.read_u8().await.map_err(TlsError::Handshake)?;
        Ok(identity)
    };
    tokio::join!(serve, connect)
}

/// What a client that offers these protocols sees in a handshake for a name: the chain, whoever signed it, and the protocol.
pub(super) async fn client_offering(
    io: tokio::io::DuplexStream,
    name: &str,
    offered: &[&[u8]],
) -> std::io::Result<(Vec<CertificateDer<'static>>, Option<Vec<u8>>)> {
    let mut config = rustls::ClientConfig::builder_with_provider(super::verify::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, io).await?;
    let (_, state) = stream.get_ref();
    let chain = state.peer_certificates().unwrap_or_default().to_vec();
    Ok((chain, state.alpn_protocol().map(<[u8]>::to_vec)))
}

/// Believes every server.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        super::verify::provider().signature_verification_algorithms.supported_schemes()
    }
}

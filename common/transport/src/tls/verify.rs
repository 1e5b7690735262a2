//! Whether a peer's certificate proves the expected identity.
//!
//! rustls verifies chains; the rules of SPIFFE come in addition and can only refuse.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::signatures::Signatures;
use super::spiffe::{SpiffeError, SpiffeId, uris};
use super::{TlsError, files};

/// aws-lc-rs, whose first key exchange is the hybrid of X25519 and ML-KEM.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Every connection has a whole handshake: a resumed session would skip the verification of the client, whose certificate
/// may have expired meanwhile.
pub(super) fn resume_no_session(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
}

/// Requires a certificate of one of the authorities with one SPIFFE id.
pub(super) fn clients(ca: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let chain = WebPkiClientVerifier::builder_with_provider(authorities(ca)?, provider())
        .build()
        .map_err(|error| authority(ca, &error))?;
    Ok(Arc::new(SpiffeClients { chain }))
}

/// Requires a certificate of one of the authorities with this SPIFFE id or, without one, valid for
/// the server's name.
pub(super) fn servers(
    ca: &Path,
    expected: Option<SpiffeId>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let roots = authorities(ca)?;
    match expected {
        Some(expected) => Ok(ProvenServer::verifier(roots, ServerProof::Id(expected))),
        None => Ok(WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| authority(ca, &error))?),
    }
}

/// Whether clients that trust the authorities of `ca` accept the chain of a server.
pub(super) fn server_is_of(
    path: &Path,
    chain: &[CertificateDer<'static>],
    ca: &Path,
    now: SystemTime,
) -> Result<(), TlsError> {
    let roots = authorities(ca)?;
    of_authority(path, ca, chain, now, |leaf, rest, now| {
        let algorithms = Signatures::of(&provider()).of_certificates();
        let leaf = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, rest, now, algorithms)
    })
}

/// Whether servers that trust the authorities of `ca` accept the chain of a client.
pub(super) fn client_is_of(
    path: &Path,
    chain: &[CertificateDer<'static>],
    ca: &Path,
    now: SystemTime,
) -> Result<(), TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(authorities(ca)?, provider())
        .build()
        .map_err(|error| authority(ca, &error))?;
    of_authority(path, ca, chain, now, |leaf, rest, now| {
        verifier.verify_client_cert(leaf, rest, now).map(drop)
    })
}

fn of_authority(
    path: &Path,
    ca: &Path,
    chain: &[CertificateDer<'static>],
    now: SystemTime,
    verify: impl FnOnce(
        &CertificateDer<'static>,
        &[CertificateDer<'static>],
        UnixTime,
    ) -> Result<(), Error>,
) -> Result<(), TlsError> {
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    // A chain is never empty: its file would have been refused.
    let Some((leaf, rest)) = chain.split_first() else { return Ok(()) };
    verify(leaf, rest, now).map_err(|source| {
        let (path, authority) = (path.to_owned(), ca.to_owned());
        TlsError::Issuer { path, authority, source }
    })
}

/// Requires a certificate of one of these authorities, with one of `names` or, without any, valid for the server's name.
/// `place` is where the authorities stand; `None`: they are those of the operating system.
pub(super) fn servers_named(
    place: &Path,
    authorities: Option<Vec<CertificateDer<'static>>>,
    names: Vec<ServerAltName>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let roots = match authorities {
        Some(authorities) => roots(place, authorities)?,
        None => system_roots()?,
    };
    if names.is_empty() {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        return Ok(verifier.map_err(|error| authority(place, &error))?);
    }
    Ok(ProvenServer::verifier(roots, ServerProof::Names(names)))
}

/// The authorities of the operating system.
fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some of a system's certificates are older than any rule about them; the others count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let rule = found.errors.first().map_or_else(
            || "the operating system has none; install its package of CA certificates".to_owned(),
            ToString::to_string,
        );
        return Err(TlsError::Authority { path: "the operating system".into(), rule });
    }
    Ok(Arc::new(roots))
}

pub(super) fn authorities(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    roots(path, files::certificates(path)?)
}

fn roots(
    path: &Path,
    authorities: Vec<CertificateDer<'static>>,
) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate).map_err(|error| authority(path, &error))?;
    }
    Ok(Arc::new(roots))
}

fn authority(path: &Path, error: &dyn std::error::Error) -> TlsError {
    TlsError::Authority { path: path.to_owned(), rule: error.to_string() }
}

fn refused(error: SpiffeError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

#[derive(Debug)]
struct SpiffeClients {
    chain: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for SpiffeClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(leaf, intermediates, now)?;
        SpiffeId::of_certificate(leaf).map_err(refused)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// A name of which a server's certificate must have one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerAltName {
    /// A DNS name.
    Dns(String),
    /// A URI, compared byte by byte.
    Uri(String),
}

impl ServerAltName {
    fn is_of(&self, leaf: &CertificateDer<'_>) -> bool {
        match self {
            Self::Dns(name) => {
                let parsed = ParsedCertificate::try_from(leaf).ok();
                let name = ServerName::try_from(name.as_str()).ok();
                parsed
                    .zip(name)
                    .is_some_and(|(leaf, name)| verify_server_name(&leaf, &name).is_ok())
            }
            Self::Uri(uri) => uris(leaf).iter().any(|one| one == uri),
        }
    }
}

/// How a server proves that it is the expected one, in addition to a certificate of an authority.
#[derive(Debug)]
enum ServerProof {
    /// With this SPIFFE id.
    Id(SpiffeId),
    /// With one of these names.
    Names(Vec<ServerAltName>),
}

impl ServerProof {
    fn is_in(&self, leaf: &CertificateDer<'_>) -> Result<bool, Error> {
        match self {
            Self::Id(expected) => {
                SpiffeId::of_certificate(leaf).map_err(refused).map(|proved| proved == *expected)
            }
            Self::Names(names) => Ok(names.iter().any(|name| name.is_of(leaf))),
        }
    }
}

/// A server with a certificate of an authority and with its proof.
#[derive(Debug)]
struct ProvenServer {
    roots: Arc<RootCertStore>,
    proof: ServerProof,
    signatures: Signatures,
}

impl ProvenServer {
    fn verifier(roots: Arc<RootCertStore>, proof: ServerProof) -> Arc<dyn ServerCertVerifier> {
        Arc::new(Self { roots, proof, signatures: Signatures::of(&provider()) })
    }
}

impl ServerCertVerifier for ProvenServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots,
            intermediates,
            now,
            self.signatures.of_certificates(),
        )?;
        if self.proof.is_in(leaf)? {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls12(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls13(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}

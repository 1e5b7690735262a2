//! Verifies peers in handshakes, with the current bundles of an identity.

use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::super::bundles::TrustBundles;
use super::super::peers::{PeerRole, verify_peer, within_validity};
use super::super::refusal::{PeerRefusal, refused};
use super::super::signatures::Signatures;
use super::super::spiffe::SpiffeId;
use super::super::verify;
use super::MeshIdentity;

/// Whether a server requires a certificate of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A client without one is refused.
    Required,
    /// A client without one is accepted, without an identity; one that shows one is verified.
    Optional,
    /// The same, and a certificate that expired at most this long ago is verified as of its last second. Only for a
    /// server that gives such a client nothing but the next certificate.
    OptionalAfterExpiry(Duration),
}

/// Where the trust bundles come from.
#[derive(Debug)]
pub(super) enum BundleSource {
    /// The current ones of an identity.
    Identity(MeshIdentity),
    /// The same for all handshakes: there is no identity yet.
    Fixed(TrustBundles),
}

impl BundleSource {
    fn now(&self) -> TrustBundles {
        match self {
            Self::Identity(identity) => identity.bundles(),
            Self::Fixed(bundles) => bundles.clone(),
        }
    }
}

/// Verifies peers with trust bundles.
#[derive(Debug)]
pub(super) struct MeshPeers {
    bundles: BundleSource,
    /// Who a server must be; `None`: any member of an accepted domain.
    expected: Option<SpiffeId>,
    clients: ClientCertificates,
    signatures: Signatures,
}

impl MeshPeers {
    pub(super) fn clients(identity: MeshIdentity, clients: ClientCertificates) -> Self {
        let bundles = BundleSource::Identity(identity);
        let signatures = Signatures::of(&verify::provider());
        Self { bundles, expected: None, clients, signatures }
    }

    pub(super) fn servers(bundles: BundleSource, expected: Option<SpiffeId>) -> Self {
        let signatures = Signatures::of(&verify::provider());
        Self { bundles, expected, clients: ClientCertificates::Required, signatures }
    }

    fn verify(
        &self,
        role: PeerRole,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), PeerRefusal> {
        let at = match (role, self.clients) {
            (PeerRole::Client, ClientCertificates::OptionalAfterExpiry(grace)) => {
                within_validity(leaf, now, grace)
            }
            _ => now,
        };
        let found = verify_peer(&self.bundles.now(), role, leaf, intermediates, at)?;
        match &self.expected {
            Some(expected) if *expected != found => {
                Err(PeerRefusal::OtherPeer { found, expected: expected.clone() })
            }
            _ => Ok(()),
        }
    }
}

impl ClientCertVerifier for MeshPeers {
    fn client_auth_mandatory(&self) -> bool {
        self.clients == ClientCertificates::Required
    }

    /// None: bundles change, and a member of the mesh has one certificate only.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(PeerRole::Client, leaf, intermediates, now).map_err(refused)?;
        Ok(ClientCertVerified::assertion())
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

impl ServerCertVerifier for MeshPeers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(PeerRole::Server, leaf, intermediates, now).map_err(refused)?;
        Ok(ServerCertVerified::assertion())
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

#[cfg(test)]
mod tests;

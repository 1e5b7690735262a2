//! The signatures of a handshake, which every verifier of certificates checks alike.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};

/// The algorithms with which a peer may sign, in its handshake and in its certificates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signatures(WebPkiSupportedAlgorithms);

impl Signatures {
    pub(super) fn of(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }

    /// Whether the holder of a certificate signed a handshake of TLS 1.2.
    pub(super) fn tls12(
        self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.0)
    }

    /// The same of TLS 1.3.
    pub(super) fn tls13(
        self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.0)
    }

    /// The algorithms that are offered to a peer.
    pub(super) fn schemes(self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }

    /// The algorithms of certificates.
    pub(super) fn of_certificates(self) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
        self.0.all
    }
}

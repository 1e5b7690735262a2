//! Certificate requests (PKCS#10, RFC 2986) of proxies and of registries.

use rcgen::{CertificateSigningRequestParams, PublicKeyData as _};
use rustls_pki_types::CertificateSigningRequestDer;
use tamis_trust::Digest;

use crate::AuthorityError;

/// Longest certificate request in bytes; one for an EC key has about 300.
pub(crate) const REQUEST_BYTES_MAX: usize = 4_096;

/// The key of a certificate request, which its signature proves: the digest of its public key (RFC 5280 §4.1,
/// `subjectPublicKeyInfo`). `request` is PKCS#10 in DER.
///
/// # Errors
/// [`AuthorityError::Request`].
pub fn request_key(request: &[u8]) -> Result<Digest, AuthorityError> {
    Ok(Digest::of(&read_request(request)?.public_key.subject_public_key_info()))
}

/// Reads a request, whose signature proves that it has the key.
pub(crate) fn read_request(der: &[u8]) -> Result<CertificateSigningRequestParams, AuthorityError> {
    let broken = |rule| AuthorityError::Request { rule };
    if der.len() > REQUEST_BYTES_MAX {
        return Err(broken("it has more than 4,096 bytes"));
    }
    let request =
        CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der));
    let request = request.map_err(|error| {
        broken(match error {
            rcgen::Error::InvalidCertificationRequestSignature => {
                "its signature is not of its own key"
            }
            rcgen::Error::UnsupportedExtension => {
                "it asks for an extension that this authority does not give"
            }
            rcgen::Error::UnsupportedSignatureAlgorithm => "its key has an unknown algorithm",
            _ => "it is not a PKCS#10 request",
        })
    })?;
    let algorithm = request.public_key.algorithm();
    let known =
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
    if known.contains(&algorithm) {
        Ok(request)
    } else {
        Err(broken("its key is not P-256, P-384 or Ed25519"))
    }
}

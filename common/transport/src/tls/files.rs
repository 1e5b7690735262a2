//! PEM files, read once.

use std::path::Path;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// The longest file that is read: those with all authorities of a system have a few hundred kilobytes.
const MAX_BYTES: u64 = 4 << 20;

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_of(path, &read(path)?)
}

/// Those of a text; `path` is where it stands.
pub(super) fn certificates_of(
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    found
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| TlsError::Pem { path: path.to_owned(), wanted: "certificate" })
}

pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    key_of(path, &read(path)?)
}

/// That of a text; `path` is where it stands.
pub(super) fn key_of(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(text)
        .map_err(|_| TlsError::Pem { path: path.to_owned(), wanted: "private key" })
}

pub(super) fn pair(certificate: &Path, key: &Path, source: rustls::Error) -> TlsError {
    TlsError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    tamis_private::read_regular(path, MAX_BYTES)
        .map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

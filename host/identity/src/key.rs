//! Keys that are made in this process and stay in it.

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::IdentityError;

/// A new key, and the request that proves it.
pub(crate) struct SvidKey {
    pair: KeyPair,
    /// PKCS#10 in PEM. It asks for nothing: the registry knows who the proxy is.
    pub(crate) request: String,
}

impl SvidKey {
    /// Makes a P-256 key.
    pub(crate) fn generate() -> Result<Self, IdentityError> {
        let pair = KeyPair::generate().map_err(IdentityError::Key)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&pair).and_then(|request| request.pem());
        let request = request.map_err(IdentityError::Key)?;
        Ok(Self { pair, request })
    }

    /// The key for TLS.
    pub(crate) fn private(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pair.serialize_der()).into()
    }
}

//! The intermediate that signs SVIDs.

use std::time::SystemTime;

use rcgen::{Issuer, KeyPair};
use tamis_transport::{CertificateFacts, TlsError};

use crate::AuthorityError;
use crate::validity;

/// An intermediate with its key.
pub struct IntermediateAuthority {
    certificate: String,
    key: String,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    facts: CertificateFacts,
}

impl IntermediateAuthority {
    /// Reads an intermediate and its key, PEM text of both.
    ///
    /// # Errors
    /// [`AuthorityError::Import`] when one of them cannot be read, or they do not belong together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let import = |rule: String| AuthorityError::Import { rule };
        let pair = KeyPair::from_pem(key).map_err(|error| import(format!("the key: {error}")))?;
        let facts = CertificateFacts::of_pem(certificate.as_bytes());
        let facts = facts.map_err(|error: TlsError| import(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_pem(certificate, pair);
        let issuer = issuer.map_err(|error| import(format!("the certificate: {error}")))?;
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self { certificate, key, issuer, facts })
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The key in PEM, a secret.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The last second of its validity, since the Unix epoch.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        u64::try_from(self.facts.not_after).unwrap_or(0)
    }

    /// The second in which it was signed, since the Unix epoch.
    #[must_use]
    pub fn issued(&self) -> u64 {
        validity::issued(self.facts.not_before)
    }

    /// Whether more than half of its validity is over.
    pub(crate) fn is_half_over(&self, now: SystemTime) -> bool {
        let from = u64::try_from(self.facts.not_before).unwrap_or(0);
        let half = from + self.not_after().saturating_sub(from) / 2;
        validity::seconds(now) >= half
    }
}

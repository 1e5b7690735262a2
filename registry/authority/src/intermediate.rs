//! The intermediate that signs SVIDs.

use std::time::SystemTime;

use rcgen::{Issuer, KeyPair, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tamis_transport::{CertificateFacts, TlsError, TrustDomain};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::AuthorityError;
use crate::validity;
use crate::validity::{OFFLINE_LIFETIME_MAX, OFFLINE_LIFETIME_MIN};

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

    /// Checks what it says about itself and its key, rule by rule, for a registry that takes it from elsewhere.
    pub(crate) fn check(&self, domain: &TrustDomain, now: SystemTime) -> Result<(), String> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        let der = der.map_err(|_| "it is no certificate in PEM".to_owned())?;
        let read = X509Certificate::from_der(&der);
        let (_, parsed) = read.map_err(|_| "the certificate is malformed".to_owned())?;
        if parsed.public_key().raw != self.issuer.key().subject_public_key_info() {
            return Err("it is for another key than the one that was asked for here: have the latest request signed".to_owned());
        }
        let basic = parsed.basic_constraints().ok().flatten().map(|one| one.value);
        match basic {
            Some(basic) if basic.ca && basic.path_len_constraint == Some(0) => {}
            Some(basic) if basic.ca => {
                return Err(
                    "its path length is not 0, so it could sign other authorities".to_owned()
                );
            }
            _ => {
                return Err(
                    "it is not of an authority: its basic constraints have no CA".to_owned()
                );
            }
        }
        let usage = parsed.key_usage().ok().flatten();
        if usage.is_none_or(|usage| !usage.value.key_cert_sign()) {
            return Err("its key usage has no keyCertSign".to_owned());
        }
        let (own, names) = (format!("spiffe://{domain}"), &self.facts.names);
        if *names != [own.clone()] {
            let found = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            return Err(format!("it is of {found}, not of {own}"));
        }
        let (from, until) = (self.facts.not_before, self.not_after());
        let now = validity::seconds(now);
        if u64::try_from(from).unwrap_or(0) > now {
            let from = validity::text(u64::try_from(from).unwrap_or(0));
            return Err(format!(
                "it is not valid before {from}: check the clocks of both machines"
            ));
        }
        if until <= now.saturating_add(OFFLINE_LIFETIME_MIN.as_secs() / 2) {
            return Err(format!("it expires at {}", validity::text(until)));
        }
        if until > now.saturating_add(OFFLINE_LIFETIME_MAX.as_secs()) {
            let days = OFFLINE_LIFETIME_MAX.as_secs() / (24 * 3_600);
            return Err(format!("it is valid for longer than {days} days"));
        }
        Ok(())
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

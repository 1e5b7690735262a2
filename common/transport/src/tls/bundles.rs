//! Trust domains that are accepted, each with its authorities.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;

use super::TlsError;
use super::spiffe::TrustDomain;
use super::{files, verify};

/// Most trust domains that one proxy accepts.
const DOMAINS_MAX: usize = 64;
/// Most authorities of one trust domain: a rotation needs two.
const AUTHORITIES_MAX: usize = 16;

/// The accepted trust domains with their authorities; the authorities of one domain prove nothing about
/// another.
#[derive(Debug, Clone, Default)]
pub struct TrustBundles(BTreeMap<TrustDomain, TrustBundle>);

/// The authorities of one trust domain.
#[derive(Debug, Clone)]
pub(super) struct TrustBundle {
    pub(super) roots: Arc<RootCertStore>,
    /// Verifies chains of clients.
    pub(super) clients: Arc<dyn ClientCertVerifier>,
}

impl TrustBundles {
    /// Reads the authorities of each trust domain, PEM text.
    ///
    /// # Errors
    /// [`TlsError::Bundle`] names the trust domain and the fault: there are more than 64 domains, or a domain
    /// has no authority, more than 16, or one that cannot be used.
    pub fn from_pem<'a>(
        bundles: impl IntoIterator<Item = (TrustDomain, &'a str)>,
    ) -> Result<Self, TlsError> {
        let mut all = BTreeMap::new();
        for (domain, text) in bundles {
            let bundle = TrustBundle::from_pem(text)
                .map_err(|rule| TlsError::Bundle { domain: domain.to_string(), rule })?;
            all.insert(domain.clone(), bundle);
            if all.len() > DOMAINS_MAX {
                let rule = format!("it is one more than the {DOMAINS_MAX} that may be trusted");
                return Err(TlsError::Bundle { domain: domain.to_string(), rule });
            }
        }
        Ok(Self(all))
    }

    /// The authorities of one trust domain.
    ///
    /// # Errors
    /// [`TlsError::Bundle`]: there is none, there are more than 16, or one cannot be used.
    pub(super) fn of_domain(
        domain: &TrustDomain,
        authorities: Vec<CertificateDer<'static>>,
    ) -> Result<Self, TlsError> {
        let wrong = |rule| TlsError::Bundle { domain: domain.to_string(), rule };
        if authorities.is_empty() {
            return Err(wrong("it contains no certificate".to_owned()));
        }
        let bundle = TrustBundle::of(authorities).map_err(wrong)?;
        Ok(Self(BTreeMap::from([(domain.clone(), bundle)])))
    }

    /// The same domains and those of `others`; of a domain that both have, the authorities are those here.
    pub(super) fn and(&self, others: &Self) -> Self {
        let mut all = others.0.clone();
        all.extend(self.0.iter().map(|(domain, bundle)| (domain.clone(), bundle.clone())));
        Self(all)
    }

    /// The authorities of one more domain.
    pub(super) fn add(
        &mut self,
        domain: &TrustDomain,
        authorities: &HashSet<CertificateDer<'static>>,
    ) -> Result<(), TlsError> {
        let wrong = |rule| TlsError::Bundle { domain: domain.to_string(), rule };
        // One is the domain of the member itself.
        if self.0.len() >= DOMAINS_MAX - 1 {
            let rule = format!("it is one more than the {DOMAINS_MAX} that may be trusted");
            return Err(wrong(rule));
        }
        let bundle = TrustBundle::of(authorities.iter().cloned().collect()).map_err(wrong)?;
        self.0.insert(domain.clone(), bundle);
        Ok(())
    }

    pub(super) fn of(&self, domain: &TrustDomain) -> Option<&TrustBundle> {
        self.0.get(domain)
    }

    /// The accepted trust domains, sorted.
    pub fn domains(&self) -> impl Iterator<Item = &TrustDomain> {
        self.0.keys()
    }
}

impl TrustBundle {
    fn from_pem(text: &str) -> Result<Self, String> {
        let found = files::certificates_of(Path::new("the bundle"), text.as_bytes());
        Self::of(found.map_err(|error| error.to_string())?)
    }

    fn of(found: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        if found.len() > AUTHORITIES_MAX {
            return Err(format!("it has more than {AUTHORITIES_MAX} authorities"));
        }
        let mut roots = RootCertStore::empty();
        for certificate in found {
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let roots = Arc::new(roots);
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), verify::provider())
                .build()
                .map_err(|error| error.to_string())?;
        Ok(Self { roots, clients })
    }
}

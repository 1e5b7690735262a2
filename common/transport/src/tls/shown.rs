//! Our own certificate: the one that peers see.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::{CertificateFacts, MeshIdentity, TlsError};

/// The certificate that is shown.
#[derive(Debug, Clone)]
pub(super) enum ShownCertificate {
    /// From files, which never changes.
    Chain(ShownChain),
    /// The current SVID.
    Svid(MeshIdentity),
    /// None yet: it is ordered, for the name in these facts.
    Awaited(Arc<CertificateFacts>),
}

impl ShownCertificate {
    pub(super) fn facts(&self) -> Arc<CertificateFacts> {
        match self {
            Self::Chain(shown) => Arc::clone(&shown.facts),
            Self::Svid(identity) => identity.facts(),
            Self::Awaited(facts) => Arc::clone(facts),
        }
    }
}

/// A certificate chain that is shown, and its facts.
#[derive(Debug, Clone)]
pub(super) struct ShownChain {
    pub(super) chain: Arc<Vec<CertificateDer<'static>>>,
    pub(super) facts: Arc<CertificateFacts>,
}

impl ShownChain {
    pub(super) fn new(path: &Path, chain: &[CertificateDer<'static>]) -> Result<Self, TlsError> {
        let facts = CertificateFacts::of(chain);
        let facts =
            facts.ok_or_else(|| TlsError::Pem { path: path.to_owned(), wanted: "certificate" })?;
        Ok(Self { chain: Arc::new(chain.to_vec()), facts: Arc::new(facts) })
    }
}

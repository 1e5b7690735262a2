//! The authority of the trust domain in this process, and the SVID with which the registry proves itself.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use tamis_ambient::Random;
use tamis_api::ApiProblem;
use tamis_authority::{
    AuthorityError, CertificateAuthority, IssuedSvid, SVID_LIFETIME, SvidLineage, issued,
    request_key,
};
use tamis_journal::causes;
use tamis_transport::{Address, MeshIdentity, SpiffeId, TrustDomain};
use tamis_trust::Digest;

use super::problems;
use super::records::AuthorityRecord;
use crate::plane::problem::problem;

/// The folder of the authority, in the folder of the registry.
const FOLDER: &str = "authority";
/// The longest file of further authorities, in bytes.
const AUTHORITIES_MAX: u64 = 4 << 20;
/// The end of a certificate in PEM.
const END: &str = "-----END CERTIFICATE-----";
/// Lifetime of the registry's own SVID.
const OWN_LIFETIME: Duration = SVID_LIFETIME;

/// The settings of a registry that is the authority of a trust domain.
#[derive(Debug, Clone)]
pub struct MeshOptions {
    /// The trust domain. It never changes.
    pub domain: TrustDomain,
    /// The address for proxies.
    pub listen: Address,
    /// Where proxies reach it, `HOST:PORT`; several, separated by commas, are tried in turn. `None`: at the
    /// address that it listens on.
    pub advertised: Option<String>,
    /// Further authorities of proxies, whose certificates are files: PEM. The registry and all members accept them.
    /// `None`: no others.
    pub client_ca: Option<PathBuf>,
    /// How long the SVIDs of proxies are valid.
    pub lifetime: Duration,
}

impl MeshOptions {
    /// Options with the documented defaults.
    #[must_use]
    pub fn new(domain: TrustDomain, listen: Address) -> Self {
        Self { domain, listen, advertised: None, client_ca: None, lifetime: SVID_LIFETIME }
    }
}

/// The authority of the trust domain.
pub(crate) struct MeshAuthority {
    signer: Mutex<CertificateAuthority>,
    own: MeshIdentity,
    registry_id: SpiffeId,
    advertised: String,
    client_ca: Option<PathBuf>,
    lifetime: Duration,
}

impl MeshAuthority {
    /// The folder of the authority, in the folder of a registry.
    pub(crate) fn folder(registry: &Path) -> PathBuf {
        registry.join(FOLDER)
    }

    /// Opens the authority in the folder of a registry, or makes it there.
    pub(crate) fn open(
        registry: &Path,
        options: &MeshOptions,
        advertised: String,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let (domain, random) = (&options.domain, Random::system());
        let signer = CertificateAuthority::open(&Self::folder(registry), domain, random, now)?;
        let registry_id = signer.registry_id()?;
        let also = authorities(options.client_ca.as_deref())?;
        let own = signer.own_identity(&registry_id, &also, OWN_LIFETIME, now)?;
        let (client_ca, lifetime) = (options.client_ca.clone(), options.lifetime);
        let signer = Mutex::new(signer);
        Ok(Self { signer, own, registry_id, advertised, client_ca, lifetime })
    }

    fn signer(&self) -> MutexGuard<'_, CertificateAuthority> {
        // Each change replaces one part as a whole.
        self.signer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that a proxy may have that id.
    pub(crate) fn check_assignable(&self, id: &SpiffeId) -> Result<(), AuthorityError> {
        self.signer().check_assignable(id)
    }

    pub(crate) fn record(&self) -> AuthorityRecord {
        let signer = self.signer();
        let (domain, bundle) = (signer.domain().to_string(), signer.bundle());
        AuthorityRecord { domain, bundle: Digest::of(bundle.as_bytes()) }
    }

    /// How long the SVIDs of proxies are valid.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The identity with which the registry proves itself.
    pub(crate) fn own(&self) -> &MeshIdentity {
        &self.own
    }

    pub(crate) fn registry_id(&self) -> &SpiffeId {
        &self.registry_id
    }

    /// Where proxies reach the registry.
    pub(crate) fn advertised(&self) -> &str {
        &self.advertised
    }

    /// The roots of each trust domain, in PEM.
    pub(crate) fn bundles(&self) -> BTreeMap<String, String> {
        let signer = self.signer();
        BTreeMap::from([(signer.domain().to_string(), signer.bundle().to_owned())])
    }

    /// The authorities that members accept, in PEM: the roots, and those of members that have files.
    pub(crate) fn accepted(&self) -> Result<BTreeMap<String, String>, ApiProblem> {
        let also = authorities(self.client_ca.as_deref());
        let also = also.map_err(|error| problem(503, "unavailable", causes(&error)))?;
        let mut bundles = self.bundles();
        for text in bundles.values_mut().filter(|_| !also.is_empty()) {
            *text = format!("{}\n{also}", text.trim_end());
        }
        Ok(bundles)
    }

    pub(crate) fn domain(&self) -> TrustDomain {
        self.signer().domain().clone()
    }

    /// When the intermediate was signed and when it expires, in seconds since the Unix epoch; and whether the
    /// root's key is here.
    pub(crate) fn intermediate(&self) -> (u64, u64, bool) {
        let signer = self.signer();
        let current = signer.intermediate();
        (current.issued(), current.not_after(), signer.has_root())
    }

    /// Signs an SVID for a proxy. `request` is PKCS#10 in PEM.
    pub(crate) fn sign(
        &self,
        (node, lineage): (&str, Option<SvidLineage>),
        id: &str,
        request: &str,
        now: SystemTime,
    ) -> Result<IssuedSvid, ApiProblem> {
        let id: SpiffeId = id.parse().map_err(|error| problems::no_id(node, &error))?;
        let request = pkcs10(request)?;
        let signed = self.signer().issue_to((node, lineage), &request, &id, self.lifetime, now);
        signed.map_err(|error| problems::unsigned(&error))
    }

    /// The key of a request, PKCS#10 in PEM.
    pub(crate) fn request_key(request: &str) -> Result<Digest, ApiProblem> {
        request_key(&pkcs10(request)?).map_err(|error| problems::unsigned(&error))
    }

    /// Rotates the intermediate if it was signed before that second.
    pub(crate) fn rotate_older(
        &self,
        second: u64,
        now: SystemTime,
    ) -> Result<bool, AuthorityError> {
        let mut signer = self.signer();
        if signer.intermediate().issued() >= second {
            return Ok(false);
        }
        signer.rotate(now).map(|()| true)
    }

    /// Takes an intermediate, or a root, that somebody put into the folder.
    pub(crate) fn reload(&self, now: SystemTime) -> Result<bool, AuthorityError> {
        self.signer().reload(now)
    }

    /// Whether the roots here are those of that digest, or follow on them.
    pub(crate) fn follows(&self, known: &AuthorityRecord) -> bool {
        let signer = self.signer();
        let bundle = signer.bundle();
        let ends = bundle.match_indices(END).map(|(at, _)| at.saturating_add(END.len()));
        let mut starts = ends.filter_map(|end| bundle.get(..end));
        signer.domain().as_str() == known.domain
            && starts.any(|start| Digest::of(format!("{start}\n").as_bytes()) == known.bundle)
    }

    /// Rotates the intermediate if half of its validity is over and the root's key is here.
    pub(crate) fn rotate_due(&self, now: SystemTime) -> Result<bool, AuthorityError> {
        let mut signer = self.signer();
        if !signer.has_root() || !signer.rotation_is_due(now) {
            return Ok(false);
        }
        signer.rotate(now).map(|()| true)
    }

    /// Renews the registry's own SVID if half of its validity is over.
    pub(crate) fn renew_own(&self, now: SystemTime) -> Result<(), AuthorityError> {
        let facts = self.own.facts();
        let until = u64::try_from(facts.not_after).unwrap_or(0);
        let half = issued(facts.not_before).saturating_add(OWN_LIFETIME.as_secs() / 2);
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if second < half && second < until {
            return Ok(());
        }
        let also = authorities(self.client_ca.as_deref())?;
        self.signer().renew_own(&self.own, &also, OWN_LIFETIME, now)
    }
}

fn pkcs10(request: &str) -> Result<CertificateSigningRequestDer<'static>, ApiProblem> {
    CertificateSigningRequestDer::from_pem_slice(request.as_bytes())
        .map_err(|_| problems::request("it is not PKCS#10 in PEM"))
}

fn authorities(path: Option<&Path>) -> Result<String, AuthorityError> {
    let Some(path) = path else { return Ok(String::new()) };
    let failed = |source| AuthorityError::File { path: path.to_owned(), source };
    let octets = tamis_private::read_regular(path, AUTHORITIES_MAX).map_err(failed)?;
    String::from_utf8(octets)
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))
}

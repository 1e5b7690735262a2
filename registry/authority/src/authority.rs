//! The authority that signs SVIDs, with its files.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use tamis_ambient::Random;
use tamis_transport::{MeshIdentity, SpiffeId, TrustBundles, TrustDomain};
use tamis_trust::Digest;

use crate::files::{self, Readers};
use crate::intermediate::IntermediateAuthority;
use crate::pem::{certificates, parts, without_keys};
use crate::request::read_request;
use crate::root::{RootAuthority, serial};
use crate::validity;
use crate::{AuthorityError, SvidLineage};

/// How long an SVID is valid, unless an operator decides otherwise.
pub const SVID_LIFETIME: Duration = Duration::from_secs(3_600);
/// The shortest lifetime of an SVID: shorter ones expire while they are renewed.
pub const SVID_LIFETIME_MIN: Duration = Duration::from_secs(10);
/// The longest lifetime of an SVID: a stolen key is useful for that long.
pub const SVID_LIFETIME_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The id in the SVID with which an intermediate is tried out; it never leaves this process.
const TRIAL: &str = "trial";
/// The path of the registry's SPIFFE id.
const REGISTRY: &str = "registry";
/// Longest common name in a subject.
const COMMON_NAME_MAX: usize = 64;
/// Lifetime of the SVID that an imported intermediate signs as a trial.
const TRIAL_LIFETIME: Duration = Duration::from_secs(60);

/// An SVID and its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedSvid {
    /// The chain in PEM: the SVID, then the intermediate.
    pub chain: String,
    /// The serial number: 32 hexadecimal digits.
    pub serial: String,
    /// The last second of its validity, since the Unix epoch.
    pub not_after: u64,
}

/// The authority of a trust domain: signs SVIDs with its current intermediate.
///
/// Its folder contains `intermediate.pem` (certificate and key, so that both are replaced at once),
/// `root.pem` (certificate and key; absent when the root's key is kept elsewhere), and `bundle.pem`, the roots
/// that members of the mesh trust. The first two are readable by their owner only.
pub struct CertificateAuthority {
    folder: PathBuf,
    domain: TrustDomain,
    root: Option<RootAuthority>,
    intermediate: IntermediateAuthority,
    bundle: String,
    random: Random,
}

impl CertificateAuthority {
    /// Opens the authority of a folder; makes a root and an intermediate at the first start.
    ///
    /// # Errors
    /// [`AuthorityError`]: the folder belongs to another trust domain, a file is broken, or there is no
    /// intermediate and no root's key to sign one. A broken file is never replaced.
    pub fn open(
        folder: &Path,
        domain: &TrustDomain,
        random: Random,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        files::folder(folder)?;
        let path = |name: &str| folder.join(name);
        let root = files::read(&path("root.pem"))?;
        let bundle = files::read(&path("bundle.pem"))?;
        let root = match (root, &bundle) {
            (Some(text), _) => Some(RootAuthority::of_text(&path("root.pem"), &text)?),
            (None, Some(_)) => None,
            // Somebody asked for an intermediate of a root that is elsewhere: none is made here meanwhile.
            (None, None) if path("next.key").exists() => {
                return Err(AuthorityError::NoIntermediate { folder: folder.to_owned() });
            }
            (None, None) => {
                let root = RootAuthority::generate(domain, random, now)?;
                let text = format!("{}{}", root.certificate(), root.key());
                files::write(&path("root.pem"), &text, Readers::Owner)?;
                Some(root)
            }
        };
        let bundle = match (bundle, &root) {
            (Some(bundle), _) => bundle,
            (None, Some(root)) => {
                files::write(&path("bundle.pem"), root.certificate(), Readers::Everybody)?;
                root.certificate().to_owned()
            }
            (None, None) => {
                return Err(AuthorityError::NoIntermediate { folder: folder.to_owned() });
            }
        };
        let place = path("intermediate.pem");
        let (intermediate, made) = match (files::read(&place)?, &root) {
            (Some(text), _) => (read_intermediate(&place, &text)?, false),
            (None, Some(root)) => (root.intermediate(domain, random, now)?, true),
            (None, None) => {
                return Err(AuthorityError::NoIntermediate { folder: folder.to_owned() });
            }
        };
        let folder = folder.to_owned();
        let domain = domain.clone();
        let authority = Self { folder, domain, root, intermediate, bundle, random };
        authority.belongs()?;
        if made {
            authority.keep_intermediate()?;
        }
        Ok(authority)
    }

    /// Prepares a folder for a root whose key is kept elsewhere: its certificate and an intermediate that it
    /// signed, PEM text. The folder can then be opened.
    ///
    /// # Errors
    /// [`AuthorityError::Import`] when members that trust the root would refuse what the intermediate signs at
    /// `now`, or the folder has an authority already.
    pub fn import(
        folder: &Path,
        domain: &TrustDomain,
        root: &str,
        intermediate: IntermediateAuthority,
        random: Random,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let root = &without_keys(root)?;
        files::folder(folder)?;
        // An intermediate alone is what an import left behind that did not come to its end.
        for name in ["bundle.pem", "root.pem"] {
            if folder.join(name).exists() {
                let rule = format!("{} exists already", folder.join(name).display());
                return Err(AuthorityError::Import { rule });
            }
        }
        let (folder, domain) = (folder.to_owned(), domain.clone());
        let bundle = root.to_owned();
        let authority = Self { folder, domain, root: None, intermediate, bundle, random };
        authority.try_out(&authority.intermediate, &authority.bundle, now)?;
        // The bundle is last: without it the folder has no authority yet.
        authority.keep_intermediate()?;
        files::write(&authority.folder.join("bundle.pem"), root, Readers::Everybody)?;
        Ok(authority)
    }

    /// The trust domain.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The roots that members of the mesh trust, in PEM.
    #[must_use]
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// The current intermediate.
    #[must_use]
    pub fn intermediate(&self) -> &IntermediateAuthority {
        &self.intermediate
    }

    /// Whether the intermediate should be rotated: more than half of its validity is over.
    #[must_use]
    pub fn rotation_is_due(&self, now: SystemTime) -> bool {
        self.intermediate.is_half_over(now)
    }

    /// Signs an SVID for the key of a request, PKCS#10 in DER. Whatever else the request asks for is ignored.
    ///
    /// # Errors
    /// [`AuthorityError`]: `id` is no member of the trust domain, the lifetime is out of bounds, the request is
    /// malformed, not signed by its key or for a key of another algorithm than P-256, P-384 or Ed25519, or the
    /// intermediate expires.
    pub fn issue(
        &self,
        request: &[u8],
        id: &SpiffeId,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<IssuedSvid, AuthorityError> {
        self.issue_named(request, id, None, (lifetime, now))
    }

    /// The same for one proxy, whose name the subject then has as [`node_subject`] writes it: several proxies
    /// of a service share its id, and each is revoked on its own. The serial number begins with the lineage, if there is one.
    ///
    /// # Errors
    /// As for [`Self::issue`].
    pub fn issue_to(
        &self,
        member: (&str, Option<SvidLineage>),
        request: &[u8],
        id: &SpiffeId,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<IssuedSvid, AuthorityError> {
        self.issue_named(request, id, Some(member), (lifetime, now))
    }

    /// The SPIFFE id of the registry, by which proxies recognise it.
    ///
    /// # Errors
    /// The id is too long.
    pub fn registry_id(&self) -> Result<SpiffeId, AuthorityError> {
        self.id(REGISTRY)
    }

    /// Checks that the authority may give an id to a member.
    ///
    /// # Errors
    /// [`AuthorityError::OutsideDomain`], and [`AuthorityError::Reserved`] for the ids of the authority itself: who had
    /// one of them would be taken for the registry.
    pub fn check_assignable(&self, id: &SpiffeId) -> Result<(), AuthorityError> {
        if id.trust_domain() != self.domain || !id.has_path() {
            let (id, domain) = (id.clone(), self.domain.clone());
            return Err(AuthorityError::OutsideDomain { id, domain });
        }
        if [REGISTRY, TRIAL].iter().any(|path| self.id(path).is_ok_and(|own| own == *id)) {
            return Err(AuthorityError::Reserved { id: id.clone() });
        }
        Ok(())
    }

    fn id(&self, path: &str) -> Result<SpiffeId, AuthorityError> {
        let id = format!("spiffe://{}/{path}", self.domain).parse();
        id.map_err(|error| AuthorityError::Import { rule: format!("{error}") })
    }

    fn issue_named(
        &self,
        request: &[u8],
        id: &SpiffeId,
        member: Option<(&str, Option<SvidLineage>)>,
        (lifetime, now): (Duration, SystemTime),
    ) -> Result<IssuedSvid, AuthorityError> {
        self.check_assignable(id)?;
        if !(SVID_LIFETIME_MIN..=SVID_LIFETIME_MAX).contains(&lifetime) {
            return Err(AuthorityError::Lifetime {
                asked: lifetime.as_secs(),
                min: SVID_LIFETIME_MIN.as_secs(),
                max: SVID_LIFETIME_MAX.as_secs(),
            });
        }
        let key = read_request(request)?.public_key;
        self.sign(&self.intermediate, &key, (id, member), (lifetime, now))
    }

    fn sign(
        &self,
        intermediate: &IntermediateAuthority,
        key: &impl PublicKeyData,
        (id, member): (&SpiffeId, Option<(&str, Option<SvidLineage>)>),
        (lifetime, now): (Duration, SystemTime),
    ) -> Result<IssuedSvid, AuthorityError> {
        let until = validity::seconds(now).saturating_add(lifetime.as_secs());
        let until = until.min(intermediate.not_after());
        if until < validity::seconds(now).saturating_add(SVID_LIFETIME_MIN.as_secs()) {
            let at = validity::text(intermediate.not_after());
            return Err(AuthorityError::Expiring { at });
        }
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, self.domain.as_str());
        if let Some((node, _)) = member {
            name.push(DnType::CommonName, node_subject(node));
        }
        params.distinguished_name = name;
        let serial = serial(self.random, member.and_then(|(_, lineage)| lineage))?;
        let digits = serial.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        params.serial_number = Some(serial);
        validity::set(&mut params, now, until);
        let leaf = params.signed_by(key, &intermediate.issuer)?;
        let chain = format!("{}{}", leaf.pem(), intermediate.certificate());
        Ok(IssuedSvid { chain, serial: digits, not_after: until })
    }

    /// An SVID for the process that has the authority itself, with a key that never leaves it. It accepts peers
    /// whose certificates one of the roots signed, or one of the authorities in `also`, PEM text; empty: no
    /// others.
    ///
    /// # Errors
    /// As for [`Self::issue`], and [`AuthorityError::Own`] when `also` cannot be used.
    pub fn own_identity(
        &self,
        id: &SpiffeId,
        also: &str,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<MeshIdentity, AuthorityError> {
        let (chain, key, bundles) = self.own_svid(id, also, (lifetime, now))?;
        MeshIdentity::new(&chain, key, bundles, unix_time(now)).map_err(AuthorityError::Own)
    }

    /// Replaces the SVID of such an identity, and the authorities that it accepts.
    ///
    /// # Errors
    /// As for [`Self::own_identity`]; the previous SVID then stays.
    pub fn renew_own(
        &self,
        identity: &MeshIdentity,
        also: &str,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        let (chain, key, bundles) = self.own_svid(&identity.id(), also, (lifetime, now))?;
        identity.replace(&chain, key, bundles, unix_time(now)).map_err(AuthorityError::Own)
    }

    fn own_svid(
        &self,
        id: &SpiffeId,
        also: &str,
        (lifetime, now): (Duration, SystemTime),
    ) -> Result<(String, PrivateKeyDer<'static>, TrustBundles), AuthorityError> {
        let bundle = format!("{}\n{also}", self.bundle.trim_end());
        let bundles = TrustBundles::from_pem([(self.domain.clone(), bundle.as_str())]);
        let bundles = bundles.map_err(AuthorityError::Own)?;
        let key = KeyPair::generate()?;
        let svid = self.sign(&self.intermediate, &key, (id, None), (lifetime, now))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((svid.chain, key, bundles))
    }

    /// Whether the root's key is here, so that the intermediate can be rotated.
    #[must_use]
    pub fn has_root(&self) -> bool {
        self.root.is_some()
    }

    /// Replaces the intermediate by a new one. SVIDs that the previous one signed stay valid until they
    /// expire: each carries its intermediate.
    ///
    /// # Errors
    /// [`AuthorityError::RootOffline`] without the root's key; the previous one then stays.
    pub fn rotate(&mut self, now: SystemTime) -> Result<(), AuthorityError> {
        let root = self.root.as_ref().ok_or(AuthorityError::RootOffline)?;
        let next = root.intermediate(&self.domain, self.random, now)?;
        self.import_intermediate(next, now)
    }

    /// Replaces the intermediate by one that was signed elsewhere.
    ///
    /// # Errors
    /// [`AuthorityError::Import`] when members with the current bundle would refuse what it signs at `now`;
    /// the previous one then stays.
    pub fn import_intermediate(
        &mut self,
        next: IntermediateAuthority,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        self.try_out(&next, &self.bundle, now)?;
        let previous = std::mem::replace(&mut self.intermediate, next);
        self.keep_intermediate().inspect_err(|_| self.intermediate = previous)
    }

    /// Adds a root to the bundle, so that members trust it before anything is signed with it.
    ///
    /// # Errors
    /// [`AuthorityError::Import`] when it is not one certificate, or the bundle with it cannot be used.
    pub fn accept_root(&mut self, root: &str) -> Result<(), AuthorityError> {
        let root = &without_keys(root)?;
        if certificates(&self.bundle).any(|known| certificates(root).eq([known])) {
            return Ok(());
        }
        let bundle = format!("{}\n{}\n", self.bundle.trim_end(), root.trim());
        TrustBundles::from_pem([(self.domain.clone(), bundle.as_str())])
            .map_err(|error| AuthorityError::Import { rule: error.to_string() })?;
        files::write(&self.folder.join("bundle.pem"), &bundle, Readers::Everybody)?;
        self.bundle = bundle;
        Ok(())
    }

    /// Takes what another process put into the folder: a bundle that has all roots of the current one, and an intermediate.
    /// Returns whether anything changed.
    ///
    /// # Errors
    /// [`AuthorityError`] when members with that bundle would refuse what the intermediate signs at `now`; what is in use stays.
    pub fn reload(&mut self, now: SystemTime) -> Result<bool, AuthorityError> {
        let bundle = files::read(&self.folder.join("bundle.pem"))?.unwrap_or_default();
        let place = self.folder.join("intermediate.pem");
        let text = files::read(&place)?.unwrap_or_default();
        let same = format!("{}{}", self.intermediate.certificate(), self.intermediate.key());
        if bundle == self.bundle && text == same || text.is_empty() {
            return Ok(false);
        }
        if !extends(&bundle, &self.bundle) {
            let rule = "bundle.pem lost a root that members trust; restore it".to_owned();
            return Err(AuthorityError::Broken { path: self.folder.clone(), rule });
        }
        let next = read_intermediate(&place, &text)?;
        self.try_out(&next, &bundle, now)?;
        (self.bundle, self.intermediate) = (bundle, next);
        Ok(true)
    }

    /// Whether a member that trusts `bundle` would accept an SVID signed by `intermediate`.
    fn try_out(
        &self,
        intermediate: &IntermediateAuthority,
        bundle: &str,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        let import = |rule: String| AuthorityError::Import { rule };
        let bundles = TrustBundles::from_pem([(self.domain.clone(), bundle)])
            .map_err(|error| import(error.to_string()))?;
        let key = KeyPair::generate()?;
        let id = self.id(TRIAL)?;
        let svid = self.sign(intermediate, &key, (&id, None), (TRIAL_LIFETIME, now))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        match MeshIdentity::new(&svid.chain, key, bundles, unix_time(now)) {
            Ok(_) => Ok(()),
            Err(error) => Err(import(tamis_transport::causes(&error))),
        }
    }

    /// Whether the certificates of the folder are of this trust domain.
    fn belongs(&self) -> Result<(), AuthorityError> {
        let facts = tamis_transport::CertificateFacts::of_pem(self.bundle.as_bytes());
        let names = facts.map(|facts| facts.names.join(", ")).unwrap_or_default();
        if names == format!("spiffe://{}", self.domain) || names.is_empty() {
            return Ok(());
        }
        let (folder, wanted) = (self.folder.clone(), self.domain.clone());
        Err(AuthorityError::OtherDomain { folder, found: names, wanted })
    }

    fn keep_intermediate(&self) -> Result<(), AuthorityError> {
        let text = format!("{}{}", self.intermediate.certificate(), self.intermediate.key());
        files::write(&self.folder.join("intermediate.pem"), &text, Readers::Owner)
    }
}

/// Whether a bundle has all roots of another one, first and in their order, as each bundle has that follows.
#[must_use]
pub fn extends(bundle: &str, before: &str) -> bool {
    let mut all = certificates(bundle);
    certificates(before).all(|one| all.next().as_ref() == Some(&one))
}

/// The common name in the subject of an SVID for a proxy: the proxy's name, or its hash when that is longer
/// than a common name may be (64 characters; RFC 5280, appendix A.1).
#[must_use]
pub fn node_subject(node: &str) -> String {
    if node.len() <= COMMON_NAME_MAX {
        return node.to_owned();
    }
    let hash = Digest::of(node.as_bytes()).to_string();
    hash.rsplit(':').next().unwrap_or_default().to_owned()
}

fn unix_time(now: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(validity::seconds(now)))
}

fn read_intermediate(path: &Path, text: &str) -> Result<IntermediateAuthority, AuthorityError> {
    let broken = |rule: String| AuthorityError::Broken { path: path.to_owned(), rule };
    let (certificate, key) = parts(text).ok_or_else(|| broken("it has no certificate".into()))?;
    let certificate = format!("{certificate}\n");
    IntermediateAuthority::from_pem(&certificate, key).map_err(|error| broken(error.to_string()))
}

#[cfg(test)]
mod tests;

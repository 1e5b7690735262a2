//! A proxy's identity inside the mesh: its SVID and the trust bundles, replaced while connections are open.
//!
//! Every [`ServerTls`](super::ServerTls) and [`ClientTls`](super::ClientTls) of an identity uses the current
//! SVID and bundles in each new handshake. Connections that are open stay open.

mod federation;
mod peers;
mod renewals;
mod supplied;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::bundles::TrustBundles;
use super::facts::CertificateFacts;
use super::peers::{PeerRole, verify_peer};
use super::spiffe::SpiffeId;
use super::{ALPN, TlsError, files, verify};

pub use self::federation::FederatedPeer;
use self::federation::{DomainsSince, FederatedDomains};
pub use self::peers::ClientCertificates;
use self::peers::{BundleSource, MeshPeers};
use self::renewals::RenewalCounts;
pub use self::renewals::SvidRenewals;
pub use self::supplied::SuppliedSvid;

/// What messages call an SVID that is in no file.
const PLACE: &str = "the SVID";

/// An X.509 SVID with its key, and the bundles with which peers are verified.
#[derive(Debug)]
struct MeshMaterial {
    certified: Arc<CertifiedKey>,
    id: SpiffeId,
    facts: Arc<CertificateFacts>,
    /// Those that came with the SVID.
    own: TrustBundles,
    /// The same, and those of federated domains.
    bundles: TrustBundles,
    /// The federated domains.
    since: Arc<DomainsSince>,
}

impl MeshMaterial {
    fn read(
        chain: &str,
        key: PrivateKeyDer<'static>,
        bundles: TrustBundles,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let chain = files::certificates_of(Path::new(PLACE), chain.as_bytes())?;
        Self::of(chain, key, bundles, now)
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        bundles: TrustBundles,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let unreadable =
            || TlsError::Pem { path: Path::new(PLACE).to_owned(), wanted: "certificate" };
        let facts = CertificateFacts::of(&chain).ok_or_else(unreadable)?;
        let (leaf, rest) = chain.split_first().ok_or_else(unreadable)?;
        let mut id = None;
        // It is shown in both directions, so both must accept it.
        for role in [PeerRole::Client, PeerRole::Server] {
            id = Some(verify_peer(&bundles, role, leaf, rest, now).map_err(TlsError::Svid)?);
        }
        let id = id.ok_or_else(unreadable)?;
        let certified = CertifiedKey::from_der(chain, key, &verify::provider());
        let certified = Arc::new(certified.map_err(TlsError::Setup)?);
        let (own, since) = (bundles.clone(), Arc::default());
        Ok(Self { certified, id, facts: Arc::new(facts), own, bundles, since })
    }

    /// The same, with the federated domains.
    fn federated(mut self, domains: &FederatedDomains) -> Self {
        self.bundles = self.own.and(&domains.bundles);
        self.since = Arc::clone(&domains.since);
        self
    }
}

/// The identity of one member of the mesh. Cheap to clone; all clones share it.
#[derive(Debug, Clone)]
pub struct MeshIdentity(Arc<SharedIdentity>);

/// What all clones of an identity share.
#[derive(Debug)]
struct SharedIdentity {
    material: ArcSwap<MeshMaterial>,
    /// Locked while either is replaced.
    federated: Mutex<FederatedDomains>,
    renewals: RenewalCounts,
    source: SvidSource,
}

/// Who replaces an SVID before it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SvidSource {
    /// The authority of the registry, which the proxy asks.
    Registry,
    /// A SPIFFE agent, which sends the next one by itself.
    Agent,
}

impl MeshIdentity {
    /// Takes an SVID: its chain in PEM, leaf first, and its key, PKCS#8 in DER.
    ///
    /// # Errors
    /// [`TlsError::Svid`] when peers with the same bundles would refuse it at `now`; [`TlsError::Pem`] or
    /// [`TlsError::Setup`] when it cannot be read or its key belongs to another.
    pub fn new(
        chain: &str,
        key: PrivateKeyDer<'static>,
        bundles: TrustBundles,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let material = MeshMaterial::read(chain, key, bundles, now)?;
        Ok(Self::with(material, SvidSource::Registry))
    }

    fn with(material: MeshMaterial, source: SvidSource) -> Self {
        let (material, renewals) = (ArcSwap::from_pointee(material), RenewalCounts::default());
        let federated = Mutex::default();
        Self(Arc::new(SharedIdentity { material, federated, renewals, source }))
    }

    /// Replaces the SVID and the bundles for new handshakes.
    ///
    /// # Errors
    /// As for [`Self::new`], and [`TlsError::OtherName`] when the SVID is for another id; the previous one then
    /// stays in use.
    pub fn replace(
        &self,
        chain: &str,
        key: PrivateKeyDer<'static>,
        bundles: TrustBundles,
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let material = MeshMaterial::read(chain, key, bundles, now)?;
        self.take(material)?;
        self.0.renewals.succeeded(Duration::from_secs(now.as_secs()));
        Ok(())
    }

    /// Uses this SVID and its bundles in new handshakes.
    fn take(&self, material: MeshMaterial) -> Result<(), TlsError> {
        let current = self.id();
        if material.id != current {
            return Err(TlsError::OtherName {
                path: Path::new(PLACE).to_owned(),
                names: material.id.to_string(),
                wanted: current.to_string(),
            });
        }
        let domains = self.domains();
        self.0.material.store(Arc::new(material.federated(&domains)));
        Ok(())
    }

    /// The SPIFFE id; it never changes.
    #[must_use]
    pub fn id(&self) -> SpiffeId {
        self.0.material.load().id.clone()
    }

    /// The facts of the current SVID.
    #[must_use]
    pub fn facts(&self) -> Arc<CertificateFacts> {
        Arc::clone(&self.0.material.load().facts)
    }

    pub(super) fn bundles(&self) -> TrustBundles {
        self.0.material.load().bundles.clone()
    }

    /// The configuration of a listener for peers inside the mesh.
    pub(super) fn server(&self, clients: ClientCertificates) -> Result<ServerConfig, TlsError> {
        let peers = MeshPeers::clients(self.clone(), clients);
        let mut config = ServerConfig::builder_with_provider(verify::provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Setup)?
            .with_client_cert_verifier(Arc::new(peers))
            .with_cert_resolver(Arc::new(self.clone()));
        verify::resume_no_session(&mut config);
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        Ok(config)
    }

    /// The configuration for connections to peers inside the mesh.
    pub(super) fn client(&self, expected: Option<SpiffeId>) -> Result<ClientConfig, TlsError> {
        let source = BundleSource::Identity(self.clone());
        client(source, expected, Arc::new(self.clone()))
    }
}

/// The configuration of a client without an identity, for a server that must be `expected`.
pub(super) fn stranger(
    bundles: TrustBundles,
    expected: SpiffeId,
) -> Result<ClientConfig, TlsError> {
    client(BundleSource::Fixed(bundles), Some(expected), Arc::new(NoCertificate))
}

fn client(
    bundles: BundleSource,
    expected: Option<SpiffeId>,
    shown: Arc<dyn ResolvesClientCert>,
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(verify::provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(MeshPeers::servers(bundles, expected)))
        .with_client_cert_resolver(shown);
    config.resumption = Resumption::disabled();
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok(config)
}

/// Shows no certificate.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

impl ResolvesServerCert for MeshIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.material.load().certified))
    }
}

impl ResolvesClientCert for MeshIdentity {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.material.load().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;

//! TLS to an upstream: whom a connection trusts, and what it shows.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use super::shown::{ShownCertificate, ShownChain};
use super::spiffe::SpiffeId;
use super::{
    ALPN, CertificateFacts, CertificateNeeds, MeshIdentity, PeerIdentity, ServerAltName, TlsError,
    TrustBundles, deadline, files, mesh, verify,
};

/// The TLS configuration for an upstream. Cheap to clone, shared by workers.
#[derive(Debug, Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
    pub(super) shown: Option<ShownCertificate>,
    /// The server must be a member of a mesh.
    pub(super) of_mesh: bool,
}

/// Our own certificate, shown to servers that ask: two PEM files.
#[derive(Debug, Clone, Copy)]
pub struct OwnCertificate<'a> {
    /// The chain, leaf first.
    pub certificate: &'a Path,
    /// The leaf's key.
    pub key: &'a Path,
}

impl ClientTls {
    /// Reads PEM files: our own certificate if any, and the authorities of servers.
    ///
    /// With `expect_identity` the server must prove exactly that SPIFFE id, and `server_name` is
    /// only sent; without, the server's certificate must be valid for `server_name`.
    ///
    /// # Errors
    /// [`TlsError`] names the file or name and the way out.
    pub fn from_files(
        own: Option<OwnCertificate<'_>>,
        ca: &Path,
        expect_identity: Option<SpiffeId>,
        server_name: &str,
    ) -> Result<Self, TlsError> {
        let of_mesh = expect_identity.is_some();
        let builder = ClientConfig::builder_with_provider(verify::provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(verify::servers(ca, expect_identity)?);
        let mut shown = None;
        let mut config = match own {
            Some(OwnCertificate { certificate, key }) => {
                let chain = files::certificates(certificate)?;
                shown = Some(ShownChain::new(certificate, &chain)?);
                builder
                    .with_client_auth_cert(chain, files::key(key)?)
                    .map_err(|source| files::pair(certificate, key, source))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        let shown = shown.map(ShownCertificate::Chain);
        Ok(Self { config: Arc::new(config), server_name: named(server_name)?, shown, of_mesh })
    }

    /// A client inside the mesh: it shows the current SVID of `identity`, over TLS 1.3 only, and the server
    /// must be `expected`; `None`: any member of an accepted trust domain. `server_name` is only sent.
    ///
    /// # Errors
    /// [`TlsError::ServerName`] or [`TlsError::Setup`].
    pub fn from_identity(
        identity: &MeshIdentity,
        expected: Option<SpiffeId>,
        server_name: &str,
    ) -> Result<Self, TlsError> {
        // What a member of another trust domain states of a decision is not the word of a proxy of this mesh.
        let own = identity.id().trust_domain();
        let of_mesh = expected.as_ref().is_none_or(|id| id.trust_domain() == own);
        let config = Arc::new(identity.client(expected)?);
        let shown = Some(ShownCertificate::Svid(identity.clone()));
        Ok(Self { config, server_name: named(server_name)?, shown, of_mesh })
    }

    /// A client that has no identity yet: the server must be `expected`, a member of one of these trust domains,
    /// over TLS 1.3 only. We show no certificate; `server_name` is only sent.
    ///
    /// # Errors
    /// [`TlsError::ServerName`] or [`TlsError::Setup`].
    pub fn from_bundles(
        bundles: TrustBundles,
        expected: SpiffeId,
        server_name: &str,
    ) -> Result<Self, TlsError> {
        let config = Arc::new(mesh::stranger(bundles, expected)?);
        Ok(Self { config, server_name: named(server_name)?, shown: None, of_mesh: true })
    }

    /// Reads PEM text: the authorities of servers, each of which must show a certificate valid for `server_name`. We show
    /// none. `place` is the file that the text comes from; errors name it.
    ///
    /// # Errors
    /// [`TlsError`] names the place or name and the way out.
    pub fn from_authorities(
        authorities: &str,
        place: &Path,
        server_name: &str,
    ) -> Result<Self, TlsError> {
        Self::to_server(Some(authorities), place, server_name, Vec::new())
    }

    /// The same, for a server whose certificate must have one of `names`; without any it must be valid for `server_name`.
    /// Without `authorities` those of the operating system count.
    ///
    /// # Errors
    /// [`TlsError`] names the place or name and the way out.
    pub fn to_server(
        authorities: Option<&str>,
        place: &Path,
        server_name: &str,
        names: Vec<ServerAltName>,
    ) -> Result<Self, TlsError> {
        let read = |text: &str| files::certificates_of(place, text.as_bytes());
        let authorities = authorities.map(read).transpose()?;
        let mut config = ClientConfig::builder_with_provider(verify::provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(verify::servers_named(place, authorities, names)?)
            .with_no_client_auth();
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        let (config, server_name) = (Arc::new(config), named(server_name)?);
        Ok(Self { config, server_name, shown: None, of_mesh: false })
    }

    /// Whether the server must prove that it is a member of a mesh; then it is a proxy of one.
    #[must_use]
    pub fn is_of_mesh(&self) -> bool {
        self.of_mesh
    }

    /// The facts of its own certificate, of the current one when it is an SVID; `None` when it shows none.
    #[must_use]
    pub fn facts(&self) -> Option<Arc<CertificateFacts>> {
        self.shown.as_ref().map(ShownCertificate::facts)
    }

    /// Checks that its own certificate, from that file, works where it will be used; without a certificate
    /// the check succeeds.
    ///
    /// # Errors
    /// [`TlsError`] names the file, the fault, and the way out.
    pub fn check(&self, certificate: &Path, needs: &CertificateNeeds<'_>) -> Result<(), TlsError> {
        let Some(ShownCertificate::Chain(shown)) = &self.shown else { return Ok(()) };
        shown.facts.check(certificate, needs)?;
        match (needs.authority, needs.now) {
            (Some(ca), Some(now)) => verify::client_is_of(certificate, &shown.chain, ca, now),
            _ => Ok(()),
        }
    }

    /// Offers only this protocol by ALPN, for upstreams whose protocol is configured.
    #[must_use]
    pub fn with_alpn(mut self, protocols: &[&[u8]]) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols =
            protocols.iter().map(|protocol| protocol.to_vec()).collect();
        self
    }

    /// Does a handshake with a server within 10 s, then closes the connection. Checks that the two sides accept each
    /// other.
    ///
    /// # Errors
    /// [`TlsError::Handshake`] or [`TlsError::Timeout`].
    pub async fn handshake<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: IO,
    ) -> Result<PeerIdentity, TlsError> {
        Ok(self.connect(io).await?.1)
    }

    pub(crate) async fn connect<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: IO,
    ) -> Result<(tokio_rustls::client::TlsStream<IO>, PeerIdentity), TlsError> {
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.config));
        let stream = deadline(connector.connect(self.server_name.clone(), io)).await?;
        let identity = PeerIdentity::of(stream.get_ref().1, None);
        Ok((stream, identity))
    }
}

fn named(server_name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(server_name.to_owned())
        .map_err(|_| TlsError::ServerName { name: server_name.to_owned() })
}

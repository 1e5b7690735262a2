//! TLS on both sides, with SPIFFE identities.
//!
//! A [`ServerTls`] or [`ClientTls`] never changes: new files make a new value, which belongs to a new
//! generation, and connections keep the one they began with.

mod bundles;
mod error;
mod facts;
mod files;
mod hello;
mod mesh;
mod peer_certificate;
mod peers;
mod refusal;
mod shown;
mod signatures;
pub mod spiffe;
mod tcp_port;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod verify;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Acceptor, ClientHello};
use rustls::{ClientConfig, CommonState, ProtocolVersion, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::LazyConfigAcceptor;

pub use self::bundles::TrustBundles;
pub use self::error::TlsError;
pub use self::facts::{CertificateFacts, CertificateNeeds};
pub use self::hello::{read_hello, refuse_name};
pub use self::mesh::{ClientCertificates, MeshIdentity, SvidRenewals};
pub use self::peer_certificate::PeerCertificate;
pub use self::refusal::PeerRefusal;
use self::shown::{ShownCertificate, ShownChain};
use self::spiffe::SpiffeId;
pub use self::tcp_port::{AskedProtocol, TcpPort};
pub use self::verify::ServerAltName;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Fatal alerts as records of their own (RFC 8446 §5.1 and §6): nothing is encrypted yet.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// What a client asks for in the first message of its handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedHandshake {
    /// The server name; `None`: it names none.
    pub server_name: Option<String>,
    /// What the connection is to carry.
    pub protocol: AskedProtocol,
}

/// The stream of an accepted connection.
pub type ServerStream<IO> = tokio_rustls::server::TlsStream<IO>;

/// The identity that a peer proved, and the result of the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The SPIFFE id of the peer's verified certificate; `None` when it showed none.
    pub spiffe_id: Option<SpiffeId>,
    /// The server name the client asked for.
    pub sni: Option<String>,
    /// The protocol agreed on by ALPN, as on the wire: `h2` or `http/1.1`.
    pub alpn: Option<Vec<u8>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub tls_version: &'static str,
}

impl PeerIdentity {
    /// Whether ALPN agreed on HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.alpn.as_deref() == Some(b"h2")
    }

    /// Whether ALPN agreed on that opaque port.
    #[must_use]
    pub fn is_tcp(&self, port: TcpPort) -> bool {
        self.alpn.as_ref().is_some_and(|alpn| *alpn == port.protocol())
    }

    fn of(state: &CommonState, sni: Option<&str>) -> Self {
        let leaf = state.peer_certificates().and_then(<[_]>::first);
        Self {
            spiffe_id: leaf.and_then(|leaf| SpiffeId::of_certificate(leaf).ok()),
            sni: sni.map(str::to_owned),
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            tls_version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "unknown",
            },
        }
    }
}

/// The TLS configuration of a listener. Cheap to clone, shared by workers.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    shown: ShownCertificate,
}

impl ServerTls {
    /// Reads PEM files: the chain (leaf first), its key, and the authorities of clients.
    ///
    /// With `client_ca` every client must show a certificate of one of these authorities with exactly one
    /// SPIFFE id, on every connection: sessions are not resumed. Without, no client certificate is requested.
    ///
    /// # Errors
    /// [`TlsError`] names the file and the way out.
    pub fn from_files(
        certificate: &Path,
        key: &Path,
        client_ca: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let chain = files::certificates(certificate)?;
        let shown = ShownChain::new(certificate, &chain)?;
        let secret = files::key(key)?;
        let builder = ServerConfig::builder_with_provider(verify::provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        let builder = match client_ca {
            Some(path) => builder.with_client_cert_verifier(verify::clients(path)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, secret)
            .map_err(|source| files::pair(certificate, key, source))?;
        if client_ca.is_some() {
            verify::resume_no_session(&mut config);
        }
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        Ok(Self { config: Arc::new(config), shown: ShownCertificate::Chain(shown) })
    }

    /// A listener inside the mesh: it shows the current SVID of `identity` and verifies clients with its
    /// current bundles, over TLS 1.3 only. A session is never resumed, so that every connection is verified.
    ///
    /// # Errors
    /// [`TlsError::Setup`].
    pub fn from_identity(
        identity: &MeshIdentity,
        clients: ClientCertificates,
    ) -> Result<Self, TlsError> {
        let config = Arc::new(identity.server(clients)?);
        Ok(Self { config, shown: ShownCertificate::Svid(identity.clone()) })
    }

    /// The facts of its certificate; of the current one, when it is an SVID.
    #[must_use]
    pub fn facts(&self) -> Arc<CertificateFacts> {
        self.shown.facts()
    }

    /// Checks that its certificate, from that file, works where it will be used. An SVID was checked when it
    /// came.
    ///
    /// # Errors
    /// [`TlsError`] names the file, the fault, and the way out.
    pub fn check(&self, certificate: &Path, needs: &CertificateNeeds<'_>) -> Result<(), TlsError> {
        let ShownCertificate::Chain(shown) = &self.shown else { return Ok(()) };
        shown.facts.check(certificate, needs)?;
        match (needs.authority, needs.now) {
            (Some(ca), Some(now)) => verify::server_is_of(certificate, &shown.chain, ca, now),
            _ => Ok(()),
        }
    }

    /// The same for an opaque port alone: a client that asks for nothing else gets a connection.
    #[must_use]
    pub fn for_port(&self, port: TcpPort) -> Self {
        let mut tls = self.clone();
        Arc::make_mut(&mut tls.config).alpn_protocols = vec![port.protocol()];
        tls
    }

    /// The same for connections whose content nobody reads here: no protocol is agreed on, since nobody here knows which
    /// ones the service has.
    #[must_use]
    pub fn for_any_protocol(&self) -> Self {
        let mut tls = self.clone();
        Arc::make_mut(&mut tls.config).alpn_protocols = Vec::new();
        tls
    }

    /// Does the handshake with a client, within 10 s.
    ///
    /// # Errors
    /// [`TlsError::Handshake`] or [`TlsError::Timeout`]; the connection is unusable.
    pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: IO,
    ) -> Result<(ServerStream<IO>, PeerIdentity), TlsError> {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&self.config));
        Ok(identified(deadline(acceptor.accept(io)).await?))
    }

    /// The same for a socket with several configurations: `choose` gives the one for what the client asks for, and what
    /// belongs to it. Clients for which there is none get the alert `unrecognized_name` (RFC 6066 §3), or
    /// `no_application_protocol` (RFC 7301 §3.2) when they ask for an opaque port, and see no certificate.
    ///
    /// # Errors
    /// [`TlsError::UnknownName`], [`TlsError::UnknownPort`], [`TlsError::Handshake`] or [`TlsError::Timeout`].
    pub async fn accept_chosen<IO: AsyncRead + AsyncWrite + Unpin, T>(
        io: IO,
        choose: impl FnOnce(&AskedHandshake) -> Option<(T, Arc<Self>)>,
    ) -> Result<(T, ServerStream<IO>, PeerIdentity), TlsError> {
        let handshake = async {
            let start = LazyConfigAcceptor::new(Acceptor::default(), io).await;
            let mut start = start.map_err(TlsError::Handshake)?;
            let asked = asked(&start.client_hello());
            let Some((chosen, tls)) = choose(&asked) else {
                let (alert, error) = match asked.protocol {
                    AskedProtocol::Http => {
                        let asked = asked.server_name;
                        (UNRECOGNIZED_NAME, TlsError::UnknownName { asked })
                    }
                    AskedProtocol::Tcp(port) => {
                        let port = Some(port.number());
                        (NO_APPLICATION_PROTOCOL, TlsError::UnknownPort { port })
                    }
                    AskedProtocol::Unclear => {
                        (NO_APPLICATION_PROTOCOL, TlsError::UnknownPort { port: None })
                    }
                };
                // The connection ends anyway, with the alert or without.
                let _gone = start.io.write_all(&alert).await;
                let _gone = start.io.shutdown().await;
                return Err(error);
            };
            let stream = start.into_stream(Arc::clone(&tls.config)).await;
            Ok((chosen, stream.map_err(TlsError::Handshake)?))
        };
        let done = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await;
        let (chosen, stream) = done.map_err(|_elapsed| TlsError::Timeout)??;
        let (stream, identity) = identified(stream);
        Ok((chosen, stream, identity))
    }
}

fn asked(hello: &ClientHello<'_>) -> AskedHandshake {
    let protocol = AskedProtocol::of(hello.alpn().into_iter().flatten());
    AskedHandshake { server_name: hello.server_name().map(str::to_owned), protocol }
}

/// A stream with the identity of its peer.
fn identified<IO>(stream: ServerStream<IO>) -> (ServerStream<IO>, PeerIdentity) {
    let (_, state) = stream.get_ref();
    let identity = PeerIdentity::of(state, state.server_name());
    (stream, identity)
}

/// The TLS configuration for an upstream. Cheap to clone, shared by workers.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    shown: Option<ShownCertificate>,
    /// The server must be a member of a mesh.
    of_mesh: bool,
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
        let config = Arc::new(identity.client(expected)?);
        let shown = Some(ShownCertificate::Svid(identity.clone()));
        Ok(Self { config, server_name: named(server_name)?, shown, of_mesh: true })
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
    /// none. `place` is where the text stands, for errors.
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

    /// Does the handshake with a server, within 10 s, and ends the connection: for a check of both sides.
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

async fn deadline<T>(handshake: impl Future<Output = io::Result<T>>) -> Result<T, TlsError> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(outcome) => outcome.map_err(TlsError::Handshake),
        Err(_elapsed) => Err(TlsError::Timeout),
    }
}

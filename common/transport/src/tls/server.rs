//! TLS at a listener: the handshake that a client asks for, and the configuration that answers it.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCertUsingSni};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::LazyConfigAcceptor;

use super::shown::{ShownCertificate, ShownChain};
use super::{
    ALPN, AskedProtocol, CertificateFacts, CertificateNeeds, ClientCertificates, HANDSHAKE_TIMEOUT,
    MeshIdentity, PeerIdentity, TcpPort, TlsError, deadline, files, verify,
};

/// Fatal alerts as records of their own (RFC 8446 §5.1 and §6): nothing is encrypted yet.
pub(super) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
pub(super) const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

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

/// The TLS configuration of a listener. Cheap to clone, shared by workers.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) shown: ShownCertificate,
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

    /// A listener whose certificate for a host is ordered and not there yet: every handshake is refused with the alert
    /// `internal_error`.
    ///
    /// # Errors
    /// [`TlsError::Setup`].
    pub fn awaiting(host: &str) -> Result<Self, TlsError> {
        let config = ServerConfig::builder_with_provider(verify::provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        let shown = ShownCertificate::Awaited(Arc::new(CertificateFacts::awaited(host)));
        Ok(Self { config: Arc::new(config), shown })
    }

    /// Why nobody can shake hands yet; `None`: it has a certificate.
    fn awaited(&self) -> Option<TlsError> {
        let ShownCertificate::Awaited(facts) = &self.shown else { return None };
        Some(TlsError::NoCertificate { host: facts.names.join(", ") })
    }

    /// The facts of its certificate; of the current one, when it is an SVID.
    #[must_use]
    pub fn facts(&self) -> Arc<CertificateFacts> {
        self.shown.facts()
    }

    /// Reads PEM text: a chain, leaf first, and its key. It serves nobody: whoever writes a certificate where a listener
    /// reads it tries it before.
    ///
    /// # Errors
    /// [`TlsError`]: `place` stands for the file. A certificate that is not valid at `now`, or not for `name`, is one too.
    pub fn try_pem(
        text: &str,
        place: &Path,
        name: &str,
        now: SystemTime,
    ) -> Result<CertificateFacts, TlsError> {
        let chain = files::certificates_of(place, text.as_bytes())?;
        let shown = ShownChain::new(place, &chain)?;
        let secret = files::key_of(place, text.as_bytes())?;
        let needs = CertificateNeeds { now: Some(now), name: Some(name), ..Default::default() };
        shown.facts.check(place, &needs)?;
        ServerConfig::builder_with_provider(verify::provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|source| files::pair(place, place, source))?;
        Ok(CertificateFacts::clone(&shown.facts))
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
        mut io: IO,
    ) -> Result<(ServerStream<IO>, PeerIdentity), TlsError> {
        if let Some(error) = self.awaited() {
            refuse(&mut io, &INTERNAL_ERROR).await;
            return Err(error);
        }
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&self.config));
        Ok(identified(deadline(acceptor.accept(io)).await?))
    }

    /// The same for a socket with several configurations: `choose` gives the one for what the client asks for, and what
    /// belongs to it. Clients for which there is none get the alert `unrecognized_name` (RFC 6066 §3), or
    /// `no_application_protocol` (RFC 7301 §3.2) when they ask for an opaque port or a challenge, and see no certificate.
    ///
    /// # Errors
    /// [`TlsError::UnknownName`], [`TlsError::UnknownPort`], [`TlsError::NoChallenge`], [`TlsError::NoCertificate`],
    /// [`TlsError::Handshake`] or [`TlsError::Timeout`].
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
                    AskedProtocol::AcmeChallenge => {
                        let asked = asked.server_name;
                        (NO_APPLICATION_PROTOCOL, TlsError::NoChallenge { asked })
                    }
                    AskedProtocol::Tcp(port) => {
                        let port = Some(port.number());
                        (NO_APPLICATION_PROTOCOL, TlsError::UnknownPort { port })
                    }
                    AskedProtocol::Unclear => {
                        (NO_APPLICATION_PROTOCOL, TlsError::UnknownPort { port: None })
                    }
                };
                refuse(&mut start.io, &alert).await;
                return Err(error);
            };
            if let Some(error) = tls.awaited() {
                refuse(&mut start.io, &INTERNAL_ERROR).await;
                return Err(error);
            }
            let stream = start.into_stream(Arc::clone(&tls.config)).await;
            Ok((chosen, stream.map_err(TlsError::Handshake)?))
        };
        let done = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await;
        let (chosen, stream) = done.map_err(|_elapsed| TlsError::Timeout)??;
        let (stream, identity) = identified(stream);
        Ok((chosen, stream, identity))
    }
}

/// Ends a connection with an alert.
pub(super) async fn refuse(io: &mut (impl AsyncWrite + Unpin), alert: &[u8]) {
    // The connection ends anyway, with the alert or without.
    let _gone = io.write_all(alert).await;
    let _gone = io.shutdown().await;
}

pub(super) fn asked(hello: &ClientHello<'_>) -> AskedHandshake {
    let protocol = AskedProtocol::of(hello.alpn().into_iter().flatten());
    AskedHandshake { server_name: hello.server_name().map(str::to_owned), protocol }
}

/// A stream with the identity of its peer.
fn identified<IO>(stream: ServerStream<IO>) -> (ServerStream<IO>, PeerIdentity) {
    let (_, state) = stream.get_ref();
    let identity = PeerIdentity::of(state, state.server_name());
    (stream, identity)
}

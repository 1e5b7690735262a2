//! A worker's socket, and the handshakes that it answers.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig,
    ValidationTokenConfig, VarInt,
};
use rustls_pki_types::CertificateDer;

use super::admission::{AddressPlace, Admission, HandshakePlace, Places};
use super::connection::QuicConnection;
use super::session::{ChooseListener, ChosenConfig, HandshakeFacts};
use crate::serve::ServeLimits;
use crate::tls::{PeerIdentity, TlsError};
use crate::udp::BoundUdp;

/// QUIC version 1 (RFC 9000 §15).
const VERSION_1: u32 = 1;
/// Bytes that a client may send on a stream, and on all of a connection, before somebody reads them; as over HTTP/2.
const CLIENT_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of responses of a connection that are not acknowledged. They are in no budget, so they are few: enough for 10 MB a second
/// over 50 ms.
pub(crate) const SEND_BYTES: u64 = 512 * 1024;
/// Streams in one direction that a client may have open: it needs three (RFC 9114 §6.2), and some open another one that means
/// nothing.
const CLIENT_UNI_STREAMS: u32 = 8;
/// Handshakes that wait for the worker to look at them, and bytes that wait with each and with all of them.
const INCOMING_MAX: usize = 256;
const INCOMING_BYTES: u64 = 16 * 1024;
const ALL_INCOMING_BYTES: u64 = 1024 * 1024;
/// How long a handshake may take, as one over TCP.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A worker's socket for QUIC.
pub struct QuicEndpoint {
    endpoint: Endpoint,
    /// Without the choice of a listener; with the key of its tokens.
    config: ServerConfig,
    places: Rc<Places>,
    /// New connections are refused.
    refuses: Cell<bool>,
}

/// A handshake that is to be answered.
pub struct QuicHandshake {
    incoming: Incoming,
    /// Its client has shown that it has its address.
    proved: bool,
    handshake: HandshakePlace,
    place: AddressPlace,
}

impl QuicEndpoint {
    /// Serves on a socket, with listeners that are chosen by the server names of handshakes.
    ///
    /// Must run inside the runtime of the worker.
    ///
    /// # Errors
    /// The runtime cannot watch the socket, or TLS cannot be set up.
    pub fn new(socket: BoundUdp, limits: &ServeLimits, choose: ChooseListener) -> io::Result<Self> {
        let mut config = ServerConfig::with_crypto(chosen(choose)?);
        let mut tokens = ValidationTokenConfig::default();
        // Addresses are proved when it is needed, and not beforehand.
        tokens.sent(0);
        config
            .transport_config(Arc::new(transport(limits)?))
            .validation_token_config(tokens)
            .migration(false)
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES)
            .incoming_buffer_size_total(ALL_INCOMING_BYTES);
        let mut own = EndpointConfig::default();
        own.supported_versions(vec![VERSION_1]);
        let (server, runtime) = (Some(config.clone()), Arc::new(TokioRuntime));
        let endpoint = Endpoint::new(own, server, socket.into_socket(), runtime)?;
        Ok(Self { endpoint, config, places: Rc::default(), refuses: Cell::new(false) })
    }

    /// Chooses among other listeners from the next handshake on.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn choose(&self, choose: ChooseListener) -> io::Result<()> {
        let mut config = self.config.clone();
        config.crypto = chosen(choose)?;
        self.endpoint.set_server_config(Some(config));
        Ok(())
    }

    /// Refuses new connections, whose clients then know at once that they should go elsewhere; or takes them again.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.set(refuses);
    }

    /// Whether new connections are served.
    pub fn is_open(&self) -> bool {
        !self.refuses.get()
    }

    /// The next handshake that is to be answered; `None` once the socket has failed. Those that are not are refused here, or asked
    /// to prove their address.
    pub async fn accept(&self) -> Option<QuicHandshake> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let (client, proved) = (incoming.remote_address(), incoming.remote_address_validated());
            let admission = self.places.judge(client, proved);
            match admission {
                _ if self.refuses.get() => incoming.refuse(),
                Admission::Refuse => incoming.refuse(),
                // One that cannot be asked again has proved it.
                Admission::Prove if incoming.may_retry() => drop(incoming.retry()),
                Admission::Prove | Admission::Answer => {
                    let (handshake, place) = self.places.take(client);
                    return Some(QuicHandshake { incoming, proved, handshake, place });
                }
            }
        }
    }

    /// Waits until no connection is left, nor the farewell of one.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }

    /// Closes all connections.
    pub fn close(&self) {
        self.endpoint.close(VarInt::from_u32(0x100), b"");
    }
}

impl QuicHandshake {
    /// The client's address.
    pub fn client(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Whether the client has shown that it has its address.
    pub fn has_proved(&self) -> bool {
        self.proved
    }

    /// Refuses it.
    pub fn refuse(self) {
        self.incoming.refuse();
    }

    /// Does the handshake, within 10 s; returns the connection, the listener that was chosen, and the identity of the client.
    ///
    /// # Errors
    /// [`TlsError::Quic`], [`TlsError::UnknownName`] or [`TlsError::Timeout`].
    pub async fn finish(self) -> Result<(QuicConnection, String, PeerIdentity), TlsError> {
        let Self { incoming, handshake, place, .. } = self;
        let connecting = incoming.accept().map_err(TlsError::of_quic)?;
        let connection = tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await;
        drop(handshake);
        let connection = connection.map_err(|_elapsed| TlsError::Timeout)?;
        let connection = connection.map_err(TlsError::of_quic)?;
        let facts = connection.handshake_data().and_then(|data| data.downcast().ok());
        let leaf = connection.peer_identity().and_then(|identity| identity.downcast().ok());
        let connection = QuicConnection::new(connection, place);
        let Some(facts) = facts else { return Err(TlsError::UnknownName { asked: None }) };
        let HandshakeFacts { listener, server_name, protocol } = *facts;
        let leaf: Option<Box<Vec<CertificateDer<'static>>>> = leaf;
        let leaf = leaf.and_then(|chain| chain.into_iter().next());
        let identity = PeerIdentity::of_quic(leaf.as_ref(), server_name, protocol);
        Ok((connection, listener.to_string(), identity))
    }
}

fn chosen(choose: ChooseListener) -> io::Result<Arc<ChosenConfig>> {
    ChosenConfig::new(choose).map(Arc::new).map_err(io::Error::other)
}

/// The bounds of connections. What keeps an idle one alive is what keeps one of HTTP/2 alive: pings that are answered.
fn transport(limits: &ServeLimits) -> io::Result<TransportConfig> {
    let silence = limits.ping_interval.saturating_add(limits.ping_timeout);
    let silence = IdleTimeout::try_from(silence).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.max_streams.into())
        .max_concurrent_uni_streams(CLIENT_UNI_STREAMS.into())
        .stream_receive_window(CLIENT_WINDOW_BYTES.into())
        .receive_window(CLIENT_WINDOW_BYTES.into())
        .send_window(SEND_BYTES)
        .max_idle_timeout(Some(silence))
        .keep_alive_interval(Some(limits.ping_interval))
        .datagram_receive_buffer_size(None);
    Ok(transport)
}

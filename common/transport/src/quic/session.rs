//! The cryptographic part of a connection, whose configuration is chosen by the first message of its handshake: a port may have
//! several listeners, each with its certificate and its rule for those of clients.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session,
    UnsupportedVersion,
    rustls::{HandshakeData, QuicServerConfig},
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};

use crate::tls::{AskedHandshake, AskedProtocol, ServerTls, TlsError, read_bare_hello};

/// Alerts (RFC 8446 §6), as QUIC carries them (RFC 9001 §4.8).
const UNEXPECTED_MESSAGE: u8 = 10;
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The longest first message of a handshake; `quinn` keeps no more either.
const HELLO_MAX: usize = 16 * 1024;

/// A listener that serves HTTP/3, as handshakes choose it.
#[derive(Clone)]
pub struct QuicListener {
    name: Arc<str>,
    config: Arc<QuicServerConfig>,
}

impl QuicListener {
    /// That of this name, with the certificates of its TLS.
    ///
    /// # Errors
    /// [`TlsError::Setup`].
    pub fn new(name: &str, tls: &ServerTls) -> Result<Self, TlsError> {
        Ok(Self { name: name.into(), config: tls.for_quic()? })
    }
}

impl fmt::Debug for QuicListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QuicListener").field(&self.name).finish()
    }
}

/// Chooses the listener for what a client asks for.
pub type ChooseListener = Arc<dyn Fn(&AskedHandshake) -> Option<QuicListener> + Send + Sync>;

/// What is known of a handshake.
#[derive(Debug)]
pub(super) struct HandshakeFacts {
    pub(super) listener: Arc<str>,
    pub(super) server_name: Option<String>,
    pub(super) protocol: Option<Vec<u8>>,
}

/// A configuration that is chosen for each connection.
pub(super) struct ChosenConfig {
    choose: ChooseListener,
    /// For what is the same in all of them: the keys of the first packets.
    any: Arc<QuicServerConfig>,
}

impl ChosenConfig {
    pub(super) fn new(choose: ChooseListener) -> Result<Self, TlsError> {
        Ok(Self { choose, any: ServerTls::quic_without_certificate()? })
    }
}

impl ServerConfig for ChosenConfig {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.any.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.any.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        let seen = Vec::new();
        Box::new(ChosenSession::Unchosen { config: self, version, params: Box::new(*params), seen })
    }
}

/// A session before and after its listener was chosen.
enum ChosenSession {
    Unchosen {
        config: Arc<ChosenConfig>,
        version: u32,
        params: Box<TransportParameters>,
        /// The first message, as far as it has come.
        seen: Vec<u8>,
    },
    Chosen {
        listener: Arc<str>,
        session: Box<dyn Session>,
    },
}

impl ChosenSession {
    fn chosen(&self) -> Option<&dyn Session> {
        match self {
            Self::Unchosen { .. } => None,
            Self::Chosen { session, .. } => Some(&**session),
        }
    }
}

impl Session for ChosenSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        match self {
            Self::Chosen { session, .. } => session.initial_keys(dst_cid, side),
            Self::Unchosen { config, version, params, .. } => {
                let any = Arc::clone(&config.any);
                any.start_session(*version, params).initial_keys(dst_cid, side)
            }
        }
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let Self::Chosen { listener, session } = self else { return None };
        let data = session.handshake_data()?.downcast::<HandshakeData>().ok()?;
        let HandshakeData { protocol, server_name, .. } = *data;
        Some(Box::new(HandshakeFacts { listener: Arc::clone(listener), server_name, protocol }))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.chosen()?.peer_identity()
    }

    /// No data is taken before the handshake is complete: it can be sent twice by whoever sees it.
    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        self.chosen().is_none_or(Session::is_handshaking)
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let (config, version, params, seen) = match self {
            Self::Chosen { session, .. } => return session.read_handshake(buf),
            Self::Unchosen { config, version, params, seen } => (config, *version, params, seen),
        };
        seen.extend_from_slice(buf);
        let Some(asked) = asked(seen)? else { return Ok(false) };
        let chosen = match asked.protocol {
            AskedProtocol::Http => (config.choose)(&asked),
            AskedProtocol::Tcp(_) | AskedProtocol::AcmeChallenge | AskedProtocol::Unclear => {
                return Err(alert(NO_APPLICATION_PROTOCOL, "no such protocol over QUIC"));
            }
        };
        let Some(QuicListener { name: listener, config }) = chosen else {
            return Err(alert(UNRECOGNIZED_NAME, "no listener of this port has the name"));
        };
        let mut session = config.start_session(version, params);
        let known = session.read_handshake(seen);
        *self = Self::Chosen { listener, session };
        known
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.chosen().map_or(Ok(None), Session::transport_parameters)
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        match self {
            Self::Unchosen { .. } => None,
            Self::Chosen { session, .. } => session.write_handshake(buf),
        }
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        match self {
            Self::Unchosen { .. } => None,
            Self::Chosen { session, .. } => session.next_1rtt_keys(),
        }
    }

    /// Only clients receive one.
    fn is_valid_retry(
        &self,
        _orig_dst_cid: &ConnectionId,
        _header: &[u8],
        _payload: &[u8],
    ) -> bool {
        false
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        let chosen = self.chosen().ok_or(ExportKeyingMaterialError)?;
        chosen.export_keying_material(output, label, context)
    }
}

/// What the first message asks for; `None`: it is not complete.
fn asked(seen: &[u8]) -> Result<Option<AskedHandshake>, TransportError> {
    const CLIENT_HELLO: u8 = 1;
    if seen.len() > HELLO_MAX {
        return Err(alert(DECODE_ERROR, "the first message is too long"));
    }
    let [kind, a, b, c, ..] = seen else { return Ok(None) };
    if *kind != CLIENT_HELLO {
        return Err(alert(UNEXPECTED_MESSAGE, "the first message is another one"));
    }
    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    if length > HELLO_MAX {
        return Err(alert(DECODE_ERROR, "the first message is too long"));
    }
    // The message includes its own header of four bytes.
    let Some(message) = seen.get(..length.saturating_add(4)) else { return Ok(None) };
    let asked = read_bare_hello(message);
    asked.map(Some).ok_or_else(|| alert(DECODE_ERROR, "the first message cannot be read"))
}

fn alert(number: u8, reason: &str) -> TransportError {
    let code = TransportErrorCode::crypto(number);
    TransportError { code, frame: None, reason: reason.to_owned() }
}

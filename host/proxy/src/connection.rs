//! Properties of a connection, computed once for all its exchanges.

use bytes::Bytes;
use http::HeaderValue;
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tamis_engine::FilterState;
use tamis_exchange::Scheme;
use tamis_transport::{ConnectionInfo, FederatedPeer, SpiffeId};

/// What is known of a connection that the kernel led here.
#[derive(Debug, Clone)]
pub(crate) struct CapturedConnection {
    /// The address that the application connected to.
    pub(crate) destination: SocketAddr,
    /// The host by which its requests are routed, whatever host they name; `None`: it is not read.
    pub(crate) host: Option<Arc<str>>,
    /// The address of the application.
    pub(crate) peer: Option<SocketAddr>,
}

/// What is known of the opening of a connection, apart from its sender and its TLS.
#[derive(Default)]
pub(crate) struct ConnectionOpening {
    /// `None`: the peer connected to the listener itself.
    pub(crate) captured: Option<CapturedConnection>,
    /// The server name of a handshake that does not end here.
    pub(crate) server_name: Option<Arc<str>>,
}

/// Properties of a connection in the forms that its exchanges need.
pub(crate) struct Connection {
    /// Its id, from the same counter as exchange ids.
    id: u64,
    /// The states of the filters that keep values of this connection.
    kept_by: RefCell<Vec<Arc<FilterState>>>,
    /// Name of the listener it came through; in clear text, of the one that has the host of the request.
    pub(crate) listener: Arc<str>,
    /// IP address that it comes from: the peer's, or the one that a PROXY header states; `None` on a unix socket.
    pub(crate) sender: Option<IpAddr>,
    /// The address as text; `unix` on a unix socket.
    pub(crate) sender_address: Arc<str>,
    /// The address as a header value.
    pub(crate) sender_value: HeaderValue,
    /// The sender's `for` in `Forwarded` (RFC 7239 §6): IPv6 in brackets and quotes.
    pub(crate) forwarded_for: String,
    /// The whole element of a gateway: `for` and `proto`.
    pub(crate) forwarded: HeaderValue,
    /// SPIFFE id the peer proved.
    pub(crate) peer_identity: Option<Arc<str>>,
    /// The peer as one of a federated trust domain; `None`: it is none.
    pub(crate) federated: Option<FederatedPeer>,
    /// Scheme that the client used.
    pub(crate) scheme: Scheme,
    /// TLS version; `None`: clear text.
    pub(crate) tls_version: Option<&'static str>,
    /// Server name the client asked for.
    pub(crate) server_name: Option<Arc<str>>,
    /// `None`: the peer connected to the listener itself.
    pub(crate) captured: Option<CapturedConnection>,
}

impl Connection {
    pub(crate) fn new(id: u64, listener: &str, info: &ConnectionInfo) -> Self {
        let sender_address =
            info.sender.map_or_else(|| "unix".to_owned(), |sender| sender.ip().to_string());
        let forwarded_for = match info.sender {
            Some(sender) if sender.is_ipv6() => format!("\"[{sender_address}]\""),
            Some(_) => sender_address.clone(),
            None => "_unix".to_owned(),
        };
        let identity = info.identity.as_ref();
        let scheme = if identity.is_some() { Scheme::Https } else { Scheme::Http };
        let forwarded = format!("for={forwarded_for};proto={}", scheme.as_str());
        let shared = |text: &str| shared_value(text).unwrap_or(HeaderValue::from_static("unknown"));
        Self {
            id,
            kept_by: RefCell::default(),
            listener: listener.into(),
            sender: info.sender.map(|sender| sender.ip()),
            sender_value: shared(&sender_address),
            sender_address: sender_address.into(),
            forwarded: shared(&forwarded),
            forwarded_for,
            peer_identity: identity
                .and_then(|identity| identity.spiffe_id.as_ref())
                .map(|id| id.as_str().into()),
            federated: None,
            scheme,
            tls_version: identity.map(|identity| identity.tls_version),
            server_name: identity.and_then(|identity| identity.sni.as_deref().map(Into::into)),
            captured: None,
        }
    }

    /// The same connection, with what is known of its opening.
    pub(crate) fn opened(mut self, opening: ConnectionOpening) -> Self {
        self.captured = opening.captured;
        if opening.server_name.is_some() {
            self.server_name = opening.server_name;
        }
        self
    }

    /// The same of a peer that is one of a federated trust domain.
    pub(crate) fn of(mut self, federated: Option<FederatedPeer>) -> Self {
        self.federated = federated;
        self
    }

    /// Whether its peer proved to be a member of this mesh: its words about a request are those of a hop, which nobody else's are, a
    /// member of another trust domain's included.
    pub(crate) fn is_of_mesh(&self) -> bool {
        self.peer_identity.is_some() && self.federated.is_none()
    }

    /// The id of its peer, if the trust domain of that is not recognised any more.
    pub(crate) fn withdrawn(&self) -> Option<&SpiffeId> {
        self.federated.as_ref().filter(|peer| !peer.stands()).map(FederatedPeer::id)
    }

    /// The host by which its requests are routed; `None`: the one that each request names.
    pub(crate) fn routed_host(&self) -> Option<&Arc<str>> {
        self.captured.as_ref()?.host.as_ref()
    }
}

impl Connection {
    /// The same at another listener of its port, for which filters keep values of their own.
    pub(crate) fn at(&self, id: u64, listener: &str) -> Self {
        Self {
            id,
            kept_by: RefCell::default(),
            listener: listener.into(),
            sender: self.sender,
            sender_address: Arc::clone(&self.sender_address),
            sender_value: self.sender_value.clone(),
            forwarded_for: self.forwarded_for.clone(),
            forwarded: self.forwarded.clone(),
            peer_identity: self.peer_identity.clone(),
            federated: self.federated.clone(),
            scheme: self.scheme,
            tls_version: self.tls_version,
            server_name: self.server_name.clone(),
            captured: self.captured.clone(),
        }
    }

    /// The number under which a filter keeps values of it, until it is dropped.
    pub(crate) fn keep(&self, state: &Arc<FilterState>) -> u64 {
        let mut kept_by = self.kept_by.borrow_mut();
        if !kept_by.iter().any(|known| Arc::ptr_eq(known, state)) {
            kept_by.push(Arc::clone(state));
        }
        self.id
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for state in self.kept_by.take() {
            state.leave(self.id);
        }
    }
}

/// A value whose clones share its bytes from the first clone on.
fn shared_value(text: &str) -> Option<HeaderValue> {
    let octets = Bytes::copy_from_slice(text.as_bytes());
    // The first clone of new bytes moves them into shared storage; it is made here, once.
    drop(octets.clone());
    HeaderValue::from_maybe_shared(octets).ok()
}

//! Properties of a connection, computed once for all its exchanges.

use bytes::Bytes;
use http::HeaderValue;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use tamis_engine::FilterState;
use tamis_exchange::Scheme;
use tamis_transport::ConnInfo;

/// Properties of the peer in the forms that its exchanges need.
pub(crate) struct Connection {
    /// Its id, from the same counter as exchange ids.
    id: u64,
    /// The states of the filters that keep values of this connection.
    kept_by: RefCell<Vec<Arc<FilterState>>>,
    /// Name of the listener it came through.
    pub(crate) listener: Arc<str>,
    /// IP address of the peer; `None` on a unix socket.
    pub(crate) peer: Option<IpAddr>,
    /// The address as text; `unix` on a unix socket.
    pub(crate) peer_address: Arc<str>,
    /// The address as a header value.
    pub(crate) peer_value: HeaderValue,
    /// The peer's `for` in `Forwarded` (RFC 7239 §6): IPv6 in brackets and quotes.
    pub(crate) forwarded_for: String,
    /// The whole element of a gateway: `for` and `proto`.
    pub(crate) forwarded: HeaderValue,
    /// SPIFFE id the peer proved.
    pub(crate) peer_identity: Option<Arc<str>>,
    /// Scheme that the client used.
    pub(crate) scheme: Scheme,
    /// TLS version; `None`: clear text.
    pub(crate) tls_version: Option<&'static str>,
    /// Server name the client asked for.
    pub(crate) server_name: Option<Arc<str>>,
}

impl Connection {
    pub(crate) fn new(id: u64, listener: &str, info: &ConnInfo) -> Self {
        let peer_address =
            info.peer.map_or_else(|| "unix".to_owned(), |peer| peer.ip().to_string());
        let forwarded_for = match info.peer {
            Some(peer) if peer.is_ipv6() => format!("\"[{peer_address}]\""),
            Some(_) => peer_address.clone(),
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
            peer: info.peer.map(|peer| peer.ip()),
            peer_value: shared(&peer_address),
            peer_address: peer_address.into(),
            forwarded: shared(&forwarded),
            forwarded_for,
            peer_identity: identity
                .and_then(|identity| identity.spiffe_id.as_ref())
                .map(|id| id.as_str().into()),
            scheme,
            tls_version: identity.map(|identity| identity.tls_version),
            server_name: identity.and_then(|identity| identity.sni.as_deref().map(Into::into)),
        }
    }
}

impl Connection {
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

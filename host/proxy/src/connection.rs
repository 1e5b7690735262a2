//! What is known of a connection, made once for all its exchanges.

use http::HeaderValue;
use tamis_transport::ConnInfo;

/// Facts about the peer in the forms its exchanges need.
pub(crate) struct Connection {
    /// Name of the listener it came through.
    pub(crate) listener: String,
    /// Address of the peer; `unix` on a unix socket.
    pub(crate) peer_address: String,
    /// The same as a header value.
    pub(crate) peer_value: HeaderValue,
    /// The peer's element of `Forwarded` (RFC 7239 §6): IPv6 in brackets and quotes.
    pub(crate) forwarded_for: String,
    /// SPIFFE id the peer proved.
    pub(crate) peer_identity: Option<String>,
    /// TLS version; none is clear text.
    pub(crate) tls_version: Option<&'static str>,
    /// Server name the client asked for.
    pub(crate) server_name: Option<String>,
}

impl Connection {
    pub(crate) fn new(listener: &str, info: &ConnInfo) -> Self {
        let peer_address =
            info.peer.map_or_else(|| "unix".to_owned(), |peer| peer.ip().to_string());
        let forwarded_for = match info.peer {
            Some(peer) if peer.is_ipv6() => format!("\"[{peer_address}]\""),
            Some(_) => peer_address.clone(),
            None => "_unix".to_owned(),
        };
        let identity = info.identity.as_ref();
        Self {
            listener: listener.to_owned(),
            peer_value: HeaderValue::from_str(&peer_address)
                .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            peer_address,
            forwarded_for,
            peer_identity: identity
                .and_then(|identity| identity.spiffe_id.as_ref())
                .map(|id| id.as_str().to_owned()),
            tls_version: identity.map(|identity| identity.tls_version),
            server_name: identity.and_then(|identity| identity.sni.clone()),
        }
    }
}

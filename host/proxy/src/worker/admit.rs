//! Asks the connection hooks whether a connection is served, closed, or sent to a service as it is.

use crate::chain::{Chain, ConnectionSlot};
use crate::connection::Connection;
use crate::tunnel;
use std::rc::Rc;
use std::sync::Arc;
use tamis_exchange::{Attributes, ConnectionVerdict, Exchange, HeadBounds, Scheme};
use tamis_transport::ConnInfo;

/// Asks the connection hooks of a chain in their order.
pub(super) fn admit(
    chain: &Rc<Chain>,
    listener: &str,
    id: u64,
    connection: &Connection,
    info: &ConnInfo,
) -> Admission {
    let facts = facts(id, connection, info);
    for ConnectionSlot { slot, backends } in &chain.connection {
        let attachment = slot.name();
        let decision = match slot.ask_connection(&facts) {
            Ok(Some(decision)) => decision,
            Ok(None) => continue,
            Err(fault) => {
                let kind = fault.kind();
                tracing::warn!(
                    listener,
                    attachment,
                    kind,
                    "a connection is closed: its hook failed"
                );
                return Admission::Close;
            }
        };
        let reason = decision.reason;
        match decision.verdict {
            ConnectionVerdict::Allow => {}
            ConnectionVerdict::Deny => {
                tracing::info!(listener, attachment, reason, "a connection is closed");
                return Admission::Close;
            }
            ConnectionVerdict::Tunnel(backend) => {
                let service = backends.get(backend as usize).cloned().flatten();
                let Some(service) = service else {
                    tracing::warn!(
                        listener,
                        attachment,
                        backend,
                        "a connection is closed: its hook chose a service that this proxy does not know"
                    );
                    return Admission::Close;
                };
                let chain = Rc::clone(chain);
                let forward = tunnel::Forward { facts, chain, service, reason };
                return Admission::Tunnel(Box::new(forward));
            }
        }
    }
    Admission::Serve
}

/// What happens to a connection.
pub(super) enum Admission {
    /// Its exchanges are served.
    Serve,
    /// It is closed without a response.
    Close,
    /// Its bytes go to a service.
    Tunnel(Box<tunnel::Forward>),
}

/// A connection in the form that hooks see: attributes only.
fn facts(id: u64, connection: &Connection, info: &ConnInfo) -> Exchange {
    let mut attributes = Attributes::default();
    attributes.set("source.address", Arc::clone(&connection.peer_address));
    attributes.set("listener.name", Arc::clone(&connection.listener));
    if let Some(identity) = &connection.peer_identity {
        attributes.set("peer.spiffe-id", Arc::clone(identity));
    }
    if let Some(version) = connection.tls_version {
        attributes.set("tls.version", version);
    }
    if let Some(server_name) = &connection.server_name {
        attributes.set("tls.sni", Arc::clone(server_name));
    }
    let alpn = info.identity.as_ref().and_then(|identity| identity.alpn.as_deref());
    if let Some(Ok(alpn)) = alpn.map(std::str::from_utf8) {
        attributes.set("tls.alpn", alpn);
    }
    let secure = connection.tls_version.is_some();
    Exchange {
        id,
        method: http::Method::CONNECT,
        scheme: if secure { Scheme::Https } else { Scheme::Http },
        authority: String::new(),
        path: String::new(),
        headers: http::HeaderMap::new(),
        status: None,
        response_headers: http::HeaderMap::new(),
        attributes,
        bounds: HeadBounds::default(),
    }
}

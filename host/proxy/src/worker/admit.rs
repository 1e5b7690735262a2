//! Asks the connection hooks whether a connection is served, closed, or sent to a service as it is.

use crate::chain::{Chain, ConnectionSlot};
use crate::connection::Connection;
use crate::generation::TcpRules;
use crate::slot::FILTER_FAILED;
use crate::stream_routes::StreamChoice;
use crate::tcp::{TcpConnection, TcpService};
use crate::tcp_refusal::TcpRefusal;
use crate::tunnel;
use std::rc::Rc;
use std::sync::Arc;
use tamis_ambient::Random;
use tamis_exchange::{Attributes, ConnectionVerdict, Exchange, HeadBounds, Scheme};
use tamis_transport::{Address, ConnectionInfo};
use tamis_upstream::Upstream;

/// Asks the connection hooks of a chain in their order.
pub(super) fn admit(
    chain: &Rc<Chain>,
    listener: &str,
    id: u64,
    connection: &Connection,
    info: &ConnectionInfo,
) -> Admission {
    let facts = facts(id, connection, info);
    match ask(chain, listener, &facts) {
        Ok(AdmittedConnection { service: None, .. }) => Admission::Serve(Some(Rc::clone(chain))),
        Ok(AdmittedConnection { service: Some(service), reason }) => {
            let chain = Rc::clone(chain);
            Admission::Tunnel(Box::new(tunnel::Forward { facts, chain, service, reason }))
        }
        Err(_) => Admission::Close,
    }
}

/// The same for a connection that is carried unread: closed slots close it, and without a hook that says otherwise it goes
/// to the service of its port.
pub(super) fn admit_tcp(
    chain: &Rc<Chain>,
    rules: &TcpRules,
    id: u64,
    connection: &Connection,
    (info, random): (&ConnectionInfo, Random),
) -> Admission {
    let facts = facts(id, connection, info);
    let decision = judge(chain, &connection.listener, &facts).and_then(|asked| {
        let service = match asked.service {
            Some(_) if rules.datagrams => return Err(TcpRefusal::not_connected()),
            Some(service) => Some(service),
            None => service(chain, rules, connection, random)?,
        };
        Ok(TcpService { service, reason: asked.reason })
    });
    let (chain, rules) = (Rc::clone(chain), rules.clone());
    let arrived = match info.local {
        Address::Tcp(address) => Some(address),
        Address::Unix(_) => None,
    };
    let ends = info.sender.zip(arrived);
    Admission::Tcp(Box::new(TcpConnection { facts, ends, chain, rules, decision }))
}

/// The service of a connection that no hook sends elsewhere; `None`: this proxy does not know it.
fn service(
    chain: &Chain,
    rules: &TcpRules,
    connection: &Connection,
    random: Random,
) -> Result<Option<Rc<Upstream>>, TcpRefusal> {
    let Some(routes) = &rules.routed else { return Ok(chain.tcp.clone()) };
    match routes.choose(connection.server_name.as_deref(), random) {
        StreamChoice::Backend(at) => Ok(chain.routed.get(at).cloned().flatten()),
        StreamChoice::Unrouted => Err(TcpRefusal::unrouted(rules.datagrams)),
        StreamChoice::Backendless => Err(TcpRefusal::backendless(rules.datagrams)),
    }
}

/// The result of the connection hooks that let a connection pass.
pub(super) struct AdmittedConnection {
    /// The service that a hook sends the connection to.
    service: Option<Rc<Upstream>>,
    /// The reason of the last hook that gave one.
    reason: Option<String>,
}

/// What the hooks of a chain, and those of its slots that close it, decide about a connection.
pub(super) fn judge(
    chain: &Chain,
    listener: &str,
    facts: &Exchange,
) -> Result<AdmittedConnection, TcpRefusal> {
    match chain.closed.first() {
        Some(slot) => Err(slot.closes()),
        None => ask(chain, listener, facts),
    }
}

/// Waits for the turns of those hooks of a chain that take long; judge right after it.
pub(super) async fn turns(chain: &Chain) {
    for ConnectionSlot { slot, .. } in &chain.connection {
        slot.turn().await;
    }
}

fn ask(chain: &Chain, listener: &str, facts: &Exchange) -> Result<AdmittedConnection, TcpRefusal> {
    let mut said = None;
    for ConnectionSlot { slot, backends } in &chain.connection {
        let attachment = slot.name();
        let decision = match slot.ask_connection(facts) {
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
                return Err(TcpRefusal::undecided(slot, FILTER_FAILED, kind.to_owned()));
            }
        };
        let reason = decision.reason;
        match decision.verdict {
            ConnectionVerdict::Allow => said = reason.or(said),
            ConnectionVerdict::Deny => {
                tracing::info!(listener, attachment, reason, "a connection is closed");
                return Err(TcpRefusal::denied(slot, reason));
            }
            ConnectionVerdict::Tunnel(backend) => {
                let service = backends.get(backend as usize).cloned().flatten();
                if service.is_none() {
                    tracing::warn!(
                        listener,
                        attachment,
                        backend,
                        "a connection is closed: its hook chose a service that this proxy does not know"
                    );
                    let detail = format!("its backend {backend} is not known here");
                    return Err(TcpRefusal::undecided(slot, "upstream.no-endpoint", detail));
                }
                return Ok(AdmittedConnection { service, reason });
            }
        }
    }
    Ok(AdmittedConnection { service: None, reason: said })
}

/// What happens to a connection.
pub(super) enum Admission {
    /// Its exchanges are served. With the chain whose hooks admitted it; `None`: there are none.
    Serve(Option<Rc<Chain>>),
    /// It is closed without a response.
    Close,
    /// Its bytes go to a service.
    Tunnel(Box<tunnel::Forward>),
    /// It is of a `tcp` port.
    Tcp(Box<TcpConnection>),
}

/// A connection in the form that hooks see: attributes only.
pub(super) fn facts(id: u64, connection: &Connection, info: &ConnectionInfo) -> Exchange {
    let mut attributes = Attributes::default();
    attributes.set("source.address", Arc::clone(&connection.sender_address));
    attributes.set("listener.name", Arc::clone(&connection.listener));
    // As with CONNECT, the authority of a captured connection is where it goes.
    let captured = connection.captured.as_ref();
    let authority = captured.map(|one| one.destination.to_string()).unwrap_or_default();
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
        authority,
        path: String::new(),
        headers: http::HeaderMap::new(),
        status: None,
        response_headers: http::HeaderMap::new(),
        attributes,
        bounds: HeadBounds::default(),
    }
}

//! Asks the connection hooks whether a connection is served, closed, or sent to a service as it is.

use super::handle::Worker;
use crate::body_budget::owner;
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
use tamis_resources::plan::TrafficDirection;
use tamis_transport::{Address, ConnectionInfo, FederatedPeer};
use tamis_upstream::Upstream;

impl Worker {
    /// The peer of a connection as one of a federated trust domain: only a listener for proxies of the mesh recognises those.
    pub(super) fn federated_peer(
        &self,
        name: &str,
        info: &ConnectionInfo,
    ) -> Option<FederatedPeer> {
        let id = info.identity.as_ref()?.spiffe_id.as_ref()?;
        let state = self.state();
        let (listener, _) = state.listener(name)?;
        let identity = self.shared.identity.as_ref()?;
        (listener.direction == TrafficDirection::Inbound).then(|| identity.federated_peer(id))?
    }

    /// The chain whose hooks admitted a connection that is asked about again: always one where the peer may be withdrawn.
    pub(super) fn judged(
        &self,
        by: Option<Rc<Chain>>,
        connection: &Connection,
    ) -> Option<Rc<Chain>> {
        by.or_else(|| {
            connection.federated.as_ref()?;
            let state = self.state();
            state.listener(&connection.listener).map(|(_, chain)| Rc::clone(chain))
        })
    }
}

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
            let (caller, chain) = (connection.peer_identity.clone(), Rc::clone(chain));
            let forward = tunnel::Forward { facts, caller, chain, service, reason };
            Admission::Tunnel(Box::new(forward))
        }
        Err(_) => Admission::Close,
    }
}

/// The same for a connection that is carried unread. One whose port was not agreed on is closed unasked; else closed slots close it, and without a hook that says otherwise it goes
/// to the service of its port.
pub(super) fn admit_tcp(
    chain: &Rc<Chain>,
    (rules, plaintext): (&TcpRules, PlaintextRule),
    id: u64,
    connection: &Connection,
    (info, random): (&ConnectionInfo, Random),
) -> Admission {
    if !is_agreed(rules, plaintext, info) {
        return Admission::Close;
    }
    let facts = facts(id, connection, info);
    let is_unguarded = connection.federated.is_some() && !chain.guards_connections();
    let unguarded = is_unguarded.then(TcpRefusal::unguarded);
    let refused = connection.withdrawn().map(TcpRefusal::withdrawn).or(unguarded);
    let decision =
        refused.map_or(Ok(()), Err).and_then(|()| judge(chain, &connection.listener, &facts));
    let decision = decision.and_then(|asked| {
        let service = match asked.service {
            Some(_) if rules.datagrams => return Err(TcpRefusal::not_connected()),
            Some(service) => Some(service),
            None => service(chain, rules, connection, random)?,
        };
        Ok(TcpService { service, reason: asked.reason })
    });
    Admission::Tcp(Box::new(decided((chain, rules), facts, (connection, info), decision)))
}

/// Whether a listener takes connections in plain text.
#[derive(Clone, Copy)]
pub(super) enum PlaintextRule {
    Taken,
    Refused,
}

/// Whether the handshake agreed on the port of the listener: otherwise the peer means something else than we do. Plain text
/// agrees on nothing, and is of the one listener of its socket that takes it.
fn is_agreed(rules: &TcpRules, plaintext: PlaintextRule, info: &ConnectionInfo) -> bool {
    match (rules.asked, &info.identity) {
        (Some(port), Some(peer)) => peer.is_tcp(port),
        (Some(_), None) => matches!(plaintext, PlaintextRule::Taken),
        (None, _) => true,
    }
}

/// In whose share a connection counts: the identity that was proved, or, at a listener of a gateway and in plain text, which
/// strangers use, the address that it comes from. `None`: the listener is that of one application.
fn caller(connection: &Connection, rules: &TcpRules) -> Option<Arc<str>> {
    let proved = connection.peer_identity.clone();
    proved.or_else(|| {
        if rules.routed.is_none() && rules.asked.is_none() {
            return None;
        }
        owner(Some(&connection.sender_address)).map(|address| address.to_string().into())
    })
}

/// A connection that is refused without asking a hook.
pub(super) fn refuse_unasked(
    (chain, rules): (&Rc<Chain>, &TcpRules),
    id: u64,
    (connection, info): (&Connection, &ConnectionInfo),
    refusal: TcpRefusal,
) -> TcpConnection {
    let facts = facts(id, connection, info);
    decided((chain, rules), facts, (connection, info), Err(refusal))
}

fn decided(
    (chain, rules): (&Rc<Chain>, &TcpRules),
    facts: Exchange,
    (connection, info): (&Connection, &ConnectionInfo),
    decision: Result<TcpService, TcpRefusal>,
) -> TcpConnection {
    let caller = caller(connection, rules);
    let (chain, rules) = (Rc::clone(chain), rules.clone());
    let arrived = match info.local {
        Address::Tcp(address) => Some(address),
        Address::Unix(_) => None,
    };
    let ends = info.sender.zip(arrived);
    TcpConnection { facts, caller, ends, chain, rules, decision }
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
        coding: None,
    }
}

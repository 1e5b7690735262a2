//! Everything that a worker needs to serve, as one immutable value.

use crate::heads::Owners;
use crate::plaintext_counts::PlaintextPort;
use crate::shadow::Shadow;
use crate::stream_routes::StreamRules;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tamis_engine::{Filter, OnFailure};
use tamis_exchange::{AddressPrefixes, HostPattern, PathRules, Protocols, TrustedProxies};
use tamis_refused::Refused;
use tamis_resources::plan::{Phase, TrafficDirection};
use tamis_transport::{
    Address, AskedHandshake, AskedProtocol, ProxyHeaderVersion, ServerTls, TcpPort,
};
use tamis_upstream::ServiceConfig;

/// A socket to listen on.
#[derive(Clone)]
pub struct ListenerConfig {
    /// Unique within a generation.
    pub name: String,
    /// Where.
    pub address: Address,
    /// TLS, if any.
    pub tls: Option<Arc<ServerTls>>,
    /// Which way its traffic flows.
    pub direction: TrafficDirection,
    /// Index into [`Generation::chains`].
    pub chain: usize,
    /// How it reads requests, and what refusals show.
    pub rules: ListenerRules,
    /// It carries connections unread; `None`: it serves HTTP.
    pub tcp: Option<TcpRules>,
    /// Which of the connections that the kernel leads to its socket it takes; `None`: the kernel leads none there.
    pub captured: Option<CaptureRules>,
    /// It also takes connections in plain text, which are of this port; `None`: TLS alone, if it has any.
    pub plaintext: Option<Arc<PlaintextPort>>,
}

/// Captured connections of a listener, by the address that the application connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureRules {
    /// Those that it takes, each with the host that routes its requests; without one, the connection is not read.
    pub destinations: HashMap<SocketAddr, Option<Arc<str>>>,
    /// It takes all that no other listener of its socket takes.
    pub others: bool,
}

/// The rule for connections to addresses outside of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressRules {
    /// Whether they leave.
    pub rule: EgressRule,
    /// Addresses to which none leaves, whatever the rule is.
    pub refused: HashSet<SocketAddr>,
}

/// Whether connections leave the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressRule {
    /// Only to what documents declare.
    Refuse,
    /// To any address.
    Allow,
}

/// How a listener carries connections unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpRules {
    /// The name of the service among those of the generation.
    pub service: String,
    /// The port that clients ask for in their handshake; `None`: it is the only one of its socket, without TLS.
    pub asked: Option<TcpPort>,
    /// Without traffic for this long a connection is closed.
    pub idle_timeout: Duration,
    /// Connections or sessions at once, over all workers.
    pub max_connections: u32,
    /// The header with which the application is sent the address of the client; `None`: no header.
    pub proxy_header: Option<ProxyHeaderVersion>,
    /// They go to the address that the application connected to, and not to the service.
    pub egress: Option<Arc<EgressRules>>,
    /// Routes say where they go; `None`: to the service.
    pub routed: Option<Arc<StreamRules>>,
    /// It takes datagrams of UDP, and no connections.
    pub datagrams: bool,
}

impl ListenerConfig {
    /// Whether a handshake asks for this listener. One for requests is never asked for as a port, and a port never as
    /// requests.
    pub(crate) fn has(&self, asked: &AskedHandshake) -> bool {
        match (&self.tcp, asked.protocol) {
            (None, AskedProtocol::Http) => self.rules.is_for(asked.server_name.as_deref()),
            (Some(TcpRules { routed: Some(_), .. }), _) => {
                let name = asked.server_name.as_deref();
                self.is_by_server_name() && self.rules.is_for(name) && self.takes(name)
            }
            (Some(tcp), AskedProtocol::Tcp(port)) => tcp.asked == Some(port),
            // A challenge of an order of this proxy was found before listeners are asked.
            (_, AskedProtocol::AcmeChallenge) => false,
            (None, AskedProtocol::Tcp(_) | AskedProtocol::Unclear)
            | (Some(_), AskedProtocol::Http | AskedProtocol::Unclear) => false,
        }
    }
}

impl ListenerConfig {
    /// Whether it serves HTTP/3: without its own TLS, or where connections are not read, there is none.
    pub(crate) fn serves_http3(&self) -> bool {
        let headed = self.rules.header_senders.is_some();
        self.rules.http3.is_some() && self.tls.is_some() && self.tcp.is_none() && !headed
    }

    /// Whether it takes datagrams, and no connections.
    pub(crate) fn takes_datagrams(&self) -> bool {
        self.tcp.as_ref().is_some_and(|rules| rules.datagrams)
    }

    /// Whether the first message of a handshake is read for its server name, and nothing after it.
    pub(crate) fn is_by_server_name(&self) -> bool {
        self.routed().is_some_and(StreamRules::is_by_server_name)
    }

    fn takes(&self, name: Option<&str>) -> bool {
        self.routed().is_some_and(|routes| routes.takes(name))
    }

    fn routed(&self) -> Option<&StreamRules> {
        self.tcp.as_ref()?.routed.as_deref()
    }
}

/// How a listener reads requests, and what refusals show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerRules {
    /// Paths that servers read in more than one way.
    pub paths: PathRules,
    /// Protocols that a request may change to.
    pub upgrades: Protocols,
    /// Whether clients see why they were refused.
    pub reasons: Reasons,
    /// Whether calls of gRPC-Web become calls of gRPC.
    pub grpc_web: bool,
    /// Which clients get interim responses of upstreams.
    pub interim: InterimClients,
    /// Proxies whose statement of the client's address counts; `None`: the peer is the client.
    pub trusted_proxies: Option<TrustedProxies>,
    /// Peers that begin each connection with a PROXY header, and that alone may connect; `None`: no header
    /// is read.
    pub header_senders: Option<AddressPrefixes>,
    /// Its only hosts, over TLS in handshakes and requests; `None`: any. Without TLS it chooses among the listeners of a
    /// port, and routes decide.
    pub hostname: Option<HostPattern>,
    /// Hosts of this listener that another listener of the same port has, whether that listener is open or not.
    pub elsewhere: Vec<HostPattern>,
    /// HTTP/3 on the UDP port of the same number; `None`: it is not served.
    pub http3: Option<Http3Rules>,
}

/// HTTP/3 of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http3Rules {
    /// How long clients may remember HTTP/3, in seconds, as responses over TCP state it; `None`: no response mentions it.
    pub advertised_for: Option<u64>,
}

impl ListenerRules {
    /// Whether another listener of its port may have a host of requests.
    pub(crate) fn has_all_hosts(&self) -> bool {
        self.hostname.is_none() && self.elsewhere.is_empty()
    }

    /// Whether another listener of its port has that host.
    pub(crate) fn is_elsewhere(&self, host: &str) -> bool {
        self.elsewhere.iter().any(|other| other.matches(host))
    }

    /// Whether it has that host, which no other listener of its port then has.
    pub(crate) fn has_host(&self, host: &str) -> bool {
        self.hostname.as_ref().is_none_or(|hostname| hostname.matches(host))
            && !self.is_elsewhere(host)
    }

    /// Whether it is the one of its port for a host; `None`: the client names none.
    pub(crate) fn is_for(&self, name: Option<&str>) -> bool {
        match name {
            Some(name) => self.has_host(name),
            None => self.hostname.is_none(),
        }
    }
}

/// What tells sockets apart: listeners of one address share them, unless the system chooses the port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SocketKey {
    address: Address,
    /// The listener, if the system chooses its port.
    listener: Option<String>,
    /// Whether they are sockets of UDP.
    datagrams: bool,
}

impl SocketKey {
    /// That of the sockets of a listener.
    pub(crate) fn of(listener: &ListenerConfig) -> Self {
        let chosen = matches!(&listener.address, Address::Tcp(address) if address.port() == 0);
        let name = chosen.then(|| listener.name.clone());
        let datagrams = listener.takes_datagrams();
        Self { address: listener.address.clone(), listener: name, datagrams }
    }

    /// The address as configured.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

/// Whether clients see why the proxy refused them: `x-tamis-reason`, and the code in the text of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reasons {
    /// They see it.
    #[default]
    Show,
    /// Only the access record contains it.
    Hide,
}

/// Which clients get interim responses of upstreams. Some clients of HTTP/1.1 take one for the final response (RFC 8297 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InterimClients {
    /// Those of HTTP/2 and HTTP/3.
    Http2,
    /// Those of HTTP/1.1 and later.
    #[default]
    All,
}

/// The content of a slot: a filter that runs, or the reason why it may not.
#[derive(Clone)]
pub enum SlotOccupant {
    /// Compiled, configured and self-tested.
    Running(Filter),
    /// It may not run: exchanges in its scope are refused.
    Refused(Refused),
}

/// A filter in its slot.
#[derive(Clone)]
pub struct Attachment {
    /// `namespace/name`.
    pub name: String,
    /// The filter, or why it was refused.
    pub occupant: SlotOccupant,
    /// Its phase.
    pub phase: Phase,
    /// Rule-name prefixes it applies to; `None` means all.
    pub scope: Option<Vec<String>>,
    /// It is a router that extends the other one of its chain.
    pub extends: bool,
    /// What a fault does to the exchange.
    pub failure: OnFailure,
    /// A candidate that receives the same calls, and whose answers are ignored.
    pub shadow: Option<Shadow>,
}

/// The filters of a listener, by hook; indices into [`Generation::filters`].
#[derive(Debug, Clone, Default)]
pub struct ChainLayout {
    /// Request hooks, in order.
    pub request: Vec<usize>,
    /// Request body hooks, in order.
    pub request_body: Vec<usize>,
    /// Hooks on the trailers of requests, in order.
    pub request_trailers: Vec<usize>,
    /// Hooks on the trailers of responses, in their order.
    pub response_trailers: Vec<usize>,
    /// Response hooks, in reverse order of the requests'.
    pub response: Vec<usize>,
    /// Response body hooks.
    pub response_body: Vec<usize>,
    /// Slots in which only the candidate has a request hook.
    pub candidate_request: Vec<usize>,
    /// Slots in which only the candidate has a response hook.
    pub candidate_response: Vec<usize>,
    /// Chooses the route.
    pub router: Option<usize>,
    /// Chooses the route before it, or leaves the choice to it.
    pub extension: Option<usize>,
    /// Called when an attempt failed.
    pub retry: Option<usize>,
    /// Opens and closes circuits.
    pub breaker: Option<usize>,
    /// Plans second attempts.
    pub hedge: Option<usize>,
    /// Weighs endpoints.
    pub balancer: Option<usize>,
    /// See the end of each exchange.
    pub finished: Vec<usize>,
    /// Keep values of exchanges.
    pub keepers: Vec<usize>,
    /// See finished exchanges in batches.
    pub telemetry: Vec<usize>,
    /// Decide about connections.
    pub connection: Vec<usize>,
    /// Index into [`Generation::services`] of each of the router's backends.
    pub backends: Vec<Option<usize>>,
    /// The same for the backends of each of [`ChainLayout::connection`].
    pub tunnels: Vec<Vec<Option<usize>>>,
    /// Of a `tcp` port: those that guard it and cannot decide about connections, so that it is closed.
    pub closed: Vec<usize>,
    /// Its connections are carried unread.
    pub unread: bool,
    /// Of a `tcp` port: index into [`Generation::services`] of its service.
    pub tcp: Option<usize>,
    /// The same for each backend of [`TcpRules::routed`].
    pub routed: Vec<Option<usize>>,
    /// The owners of the fields that its filters write.
    pub owners: Arc<Owners>,
}

/// Everything that a worker needs to serve. Immutable; replaced as a whole.
pub struct Generation {
    /// Rises by one with every replacement.
    pub number: u64,
    /// Hash of its plan, its slots, its notes and its certificates.
    pub revision: String,
    /// Sockets.
    pub listeners: Vec<ListenerConfig>,
    /// Filters, compiled once and shared by the workers.
    pub filters: Vec<Arc<Attachment>>,
    /// One for each listener.
    pub chains: Vec<ChainLayout>,
    /// Services that the routers may choose.
    pub services: Arc<Vec<ServiceConfig>>,
    /// The folded configuration, for `/config`.
    pub config: serde_json::Value,
}

/// A service and its balancer, by their numbers in a generation.
pub(crate) struct BalancerPlace {
    pub(crate) filter: usize,
    pub(crate) service: usize,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "generation {} ({})", self.number, self.revision)
    }
}

impl Generation {
    /// Its shadows, each with the name of its slot.
    pub(crate) fn shadows(&self) -> impl Iterator<Item = (&str, &Shadow)> {
        self.filters.iter().filter_map(|one| Some((one.name.as_str(), one.shadow.as_ref()?)))
    }

    /// The services that a balancer weighs: each by that of the first chain that may send to it.
    pub(crate) fn weighed_services(&self) -> Vec<BalancerPlace> {
        weighed_services(&self.chains)
    }

    /// An empty generation, before the first real one.
    pub(crate) fn empty() -> Self {
        Self {
            number: 0,
            revision: String::new(),
            listeners: Vec::new(),
            filters: Vec::new(),
            chains: Vec::new(),
            services: Arc::default(),
            config: serde_json::Value::Null,
        }
    }
}

fn weighed_services(chains: &[ChainLayout]) -> Vec<BalancerPlace> {
    let mut places: Vec<BalancerPlace> = Vec::new();
    for chain in chains {
        let Some(filter) = chain.balancer else { continue };
        for &service in chain.backends.iter().chain(chain.tunnels.iter().flatten()).flatten() {
            if !places.iter().any(|one| one.service == service) {
                places.push(BalancerPlace { filter, service });
            }
        }
    }
    places
}

impl ChainLayout {
    /// Sorts `filters` (indices, already in attachment order) by hook.
    ///
    /// If a chain has more than one router, retry policy, breaker, hedge or balancer, the last one counts;
    /// the fold refuses such documents before.
    pub fn build(
        filters: &[Arc<Attachment>],
        members: &[usize],
        services: &[ServiceConfig],
    ) -> Self {
        use tamis_engine::Hook;
        let mut chain = Self::default();
        for &index in members {
            let Some(attached) = filters.get(index) else { continue };
            let filter = match &attached.occupant {
                SlotOccupant::Running(filter) => filter,
                SlotOccupant::Refused(_) => {
                    // It is unknown which hooks it would have, so it stops every request.
                    chain.request.push(index);
                    continue;
                }
            };
            if let Some(shadow) = &attached.shadow {
                let is_new = |hook| shadow.filter().has(hook) && !filter.has(hook);
                if is_new(Hook::Request) {
                    chain.candidate_request.push(index);
                }
                if is_new(Hook::Response) {
                    chain.candidate_response.insert(0, index);
                }
            }
            if filter.keeps() {
                chain.keepers.push(index);
            }
            for hook in filter.hooks() {
                match hook {
                    Hook::Request => chain.request.push(index),
                    Hook::RequestBody => chain.request_body.push(index),
                    Hook::Response => chain.response.insert(0, index),
                    Hook::ResponseBody => chain.response_body.insert(0, index),
                    Hook::Router if attached.extends => chain.extension = Some(index),
                    Hook::Router => chain.router = Some(index),
                    Hook::Retry => chain.retry = Some(index),
                    Hook::CircuitBreaker => chain.breaker = Some(index),
                    Hook::Trailers => {
                        chain.request_trailers.push(index);
                        chain.response_trailers.insert(0, index);
                    }
                    Hook::Finished => chain.finished.push(index),
                    Hook::Telemetry => chain.telemetry.push(index),
                    // In `deciding-connections` a guard decides about requests here.
                    Hook::Connection if attached.guards() && filter.has(Hook::Request) => {}
                    Hook::Connection => {
                        chain.connection.push(index);
                        chain.tunnels.push(places(filter.connection_backends(), services));
                    }
                    Hook::Hedge => chain.hedge = Some(index),
                    Hook::Balancer => chain.balancer = Some(index),
                    Hook::Tick => {}
                }
            }
        }
        // The order of their numbers: see `Chain::rule_name`.
        for index in [chain.router, chain.extension].into_iter().flatten() {
            if let Some(SlotOccupant::Running(router)) = filters.get(index).map(|one| &one.occupant)
            {
                chain.backends.extend(places(router.backends(), services));
            }
        }
        let running = || {
            members.iter().filter_map(|index| match &filters.get(*index)?.occupant {
                SlotOccupant::Running(filter) => Some(filter),
                SlotOccupant::Refused(_) => None,
            })
        };
        let owners = Owners::of(running().map(Filter::writes));
        chain.owners = Arc::new(owners.and_read(running().map(Filter::reads)));
        chain
    }
}

impl ChainLayout {
    /// The chain of a `tcp` port of that service, or of connections that routes send to `routed`: those that decide about connections or about endpoints, or see the end.
    /// A guard that can do neither, or that may not run, closes the port.
    pub fn build_tcp(
        filters: &[Arc<Attachment>],
        members: &[usize],
        services: &[ServiceConfig],
        (service, routed): (&str, &[String]),
    ) -> Self {
        use tamis_engine::Hook;
        let mut chain = Self {
            unread: true,
            tcp: services.iter().position(|one| one.name == service),
            routed: places(routed, services),
            ..Self::default()
        };
        for &index in members {
            let Some(attached) = filters.get(index) else { continue };
            let filter = match &attached.occupant {
                SlotOccupant::Running(filter) => filter,
                SlotOccupant::Refused(_) => {
                    chain.closed.push(index);
                    continue;
                }
            };
            if filter.has(Hook::Connection) {
                chain.connection.push(index);
                chain.tunnels.push(places(filter.connection_backends(), services));
            } else if attached.guards() {
                chain.closed.push(index);
            }
            if filter.has(Hook::CircuitBreaker) {
                chain.breaker = Some(index);
            }
            if filter.has(Hook::Telemetry) {
                chain.telemetry.push(index);
            }
        }
        chain
    }
}

impl Attachment {
    /// Whether it decides who may pass.
    pub(crate) fn guards(&self) -> bool {
        matches!(self.phase, Phase::Authn | Phase::Authz)
    }
}

/// Indices of the services with those names.
fn places(names: &[String], services: &[ServiceConfig]) -> Vec<Option<usize>> {
    let place = |name: &String| services.iter().position(|service| service.name == *name);
    names.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_weighed_by_the_first_chain_that_reaches_it() {
        let chain = |balancer, backends: &[Option<usize>]| ChainLayout {
            balancer,
            backends: backends.to_vec(),
            tunnels: vec![vec![Some(7), None]],
            ..ChainLayout::default()
        };
        let chains = [
            chain(None, &[Some(0)]),
            chain(Some(4), &[Some(1), None, Some(1)]),
            chain(Some(5), &[Some(1), Some(2)]),
        ];
        let places = weighed_services(&chains);
        let places: Vec<_> = places.iter().map(|one| (one.filter, one.service)).collect();
        assert_eq!(places, [(4, 1), (4, 7), (5, 2)]);
    }
}

//! Captured connections: which service an address leads to, and the rule for those that lead to none.
//!
//! The listeners of captured connections share one socket, and the address that the application connected to chooses among
//! them: one for all services with requests, one for each `tcp` port, and one for the rest.
//!
//! Anybody may write any address into a document of their own. So the addresses by which DNS names services, which no
//! document may have, come first, then what the namespace of the caller declares, and what other namespaces declare counts
//! for what is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::external::External;
use super::ports::{application, mesh_name, request_ports, tcp_ports};
use super::socket::{Socket, socket};
use super::{Fold, PlannedProxy, usable_addresses};
use crate::document::Document;
use crate::kinds::{Egress, ServiceEndpoint, ServicePort, ServiceSpec};
use crate::machine::{is_own_machine, is_private};
use crate::plan::{
    AddressPlan, CapturedPlan, DestinationPlan, ListenerRulesPlan, OthersPlan, TcpPlan,
    TrafficDirection,
};

/// Bounds on connections that leave the mesh, of each sidecar.
const EGRESS: (u64, u32) = (3_600_000, 1_024);

/// What an address leads to.
#[derive(Clone, PartialEq)]
enum AddressMeaning {
    /// A service with requests, by the host that routes them.
    Requests(String),
    /// A port whose connections nobody reads.
    Unread {
        /// What its listener is named after.
        name: String,
        plan: TcpPlan,
    },
}

/// What the addresses that an application may connect to mean.
#[derive(Default)]
struct Addresses {
    services: BTreeMap<SocketAddr, AddressMeaning>,
    /// Those of sidecars, which only proxies connect to, and those that mean more than one service.
    refused: BTreeSet<SocketAddr>,
}

impl<'a> Fold<'a> {
    /// The listeners of a sidecar for captured connections.
    pub(super) fn captured_listeners(
        &self,
        place: &PlannedProxy<'a>,
        rules: &ListenerRulesPlan,
    ) -> Vec<Socket<'a>> {
        let Some(capture) = place.capture() else { return Vec::new() };
        let addresses = self.addresses(place);
        let mut sockets = Vec::new();
        for own in usable_addresses(&capture.outbound) {
            let listeners = Listeners { own, addresses: &addresses };
            sockets.push(listeners.of_requests(rules.clone()));
            sockets.extend(listeners.of_tcp());
            sockets.push(listeners.of_others(capture.egress.unwrap_or(Egress::RegistryOnly)));
        }
        sockets
    }

    /// Where the addresses lead that an application may connect to.
    fn addresses(&self, place: &PlannedProxy<'a>) -> Addresses {
        let PlannedProxy::Sidecar(caller, ..) = place else { return Addresses::default() };
        let [mut named, mut near, mut far] = <[Addresses; 3]>::default();
        for (document, spec) in self.all::<ServiceSpec>() {
            let key = document.key();
            let address = self.virtual_addresses.get(&key);
            for port in request_ports(spec).into_iter().chain(tcp_ports(spec)) {
                let address = address.map(|it| SocketAddr::new((*it).into(), port.port));
                named.add(address, &inside(&key, port));
            }
            let is_own = document.metadata.namespace == caller.metadata.namespace;
            let declared = if is_own { &mut near } else { &mut far };
            let counts = |one: &SocketAddr| self.may_lead(document, one.ip(), is_own);
            for endpoint in &spec.endpoints {
                let sidecar = endpoint.sidecar.as_deref().and_then(|it| it.parse().ok());
                declared.refused.extend(sidecar.filter(counts));
                for (address, port) in served(spec, endpoint) {
                    declared.add(Some(address).filter(counts), &inside(&key, port));
                }
            }
        }
        for external in self.externals(place) {
            let address = self.virtual_addresses.get(&external.host);
            let address = address.map(|it| SocketAddr::new((*it).into(), external.port.port));
            named.add(address, &outside(&external));
            near.add(external.sockets(), &outside(&external));
        }
        named.settled().then(near.settled()).then(far.settled())
    }

    /// Whether an address in a Service may lead applications to it. Where documents are of many owners, a public address may
    /// be anybody's, and what other namespaces connect to there is none of this Service's business; nor may a Service lead
    /// anybody's connections to their own machine, such as to the metadata of its cloud, elsewhere.
    fn may_lead(&self, document: &Document, address: IpAddr, is_own: bool) -> bool {
        self.decides(document) || (!is_own_machine(address) && (is_own || is_private(address)))
    }
}

impl Addresses {
    /// Addresses that lead somewhere. One that leads elsewhere as well leads nowhere.
    fn add(&mut self, addresses: impl IntoIterator<Item = SocketAddr>, to: &AddressMeaning) {
        for address in addresses {
            let known = self.services.insert(address, to.clone());
            self.refused.extend(known.filter(|other| other != to).map(|_| address));
        }
    }

    /// Removes addresses that are refused from those that lead to a service: a refusal is stronger.
    fn settled(mut self) -> Self {
        let Self { services, refused } = &mut self;
        services.retain(|address, _| !refused.contains(address));
        self
    }

    /// These addresses, and those of `others` that these do not have.
    fn then(mut self, others: Self) -> Self {
        let Self { services, refused } = others;
        let new =
            |one: &SocketAddr| !self.services.contains_key(one) && !self.refused.contains(one);
        let services: Vec<_> = services.into_iter().filter(|(one, _)| new(one)).collect();
        let refused: Vec<_> = refused.into_iter().filter(new).collect();
        self.services.extend(services);
        self.refused.extend(refused);
        self
    }
}

/// What a port of a service is.
fn inside(key: &str, port: &ServicePort) -> AddressMeaning {
    if !port.is_tcp() {
        return AddressMeaning::Requests(mesh_name(key));
    }
    let (namespace, name) = key.split_once('/').unwrap_or_default();
    let number = port.port;
    let plan = port.tcp_plan(format!("{key}:{number}"), None);
    AddressMeaning::Unread { name: format!("{name}.{namespace}:{number}"), plan }
}

/// What a port outside of the mesh is.
fn outside(external: &External<'_>) -> AddressMeaning {
    if !external.port.is_tcp() {
        return AddressMeaning::Requests(external.host.clone());
    }
    let name = format!("{}:{}", external.host, external.port.port);
    AddressMeaning::Unread { name, plan: leaving(external.name()) }
}

/// The plan of connections that leave the mesh.
fn leaving(service: String) -> TcpPlan {
    let (idle_timeout_ms, max_connections) = EGRESS;
    TcpPlan {
        service,
        asked: None,
        idle_timeout_ms,
        max_connections,
        proxy_header: None,
        routed: None,
        datagrams: None,
    }
}

/// The listeners of one socket.
struct Listeners<'b> {
    own: SocketAddr,
    addresses: &'b Addresses,
}

impl Listeners<'_> {
    /// The addresses of its family: the kernel leads no others here.
    fn services(&self) -> impl Iterator<Item = (&SocketAddr, &AddressMeaning)> {
        self.addresses.services.iter().filter(|(it, _)| it.is_ipv4() == self.own.is_ipv4())
    }

    fn of_requests<'a>(&self, rules: ListenerRulesPlan) -> Socket<'a> {
        let destinations = self.services().filter_map(|(address, reached)| match reached {
            AddressMeaning::Requests(host) => {
                Some(DestinationPlan { address: address.to_string(), host: Some(host.clone()) })
            }
            AddressMeaning::Unread { .. } => None,
        });
        let captured = CapturedPlan { destinations: destinations.collect(), others: None };
        self.listener("", rules, None, captured)
    }

    fn of_tcp<'a>(&self) -> Vec<Socket<'a>> {
        let mut by_name: BTreeMap<&str, (&TcpPlan, Vec<DestinationPlan>)> = BTreeMap::new();
        for (address, reached) in self.services() {
            let AddressMeaning::Unread { name, plan } = reached else { continue };
            let (_, all) = by_name.entry(name).or_insert_with(|| (plan, Vec::new()));
            all.push(DestinationPlan { address: address.to_string(), host: None });
        }
        let listener = |(name, (plan, destinations)): (&str, (&TcpPlan, Vec<_>))| {
            let captured = CapturedPlan { destinations, others: None };
            let rules = ListenerRulesPlan::default();
            self.listener(&format!(":{name}"), rules, Some(plan.clone()), captured)
        };
        by_name.into_iter().map(listener).collect()
    }

    fn of_others<'a>(&self, egress: Egress) -> Socket<'a> {
        let refused = self.addresses.refused.iter();
        let refused = refused.filter(|one| one.is_ipv4() == self.own.is_ipv4());
        let others = OthersPlan { egress, refused: refused.map(ToString::to_string).collect() };
        let captured = CapturedPlan { destinations: Vec::new(), others: Some(others) };
        let tcp = leaving("egress".to_owned());
        self.listener(":egress", ListenerRulesPlan::default(), Some(tcp), captured)
    }

    fn listener<'a>(
        &self,
        suffix: &str,
        rules: ListenerRulesPlan,
        tcp: Option<TcpPlan>,
        captured: CapturedPlan,
    ) -> Socket<'a> {
        let family = if self.own.is_ipv4() { "captured" } else { "captured-ipv6" };
        let named = format!("{family}{suffix}");
        let named = (named.as_str(), self.own.to_string());
        let mut socket = socket(named, None, TrafficDirection::Outbound, rules, None);
        socket.plan.tcp = tcp;
        socket.plan.captured = Some(captured);
        socket
    }
}

/// Where an endpoint serves the ports of its service, as other machines reach it. Without a sidecar only requests are
/// carried.
fn served<'a>(
    spec: &'a ServiceSpec,
    endpoint: &'a ServiceEndpoint,
) -> Vec<(SocketAddr, &'a ServicePort)> {
    let requests = request_ports(spec).into_iter().take(1);
    let tcp = tcp_ports(spec).filter(|_| endpoint.sidecar.is_some());
    let address = |port: &ServicePort| match application(spec, endpoint, port.port)? {
        AddressPlan::Tcp(text) => text.parse().ok(),
        AddressPlan::Unix(_) | AddressPlan::Dns(_) => None,
    };
    let far = |one: &SocketAddr| !one.ip().is_loopback() && !one.ip().is_unspecified();
    requests.chain(tcp).filter_map(|port| Some((address(port).filter(far)?, port))).collect()
}

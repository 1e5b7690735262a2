//! Captured connections: which service an address leads to, and what becomes of those that lead to none.
//!
//! The listeners of captured connections share one socket, and the address that the application connected to chooses among
//! them: one for all services with requests, one for each `tcp` port, and one for the rest.
//!
//! Anybody may write any address into a document of their own. So the addresses by which DNS names services, which no
//! document may have, come first, then what the namespace of the caller declares, and what other namespaces declare counts
//! for what is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fnv::FnvHasher;

use super::external::External;
use super::listeners::{Socket, socket};
use super::services::ports;
use super::tcp::{application, tcp_ports};
use super::{ACCEPTED, Claim, Fold, PlannedProxy};
use crate::document::Document;
use crate::kinds::{Egress, EndpointCapture, ServiceEndpoint, ServicePort, ServiceSpec};
use crate::machine::{VIRTUAL, VIRTUAL_BITS, is_own_machine, is_private};
use crate::plan::{
    AddressPlan, CapturedPlan, DestinationPlan, DnsPlan, ListenerRulesPlan, OthersPlan, TcpPlan,
    TrafficDirection,
};

const CODE: &str = "service.capture";
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
        let Some(capture) = capture(place) else { return Vec::new() };
        let addresses = self.addresses(place);
        let mut sockets = Vec::new();
        for own in usable(&capture.outbound) {
            let listeners = Listeners { own, addresses: &addresses };
            sockets.push(listeners.of_requests(rules.clone()));
            sockets.extend(listeners.of_tcp());
            sockets.push(listeners.of_others(capture.egress.unwrap_or(Egress::RegistryOnly)));
        }
        sockets
    }

    /// The `tcp` ports that a sidecar must reach because its application may connect to any.
    pub(super) fn captured_ports(
        &self,
        place: &PlannedProxy<'a>,
    ) -> Vec<(String, &'a ServicePort)> {
        if capture(place).is_none() {
            return Vec::new();
        }
        let services = self.all::<ServiceSpec>().into_iter();
        let ports = services
            .flat_map(|(document, spec)| tcp_ports(spec).map(move |port| (document.key(), port)));
        ports.collect()
    }

    /// The DNS that a sidecar answers.
    pub(super) fn dns(&self, place: &PlannedProxy<'a>) -> Option<DnsPlan> {
        let addresses = usable(&capture(place)?.dns);
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let outside: BTreeSet<String> =
            self.externals(place).into_iter().map(|it| it.host).collect();
        let name = |key: &String| match key.contains('/') {
            true => Some(mesh_name(key)),
            false => outside.get(key).cloned(),
        };
        let names = self.virtual_addresses.iter();
        let names = names.filter_map(|(key, it)| Some((name(key)?, it.to_string()))).collect();
        (!addresses.is_empty()).then_some(DnsPlan { addresses, names })
    }

    /// The address of each service by which DNS names it: computed from its name, so that every proxy answers the same and
    /// goes on to do so. Two names that lead to one address are rare, and may be chosen: then the service longest in force
    /// keeps it, and the other has none.
    pub(super) fn assign_addresses(&mut self) -> BTreeMap<String, Ipv4Addr> {
        let services = self.all::<ServiceSpec>().into_iter().map(|(document, _)| {
            (document.key(), Claim { document, pointer: "/metadata/name".to_owned() })
        });
        // A host has no slash, and every service has one.
        let named: Vec<_> = services.chain(self.external_hosts()).collect();
        let claims: Vec<(Ipv4Addr, Claim<'a>)> =
            named.iter().map(|(name, claim)| (virtual_address(name), claim.clone())).collect();
        let lost = self.contradictions(&claims, "service.virtual-address", |address| {
            format!("several names would have the address {address} in DNS")
        });
        let kept = named.into_iter().zip(lost).filter(|(_, lost)| !lost);
        kept.map(|((name, _), _)| (name.clone(), virtual_address(&name))).collect()
    }

    /// Where the addresses lead that an application may connect to.
    fn addresses(&self, place: &PlannedProxy<'a>) -> Addresses {
        let PlannedProxy::Sidecar(caller, ..) = place else { return Addresses::default() };
        let [mut named, mut near, mut far] = <[Addresses; 3]>::default();
        for (document, spec) in self.all::<ServiceSpec>() {
            let key = document.key();
            let address = self.virtual_addresses.get(&key);
            for port in ports(spec).into_iter().chain(tcp_ports(spec)) {
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

    /// Checks the addresses of captured connections.
    pub(super) fn check_capture(&mut self, document: &'a Document, spec: &'a ServiceSpec) {
        for (at, endpoint) in spec.endpoints.iter().enumerate() {
            let Some(capture) = &endpoint.capture else { continue };
            let base = format!("/spec/endpoints/{at}/capture");
            let mut wrong = Vec::new();
            if endpoint.sidecar.is_none() {
                wrong.push((
                    base.clone(),
                    "an endpoint without `sidecar` has nothing that could take connections"
                        .to_owned(),
                    "write `sidecar`, or remove `capture`",
                ));
            }
            for (field, list) in [("outbound", &capture.outbound), ("dns", &capture.dns)] {
                for (nth, text) in list.iter().enumerate() {
                    let Some(message) = fault(endpoint, list, nth) else { continue };
                    let help = "write a loopback address of its own, with a port: \"127.0.0.1:15001\", and for IPv6 \"[::1]:15001\"";
                    wrong.push((
                        format!("{base}/{field}/{nth}"),
                        format!("`{text}` {message}"),
                        help,
                    ));
                }
            }
            for (pointer, message, help) in wrong {
                let problem = document.problem(CODE, &pointer, message).help(help);
                self.fail(document, ACCEPTED, "Invalid", problem);
            }
        }
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

    /// Without those that lead nowhere among those that lead somewhere.
    fn settled(mut self) -> Self {
        let Self { services, refused } = &mut self;
        services.retain(|address, _| !refused.contains(address));
        self
    }

    /// These, and of the `others` whatever these say nothing of.
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

fn capture<'a>(place: &PlannedProxy<'a>) -> Option<&'a EndpointCapture> {
    let PlannedProxy::Sidecar(_, spec, index) = place else { return None };
    spec.endpoints.get(*index)?.capture.as_ref()
}

/// The addresses of a document at which something may listen.
fn usable(addresses: &[String]) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in addresses.iter().filter_map(|text| text.parse::<SocketAddr>().ok()) {
        if address.ip().is_loopback()
            && address.port() != 0
            && found.iter().all(|one| one.is_ipv4() != address.is_ipv4())
        {
            found.push(address);
        }
    }
    found
}

/// Where an endpoint serves the ports of its service, as other machines reach it. Without a sidecar only requests are
/// carried.
fn served<'a>(
    spec: &'a ServiceSpec,
    endpoint: &'a ServiceEndpoint,
) -> Vec<(SocketAddr, &'a ServicePort)> {
    let requests = ports(spec).into_iter().take(1);
    let tcp = tcp_ports(spec).filter(|_| endpoint.sidecar.is_some());
    let address = |port: &ServicePort| match application(spec, endpoint, port.port)? {
        AddressPlan::Tcp(text) => text.parse().ok(),
        AddressPlan::Unix(_) | AddressPlan::Dns(_) => None,
    };
    let far = |one: &SocketAddr| !one.ip().is_loopback() && !one.ip().is_unspecified();
    requests.chain(tcp).filter_map(|port| Some((address(port).filter(far)?, port))).collect()
}

/// What is wrong with an address of captured connections.
fn fault(endpoint: &ServiceEndpoint, list: &[String], at: usize) -> Option<&'static str> {
    let text = list.get(at)?;
    let Ok(address) = text.parse::<SocketAddr>() else {
        return Some("is not an IP address with a port");
    };
    let same = |other: &&String| {
        other.parse().is_ok_and(|other: SocketAddr| other.is_ipv4() == address.is_ipv4())
    };
    let others = [&endpoint.sidecar, &endpoint.outbound, &endpoint.admin].into_iter().flatten();
    let mut others = others.chain(endpoint.outbound_tcp.iter().map(|one| &one.address));
    if !address.ip().is_loopback() || address.port() == 0 {
        Some(
            "is no loopback address with a port: from elsewhere anybody could connect with the identity of the service",
        )
    } else if list.iter().take(at).any(|other| same(&other)) {
        Some("is the second address of its family")
    } else if others.any(|other| other == text) || in_both(endpoint, text) {
        Some("is the address of another listener of this endpoint")
    } else {
        None
    }
}

/// Whether an address of DNS is one of captured connections too: they would be told apart, and people would not.
fn in_both(endpoint: &ServiceEndpoint, text: &String) -> bool {
    let capture = endpoint.capture.as_ref();
    capture.is_some_and(|it| it.outbound.contains(text) && it.dns.contains(text))
}

fn virtual_address(key: &str) -> Ipv4Addr {
    let mut hasher = FnvHasher::default();
    hasher.write(key.as_bytes());
    let sum = hasher.finish();
    // The upper half of the sum spreads better over short names; both together best.
    let mixed = (sum ^ (sum >> 32)) & ((1 << VIRTUAL_BITS) - 1);
    Ipv4Addr::from(VIRTUAL | u32::try_from(mixed).unwrap_or_default())
}

/// The name under which every caller may call a service.
pub(super) fn mesh_name(key: &str) -> String {
    let (namespace, name) = key.split_once('/').unwrap_or_default();
    format!("{name}.{namespace}.mesh")
}

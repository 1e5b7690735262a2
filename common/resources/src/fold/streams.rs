//! Connections and datagrams that gateways carry unread: `TLSRoute`, `TCPRoute` and `UDPRoute`, by the listeners that they are
//! attached to.
//!
//! Of several routes for the same connections the one longest in force stays. A route that cannot be used keeps its
//! server names, so that a wildcard of another route does not get their connections.

use std::collections::{BTreeMap, BTreeSet};

use super::allowed_routes::intersect;
use super::ports::{tcp_ports, udp_ports, unread_name};
use super::{ACCEPTED, Claim, Fold, PlannedProxy, RESOLVED, Security};
use crate::document::Document;
use crate::kinds::{
    GatewaySpec, Listener, ParentKind, ParentRef, PortProtocol, ServicePort, ServiceSpec,
    StreamBackendRef, StreamRule, TcpRouteSpec, TlsRouteSpec, UdpRouteSpec,
};
use crate::plan::{StreamBackendPlan, StreamRoutePlan};

/// A listener: `namespace/name` of its gateway, and its name.
type ListenerKey = (String, String);

/// What each listener for connections carries.
#[derive(Default)]
pub(super) struct StreamRoutes<'a> {
    routes: BTreeMap<ListenerKey, Vec<StreamRoutePlan>>,
    /// The ports that the routes of a gateway lead to, with `namespace/name` of their Service.
    ports: BTreeMap<String, Vec<(String, &'a ServicePort)>>,
}

impl<'a> StreamRoutes<'a> {
    /// The routes of a listener of a gateway.
    pub(super) fn of(&self, gateway: &Document, listener: &Listener) -> Vec<StreamRoutePlan> {
        self.routes.get(&(gateway.key(), listener.name.clone())).cloned().unwrap_or_default()
    }

    /// The ports that a proxy carries connections to.
    pub(super) fn ports(&self, place: &PlannedProxy<'_>) -> Vec<(String, &'a ServicePort)> {
        match place {
            PlannedProxy::Gateway(document, _) => {
                self.ports.get(&document.key()).cloned().unwrap_or_default()
            }
            PlannedProxy::Sidecar(..) => Vec::new(),
        }
    }
}

/// What a route claims: connections of a listener, all of them or those for a server name.
type ConnectionClaim = (ListenerKey, Option<String>);

/// A route as written.
struct UnreadRoute<'a> {
    document: &'a Document,
    parents: &'a [ParentRef],
    /// `None`: a `TCPRoute` or a `UDPRoute`, whose connections and datagrams name nobody.
    hosts: Option<&'a [String]>,
    /// That of the ports that it leads to.
    protocol: PortProtocol,
    rules: &'a [StreamRule],
}

impl<'a> Fold<'a> {
    /// The routes of connections, with their faults reported.
    pub(super) fn stream_routes(&mut self) -> StreamRoutes<'a> {
        let tls = self.all::<TlsRouteSpec>().into_iter().map(|(document, spec)| UnreadRoute {
            document,
            parents: &spec.parent_refs,
            hosts: Some(&spec.hostnames),
            protocol: PortProtocol::Tcp,
            rules: &spec.rules,
        });
        let tcp = self.all::<TcpRouteSpec>().into_iter().map(|(document, spec)| UnreadRoute {
            document,
            parents: &spec.parent_refs,
            hosts: None,
            protocol: PortProtocol::Tcp,
            rules: &spec.rules,
        });
        let udp = self.all::<UdpRouteSpec>().into_iter().map(|(document, spec)| UnreadRoute {
            document,
            parents: &spec.parent_refs,
            hosts: None,
            protocol: PortProtocol::Udp,
            rules: &spec.rules,
        });
        let (mut claims, mut of, mut closed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut found, mut all) = (StreamRoutes::default(), Vec::new());
        for (at, written) in tls.chain(tcp).chain(udp).enumerate() {
            let backends = self.stream_backends(&written);
            let places = self.places(&written);
            for ((listener, _), _) in &places {
                let ports = found.ports.entry(listener.0.clone()).or_default();
                ports.extend(backends.iter().filter_map(|(_, port)| port.clone()));
            }
            of.extend(places.iter().map(|_| at));
            claims.extend(places);
            closed.extend(self.kept_closed(&written).into_iter().map(|claim| (at, claim)));
            all.push((written.document.key(), backends));
        }
        let lost = self.contradictions(&claims, "route.conflict", |((gateway, listener), host)| {
            let of = format!("listener `{listener}` of Gateway {gateway} has more than one");
            match host {
                Some(host) => format!("{of} TLSRoute for `{host}`"),
                None => format!("{of} route"),
            }
        });
        let mut kept = Vec::new();
        let mut taken: BTreeSet<ConnectionClaim> = BTreeSet::new();
        for (((claimed, _), at), lost) in claims.into_iter().zip(of).zip(lost) {
            taken.insert(claimed.clone());
            if !lost {
                kept.push((at, claimed, true));
            } else {
                // Where none of them takes effect, a wildcard must not get the connections.
                closed.push((at, claimed));
            }
        }
        for (at, claimed) in closed {
            if !kept.iter().any(|(_, known, _)| *known == claimed) {
                kept.push((at, claimed, false));
            }
        }
        for (at, (listener, host), open) in kept {
            let Some((name, backends)) = all.get(at) else { continue };
            let plans: Vec<StreamBackendPlan> = if open {
                backends.iter().map(|(plan, _)| plan.clone()).collect()
            } else {
                Vec::new()
            };
            let routes = found.routes.entry(listener).or_default();
            match routes.iter_mut().find(|one| one.name == *name && one.backends == plans) {
                Some(route) => route.hosts.extend(host),
                None => routes.push(StreamRoutePlan {
                    name: name.clone(),
                    hosts: host.into_iter().collect(),
                    backends: plans,
                }),
            }
        }
        found
    }

    /// The connections that a route claims.
    fn places(&mut self, written: &UnreadRoute<'a>) -> Vec<(ConnectionClaim, Claim<'a>)> {
        let UnreadRoute { document, parents, hosts, .. } = *written;
        let mut places: Vec<(ConnectionClaim, Claim<'a>)> = Vec::new();
        for (at, reference) in parents.iter().enumerate() {
            if reference.kind == ParentKind::Service {
                let message = format!("a {} can only be attached to gateways", document.kind());
                let pointer = format!("/spec/parentRefs/{at}/kind");
                let problem = document.problem("route.parent", &pointer, message);
                self.fail(document, ACCEPTED, "UnsupportedValue", problem);
                continue;
            }
            let Some(parent) = self.parent(document, at, reference) else { continue };
            let Some((gateway, spec)) = self.find::<GatewaySpec>(&parent.key) else { continue };
            let namespace = &gateway.metadata.namespace;
            let here = spec
                .listeners
                .iter()
                .filter(|one| parent.is_of(one) && one.takes(namespace, document));
            let mut matches = false;
            for listener in here {
                let key = || (parent.key.clone(), listener.name.clone());
                let claimed = claimed(listener, hosts);
                matches |= !claimed.is_empty();
                for (host, pointer) in claimed {
                    let pointer = pointer.unwrap_or_else(|| format!("/spec/parentRefs/{at}/name"));
                    let place = (key(), host);
                    if !places.iter().any(|(known, _)| *known == place) {
                        places.push((place, Claim { document, pointer }));
                    }
                }
            }
            if !matches {
                let message = format!(
                    "no listener of Gateway {} that this route may be attached to has any of these hostnames",
                    parent.key
                );
                let problem = document
                    .problem("route.parent", "/spec/hostnames", message)
                    .help("write a hostname that the `hostname` of the listener covers");
                self.fail(document, ACCEPTED, "NoMatchingListenerHostname", problem);
            }
        }
        places
    }

    /// The server names of a route one of whose gateways is not there, at every listener that it may have been meant for:
    /// otherwise a wildcard of somebody else would get their connections. Only where all documents are of one owner.
    fn kept_closed(&self, written: &UnreadRoute<'a>) -> Vec<ConnectionClaim> {
        let UnreadRoute { document, parents, hosts, .. } = *written;
        let is_there = |one: &ParentRef| {
            let namespace = one.namespace.as_ref().unwrap_or(&document.metadata.namespace);
            one.kind != ParentKind::Gateway
                || self.find::<GatewaySpec>(&format!("{namespace}/{}", one.name)).is_some()
        };
        if self.security != Security::Everybody || hosts.is_none() || parents.iter().all(is_there) {
            return Vec::new();
        }
        let mut all = Vec::new();
        for (gateway, spec) in self.all::<GatewaySpec>() {
            let namespace = &gateway.metadata.namespace;
            for listener in spec.listeners.iter().filter(|one| one.takes(namespace, document)) {
                let key = || (gateway.key(), listener.name.clone());
                all.extend(claimed(listener, hosts).into_iter().map(|(host, _)| (key(), host)));
            }
        }
        all
    }

    /// The backends of a route. One that is missing keeps a name that no service has, so that its share is refused.
    fn stream_backends(
        &mut self,
        written: &UnreadRoute<'a>,
    ) -> Vec<(StreamBackendPlan, Option<(String, &'a ServicePort)>)> {
        let UnreadRoute { document, rules, protocol, .. } = *written;
        let mut all = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            if rule.backend_refs.is_empty() && !document.is_stub() {
                let message = "a rule has at least one backend";
                let pointer = format!("/spec/rules/{at}");
                let problem = document
                    .problem("route.invalid", &pointer, message)
                    .help("write `backendRefs`; until then all that comes for it is refused");
                self.fail(document, ACCEPTED, "UnsupportedValue", problem);
            }
            for (nth, backend) in rule.backend_refs.iter().enumerate() {
                let pointer = format!("/spec/rules/{at}/backendRefs/{nth}");
                let found = self.stream_backend(document, &pointer, backend, protocol);
                let service = match &found {
                    Some((key, port)) => unread_name(key, port),
                    None => format!("unresolved/{}", backend.name),
                };
                all.push((
                    StreamBackendPlan { service, weight: backend.weight.unwrap_or(1) },
                    found,
                ));
            }
        }
        all
    }

    fn stream_backend(
        &mut self,
        document: &'a Document,
        pointer: &str,
        backend: &StreamBackendRef,
        protocol: PortProtocol,
    ) -> Option<(String, &'a ServicePort)> {
        let own = &document.metadata.namespace;
        let namespace = backend.namespace.as_ref().unwrap_or(own);
        let key = format!("{namespace}/{}", backend.name);
        let (reason, message) =
            if namespace == own || self.permitted(document, namespace, &backend.name) {
                match self.find::<ServiceSpec>(&key) {
                    None => ("BackendNotFound", format!("there is no Service {key}")),
                    Some((service, spec)) => match unread_port(spec, backend.port, protocol) {
                        Ok(port) => {
                            self.needs_endpoints(service, spec);
                            return Some((key, port));
                        }
                        Err((reason, why)) => (reason, format!("Service {key} {why}")),
                    },
                }
            } else {
                let message =
                    format!("{key} is in another namespace, and no ReferenceGrant permits it");
                ("RefNotPermitted", message)
            };
        let problem = document.problem("route.backend", &format!("{pointer}/name"), message);
        let mut problem = problem.help(if protocol == PortProtocol::Udp {
            "until it exists, its share of the sessions is refused"
        } else {
            "until it exists, its share of the connections is refused"
        });
        if reason == "BackendNotFound" && self.find::<ServiceSpec>(&key).is_none() {
            problem = problem.lacks(format!("Service/{key}"));
        }
        self.fail(document, RESOLVED, reason, problem);
        None
    }
}

/// What a route claims of a listener; for a server name with its place in the document.
fn claimed(listener: &Listener, hosts: Option<&[String]>) -> Vec<(Option<String>, Option<String>)> {
    let Some(hosts) = hosts else { return vec![(None, None)] };
    let limit = listener.hostname.as_deref();
    let each = hosts.iter().enumerate().flat_map(|(at, host)| {
        let both = intersect(limit, std::slice::from_ref(host)).unwrap_or_default();
        both.into_iter().map(move |host| (Some(host), Some(format!("/spec/hostnames/{at}"))))
    });
    each.collect()
}

/// The `tcp` or `udp` port of a service that a route names, or the reason and the message why there is none.
fn unread_port(
    spec: &ServiceSpec,
    wanted: Option<u16>,
    protocol: PortProtocol,
) -> Result<&ServicePort, (&'static str, String)> {
    let (all, word, what): (Vec<&ServicePort>, _, _) = if protocol == PortProtocol::Udp {
        (udp_ports(spec).collect(), "udp", "datagrams")
    } else {
        (tcp_ports(spec).collect(), "tcp", "connections that nobody reads")
    };
    let port = match (wanted, all.as_slice()) {
        (None, [one]) => *one,
        (None, []) => {
            return Err(("UnsupportedProtocol", format!("has no port with `protocol: {word}`")));
        }
        (None, _) => {
            return Err(("BackendNotFound", format!("has several {word} ports; name one")));
        }
        (Some(number), all) => match all.iter().find(|one| one.port == number) {
            Some(port) => *port,
            None if spec.ports.iter().any(|one| one.port == number) => {
                let why = format!(
                    "has a port {number} of another protocol: {what} go to ports with `protocol: {word}`"
                );
                return Err(("UnsupportedProtocol", why));
            }
            None => return Err(("BackendNotFound", format!("has no port {number}"))),
        },
    };
    if port.is_udp() && spec.endpoints.iter().any(|endpoint| endpoint.sidecar.is_some()) {
        let why = format!("has sidecars, which carry no UDP, also not to its port {}", port.port);
        return Err(("UnsupportedProtocol", why));
    }
    Ok(port)
}

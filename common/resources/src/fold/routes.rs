//! Routes, resolved.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::allowed_routes::{speaks, takes};
use super::listeners::Socket;
use super::services::ports;
use super::tcp::{tcp_ports, udp_ports};
use super::{ACCEPTED, Fold, RESOLVED, Security};
use crate::document::Document;
use crate::kinds::{
    BackendRef, GatewaySpec, GrpcRouteSpec, HttpRouteSpec, Listener, ParentKind, ParentRef,
    PathEscapes, ReferenceGrantSpec, RouteFilter, ServiceSpec,
};
use crate::node_name::NodeName;
use crate::rules::{self, BrokenRule};

/// A route whose backends are resolved.
pub(super) struct Route<'a> {
    pub(super) document: &'a Document,
    pub(super) hostnames: &'a [String],
    /// As its router reads them; null for a route that this proxy does not serve.
    pub(super) rules: Vec<Json>,
    /// Names of rules, to which section names refer.
    pub(super) names: Vec<Option<&'a str>>,
    pub(super) parents: Vec<Parent<'a>>,
    /// The matches of its rules are unknown, so it claims all of its hosts and responds 500. A guard of a
    /// part of it no longer knows its part either.
    pub(super) left_out: bool,
}

/// A gateway or service that a route is attached to.
pub(super) struct Parent<'a> {
    pub(super) key: String,
    pub(super) kind: ParentKind,
    /// Which of its listeners; `None`: all that take routes of this namespace.
    reference: Option<&'a ParentRef>,
}

impl Parent<'_> {
    pub(super) fn is_of(&self, listener: &Listener) -> bool {
        self.reference.is_none_or(|reference| {
            reference.section_name.as_ref().is_none_or(|name| *name == listener.name)
                && reference.port.is_none_or(|port| port == listener.port)
        })
    }
}

/// A rule in parts: its JSON without backends, and its references.
struct Parts<'a> {
    name: Option<&'a str>,
    /// Null where nobody reads it.
    json: Json,
    backends: &'a [BackendRef],
    filters: &'a [RouteFilter],
}

/// Name, namespace and port of a backend as written.
type Reference<'a> = (&'a str, &'a Option<String>, Option<u16>);

impl<'a> Fold<'a> {
    /// All routes. Within a namespace the oldest comes first, by its author's date, then by name.
    /// Namespaces are in the order in which their routes came into force: a date that somebody writes
    /// decides nothing about others.
    pub(super) fn routes(&mut self) -> Vec<Route<'a>> {
        let mut routes = Vec::new();
        for (document, spec) in self.all::<HttpRouteSpec>() {
            let is_here = self.is_here(document, &spec.parent_refs);
            let parts = spec.rules.iter().map(|rule| Parts {
                name: rule.name.as_deref(),
                json: if is_here { bare(rule) } else { Json::Null },
                backends: &rule.backend_refs,
                filters: &rule.filters,
            });
            let segments = self.decodes_segments(document, &spec.parent_refs);
            let (parts, broken) = (parts.collect(), rules::http(spec, segments));
            let of = (&spec.parent_refs[..], &spec.hostnames[..]);
            routes.push(self.route(document, of, parts, broken));
            routes.extend(self.claim(document, of, &routes));
        }
        for (document, spec) in self.all::<GrpcRouteSpec>() {
            let is_here = self.is_here(document, &spec.parent_refs);
            let parts = spec.rules.iter().map(|rule| Parts {
                name: rule.name.as_deref(),
                json: if is_here { bare(rule) } else { Json::Null },
                backends: &rule.backend_refs,
                filters: &rule.filters,
            });
            let (parts, broken) = (parts.collect(), rules::grpc(spec));
            let of = (&spec.parent_refs[..], &spec.hostnames[..]);
            routes.push(self.route(document, of, parts, broken));
            routes.extend(self.claim(document, of, &routes));
        }
        let mut since: BTreeMap<&str, u64> = BTreeMap::new();
        for route in &routes {
            let first = since.entry(&route.document.metadata.namespace).or_insert(u64::MAX);
            *first = route.document.since.min(*first);
        }
        routes.sort_by_cached_key(|route| {
            let namespace = route.document.metadata.namespace.clone();
            let created = route.document.metadata.creation_timestamp.clone();
            let rank = since.get(namespace.as_str()).copied();
            let (key, kind) = (route.document.key(), route.document.kind());
            (route.left_out, rank, namespace, created.is_none(), created, key, kind)
        });
        routes
    }

    fn route(
        &mut self,
        document: &'a Document,
        (parents, hostnames): (&'a [ParentRef], &'a [String]),
        parts: Vec<Parts<'a>>,
        broken: Vec<BrokenRule>,
    ) -> Route<'a> {
        let parents = parents
            .iter()
            .enumerate()
            .filter_map(|(at, reference)| self.parent(document, at, reference))
            .collect();
        let names: Vec<_> = parts.iter().map(|part| part.name).collect();
        for (at, name) in names.iter().enumerate() {
            if name.is_some() && names.iter().take(at).any(|other| other == name) {
                let pointer = format!("/spec/rules/{at}/name");
                let problem = document.problem(
                    "route.rule-name",
                    &pointer,
                    "each name of a rule must be unique",
                );
                self.fail(document, ACCEPTED, "UnsupportedValue", problem);
            }
        }
        let left_out = document.is_stub() || broken.iter().any(|one| one.matches);
        let refused: BTreeSet<usize> = broken.iter().map(|one| one.rule).collect();
        for BrokenRule { pointer, message, help, .. } in broken {
            let problem = document.problem("route.invalid", &pointer, message).help(help);
            self.fail(document, ACCEPTED, "UnsupportedValue", problem);
        }
        let rule = |(at, part): (usize, Parts<'_>)| {
            if left_out || refused.contains(&at) {
                closed_rule(&part.json, left_out)
            } else {
                self.rule(document, at, part)
            }
        };
        let mut rules: Vec<Json> = parts.into_iter().enumerate().map(rule).collect();
        if rules.is_empty() {
            rules.push(closed_rule(&Json::Null, true));
        }
        Route { document, hostnames, rules, names, parents, left_out }
    }

    /// The hosts of a route one of whose gateways is not there, closed at every gateway that it may have been meant for:
    /// otherwise a route of somebody else for all hosts would get their requests. Only where all documents are of one owner: of
    /// others, it would take hosts without their rights.
    fn claim(
        &self,
        document: &'a Document,
        (parents, hostnames): (&'a [ParentRef], &'a [String]),
        routes: &[Route<'a>],
    ) -> Option<Route<'a>> {
        let own = routes.last().map(|one| one.parents.as_slice()).unwrap_or_default();
        let of_gateways = parents.iter().filter(|one| one.kind == ParentKind::Gateway).count();
        let there = own.iter().filter(|one| one.kind == ParentKind::Gateway).count();
        let all_there = there == of_gateways;
        if self.security != Security::Everybody || hostnames.is_empty() || all_there {
            return None;
        }
        let mut parents = Vec::new();
        for (gateway, spec) in self.all::<GatewaySpec>() {
            let key = gateway.key();
            let namespace = &gateway.metadata.namespace;
            let may = |one: &Listener| takes(one, namespace, document);
            if spec.listeners.iter().any(may) && !own.iter().any(|one| one.key == key) {
                parents.push(Parent { key, kind: ParentKind::Gateway, reference: None });
            }
        }
        let rules = vec![closed_rule(&Json::Null, true)];
        let route =
            Route { document, hostnames, rules, names: Vec::new(), parents, left_out: true };
        (!route.parents.is_empty()).then_some(route)
    }

    /// Whether this proxy may serve a route: a gateway those that name it, a sidecar those of services. Rules of others are
    /// never read, and writing them would cost the routes of all, times the proxies of all.
    fn is_here(&self, document: &Document, parents: &[ParentRef]) -> bool {
        parents.iter().any(|parent| match (parent.kind, self.node) {
            (ParentKind::Service, NodeName::Sidecar { .. }) => true,
            (ParentKind::Gateway, NodeName::Gateway { key }) => {
                let namespace = parent.namespace.as_ref().unwrap_or(&document.metadata.namespace);
                key.split_once('/') == Some((namespace.as_str(), parent.name.as_str()))
            }
            (ParentKind::Service, NodeName::Gateway { .. })
            | (ParentKind::Gateway, NodeName::Sidecar { .. }) => false,
        })
    }

    /// Whether one of the listeners that a route may be attached to decodes the escapes of every character that a segment
    /// may contain. Sidecars do.
    fn decodes_segments(&self, document: &Document, parents: &[ParentRef]) -> bool {
        let decodes = |listener: &Listener| {
            let escapes = listener.paths.as_ref().and_then(|paths| paths.escapes);
            escapes != Some(PathEscapes::Unreserved)
        };
        parents.iter().any(|parent| {
            let namespace = parent.namespace.as_ref().unwrap_or(&document.metadata.namespace);
            let gateway = || self.find::<GatewaySpec>(&format!("{namespace}/{}", parent.name));
            match parent.kind {
                ParentKind::Service => true,
                ParentKind::Gateway => gateway().is_none_or(|(_, spec)| {
                    spec.listeners.iter().any(|listener| {
                        parent.section_name.as_ref().is_none_or(|name| *name == listener.name)
                            && decodes(listener)
                    })
                }),
            }
        })
    }

    pub(super) fn parent(
        &mut self,
        document: &Document,
        at: usize,
        reference: &'a ParentRef,
    ) -> Option<Parent<'a>> {
        let namespace = reference.namespace.as_deref().unwrap_or(&document.metadata.namespace);
        let key = format!("{namespace}/{}", reference.name);
        let refused = match reference.kind {
            ParentKind::Gateway => self
                .find::<GatewaySpec>(&key)
                .map(|(_, spec)| not_taken(spec, reference, (namespace, &key), document)),
            // A producer route: of the service's own namespace.
            ParentKind::Service => self.find::<ServiceSpec>(&key).map(|(_, spec)| {
                let fits = namespace == document.metadata.namespace
                    && reference
                        .port
                        .is_none_or(|port| ports(spec).first().is_some_and(|one| one.port == port));
                let why =
                    format!("Service {key} accepts no route with this section, port and namespace");
                (!fits).then_some((NO_PARENT, why))
            }),
        };
        let (reason, wrong) = match refused {
            Some(None) => {
                return Some(Parent { key, kind: reference.kind, reference: Some(reference) });
            }
            // The problem of an unreadable document is reported already, and its parents may stand for others.
            _ if document.is_stub() => return None,
            Some(Some(refused)) => refused,
            None => (NO_PARENT, format!("there is no {} {key}", reference.kind)),
        };
        let is_missing = wrong.starts_with("there is no");
        let problem =
            document.problem("route.parent", &format!("/spec/parentRefs/{at}/name"), wrong);
        let problem =
            if is_missing { problem.lacks(format!("{}/{key}", reference.kind)) } else { problem };
        self.fail(document, ACCEPTED, reason, problem);
        None
    }

    /// A rule with its backends as `namespace/name:port`. The share of missing backends is answered with
    /// 500, as the Gateway API requires: a rule in which all are missing has no backends, otherwise missing
    /// ones keep a name that no service has.
    fn rule(&mut self, document: &Document, at: usize, part: Parts<'_>) -> Json {
        let mut rule = part.json;
        let base = format!("/spec/rules/{at}");
        let mut found = false;
        let mut backends = Vec::new();
        for (index, backend) in part.backends.iter().enumerate() {
            let pointer = format!("{base}/backendRefs/{index}");
            let service =
                self.backend(document, &pointer, (&backend.name, &backend.namespace, backend.port));
            found |= service.is_some();
            let service = service.unwrap_or_else(|| format!("unresolved/{}", backend.name));
            let mut entry = json!({ "service": service, "weight": backend.weight.unwrap_or(1) });
            let filters = self.filters(document, &pointer, &backend.filters);
            if let (false, Some(map)) = (filters.is_empty(), entry.as_object_mut()) {
                map.insert("filters".to_owned(), Json::Array(filters));
            }
            backends.push(entry);
        }
        if !found {
            backends.clear();
        }
        let filters = self.filters(document, &base, part.filters);
        if let Some(map) = rule.as_object_mut() {
            map.insert("filters".to_owned(), Json::Array(filters));
            map.insert("backendRefs".to_owned(), Json::Array(backends));
        }
        rule
    }

    fn filters(&mut self, document: &Document, base: &str, filters: &[RouteFilter]) -> Vec<Json> {
        let mut out = Vec::new();
        for (at, filter) in filters.iter().enumerate() {
            let mut json = bare(filter);
            if let Some(mirror) = &filter.request_mirror {
                let to = &mirror.backend_ref;
                let pointer = format!("{base}/filters/{at}/requestMirror/backendRef");
                // A mirror to a missing service is left out; requests are still served.
                let Some(service) =
                    self.backend(document, &pointer, (&to.name, &to.namespace, to.port))
                else {
                    continue;
                };
                if let Some(mirror) = json.pointer_mut("/requestMirror/backendRef") {
                    *mirror = json!({ "service": service });
                }
            }
            out.push(json);
        }
        out
    }

    fn backend(
        &mut self,
        document: &Document,
        pointer: &str,
        (name, namespace, port): Reference<'_>,
    ) -> Option<String> {
        let own = &document.metadata.namespace;
        let namespace = namespace.as_ref().unwrap_or(own);
        let key = format!("{namespace}/{name}");
        let (reason, message) = if namespace == own || self.permitted(document, namespace, name) {
            match (self.find::<ServiceSpec>(&key), port) {
                (None, _) => ("BackendNotFound", format!("there is no Service {key}")),
                (Some((_, spec)), port) => match (port, ports(spec).as_slice()) {
                    (None, [one]) => return Some(format!("{key}:{}", one.port)),
                    (None, []) => ("BackendNotFound", format!("{key} has no port for requests")),
                    (None, _) => ("BackendNotFound", format!("{key} has several ports; name one")),
                    (Some(port), all) if all.iter().any(|one| one.port == port) => {
                        return Some(format!("{key}:{port}"));
                    }
                    (Some(port), _) if tcp_ports(spec).any(|one| one.port == port) => (
                        "BackendNotFound",
                        format!(
                            "port {port} of Service {key} is tcp: no request can be sent there"
                        ),
                    ),
                    (Some(port), _) if udp_ports(spec).any(|one| one.port == port) => (
                        "BackendNotFound",
                        format!(
                            "port {port} of Service {key} is udp: no request can be sent there"
                        ),
                    ),
                    (Some(port), _) => {
                        ("BackendNotFound", format!("Service {key} has no port {port}"))
                    }
                },
            }
        } else {
            let message =
                format!("{key} is in another namespace, and no ReferenceGrant permits it");
            ("RefNotPermitted", message)
        };
        let problem = document.problem("route.backend", &format!("{pointer}/name"), message);
        let mut problem = problem.help("until it exists, requests for it get 500");
        if reason == "BackendNotFound" && self.find::<ServiceSpec>(&key).is_none() {
            problem = problem.lacks(format!("Service/{key}"));
        }
        self.fail(document, RESOLVED, reason, problem);
        None
    }

    /// Whether a ReferenceGrant in the service's namespace allows the route to refer to it.
    pub(super) fn permitted(&self, route: &Document, namespace: &str, name: &str) -> bool {
        let from = (route.kind(), route.metadata.namespace.as_str());
        let grants = self.all_in::<ReferenceGrantSpec>(namespace);
        grants.into_iter().any(|grant| grant.permits(from, ("Service", name)))
    }
}

impl Route<'_> {
    pub(super) fn json(&self, hostnames: Vec<String>) -> Json {
        object([
            ("name", self.document.key().into()),
            ("kind", self.document.kind().into()),
            ("hostnames", hostnames.into()),
            ("rules", Json::Array(self.rules.clone())),
        ])
    }

    /// Whether it applies to that socket of a gateway.
    pub(super) fn hangs_on_listener(&self, gateway: &str, socket: &Socket<'_>) -> bool {
        let Some(listener) = socket.listener else { return false };
        let namespace = gateway.split('/').next().unwrap_or_default();
        self.parents.iter().any(|parent| {
            parent.kind == ParentKind::Gateway
                && parent.key == gateway
                && parent.is_of(listener)
                && takes(listener, namespace, self.document)
        })
    }

    /// The services whose calls it routes.
    pub(super) fn callees(&self) -> impl Iterator<Item = &str> {
        let callees = self.parents.iter().filter(|parent| parent.kind == ParentKind::Service);
        callees.map(|parent| parent.key.as_str())
    }

    /// Whether it routes traffic between services.
    pub(super) fn hangs_on_a_service(&self) -> bool {
        self.parents.iter().any(|parent| parent.kind == ParentKind::Service)
    }
}

/// What remains of a refused rule: its name and, if they are known, its matches. Without a backend it
/// responds 500.
fn closed_rule(rule: &Json, left_out: bool) -> Json {
    let mut closed =
        object([("filters", Json::Array(Vec::new())), ("backendRefs", Json::Array(Vec::new()))]);
    let kept = if left_out { &["name"][..] } else { &["name", "matches"] };
    for name in kept {
        if let (Some(value), Some(map)) = (rule.get(name), closed.as_object_mut()) {
            map.insert((*name).to_owned(), value.clone());
        }
    }
    closed
}

/// No listener, or no Service, is the one that a route names (Gateway API, `RouteReasonNoMatchingParent`).
const NO_PARENT: &str = "NoMatchingParent";
/// Those that a route names take no such route (Gateway API, `RouteReasonNotAllowedByListeners`).
const NOT_ALLOWED: &str = "NotAllowedByListeners";

/// Why no listener that a route names takes it; `None`: one does.
fn not_taken(
    spec: &GatewaySpec,
    reference: &ParentRef,
    (namespace, key): (&str, &str),
    document: &Document,
) -> Option<(&'static str, String)> {
    let named: Vec<&Listener> = spec
        .listeners
        .iter()
        .filter(|listener| {
            reference.section_name.as_ref().is_none_or(|name| *name == listener.name)
                && reference.port.is_none_or(|port| port == listener.port)
        })
        .collect();
    let kind = document.kind();
    if named.iter().any(|one| takes(one, namespace, document)) {
        return None;
    }
    if named.is_empty() {
        let why = format!("Gateway {key} has no listener with this section and port");
        return Some((NO_PARENT, why));
    }
    let why = if named.iter().any(|one| speaks(one, kind)) {
        format!(
            "Gateway {key} accepts no {kind} of this namespace there: `allowedRoutes` of the listener says whose"
        )
    } else {
        let protocols: BTreeSet<String> =
            named.iter().map(|one| one.protocol.to_string()).collect();
        let protocols = protocols.into_iter().collect::<Vec<_>>().join(" and ");
        format!(
            "Gateway {key} accepts no {kind} there: its listeners are for {protocols}, or their `allowedRoutes` leave this kind out"
        )
    };
    Some((NOT_ALLOWED, why))
}

/// All requests to one service.
pub(super) fn default_route(service: String, hostnames: Vec<String>) -> Json {
    let backend = object([("service", service.clone().into()), ("weight", 1.into())]);
    let rule = object([("backendRefs", Json::Array(vec![backend]))]);
    object([
        ("name", service.into()),
        ("kind", "HTTPRoute".into()),
        ("hostnames", hostnames.into()),
        ("rules", Json::Array(vec![rule])),
    ])
}

/// A map of existing values. The macro would serialise and parse each value again, and every proxy has a
/// route to every service.
pub(super) fn object<const N: usize>(fields: [(&str, Json); N]) -> Json {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The JSON of a part without absent fields.
pub(super) fn bare<T: Serialize>(part: &T) -> Json {
    fn strip(json: &mut Json) {
        match json {
            Json::Object(map) => {
                map.retain(|_, value| !value.is_null() && *value != json!([]));
                map.values_mut().for_each(strip);
            }
            Json::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut json = serde_json::to_value(part).unwrap_or_default();
    strip(&mut json);
    json
}

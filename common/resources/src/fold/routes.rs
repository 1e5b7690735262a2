//! Routes, resolved.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::parents::Parent;
use super::ports::{request_ports, tcp_ports, udp_ports};
use super::route::{Route, object};
use super::{ACCEPTED, Fold, RESOLVED, Security};
use crate::document::Document;
use crate::kinds::{
    BackendRef, GatewaySpec, GrpcRouteSpec, HttpRouteSpec, Listener, ParentKind, ParentRef,
    PathEscapes, RouteFilter, ServiceSpec,
};
use crate::node_name::NodeName;
use crate::rules::{self, BrokenRule};

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
            let may = |one: &Listener| one.takes(namespace, document);
            if spec.listeners.iter().any(may) && !own.iter().any(|one| one.key == key) {
                parents.push(Parent::whole_gateway(key));
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
            match self.find::<ServiceSpec>(&key) {
                None => ("BackendNotFound", format!("there is no Service {key}")),
                Some((service, spec)) => match request_port(&key, spec, port) {
                    Ok(port) => {
                        self.needs_endpoints(service, spec);
                        return Some(format!("{key}:{port}"));
                    }
                    Err(message) => ("BackendNotFound", message),
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

    /// Reports a service without endpoints that routes lead to. It stays their backend, whose requests get 503 as the Gateway
    /// API wants it: endpoints may come later.
    pub(super) fn needs_endpoints(&mut self, document: &Document, spec: &ServiceSpec) {
        if !spec.endpoints.is_empty() || document.is_stub() {
            return;
        }
        let key = document.key();
        let message = format!("routes lead to Service {key}, which has no endpoints");
        let problem = document
            .problem("service.endpoints", "/spec/endpoints", message)
            .help("write an endpoint, or remove the Service from the routes; until then requests get 503 and connections are closed");
        if self.problems.is_new(&problem, &problem.code) {
            self.problems.push(problem);
        }
    }
}

/// The port of a service that a reference to it means.
fn request_port(key: &str, spec: &ServiceSpec, port: Option<u16>) -> Result<u16, String> {
    match (port, request_ports(spec).as_slice()) {
        (None, [one]) => Ok(one.port),
        (None, []) => Err(format!("{key} has no port for requests")),
        (None, _) => Err(format!("{key} has several ports; name one")),
        (Some(port), all) if all.iter().any(|one| one.port == port) => Ok(port),
        (Some(port), _) if tcp_ports(spec).any(|one| one.port == port) => {
            Err(format!("port {port} of Service {key} is tcp: no request can be sent there"))
        }
        (Some(port), _) if udp_ports(spec).any(|one| one.port == port) => {
            Err(format!("port {port} of Service {key} is udp: no request can be sent there"))
        }
        (Some(port), _) => Err(format!("Service {key} has no port {port}")),
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

/// The JSON of a part without absent fields.
fn bare<T: Serialize>(part: &T) -> Json {
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

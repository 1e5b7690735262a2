//! The configuration of the router of a socket: the routes that lead through it.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::allowed_routes::intersect;
use super::parents::Parent;
use super::ports::{local_name, request_ports};
use super::route::{Route, default_route, object};
use super::socket::Socket;
use super::{Fold, PlannedProxy};
use crate::document::Document;
use crate::kinds::{ParentKind, ServiceSpec};
use crate::plan::TrafficDirection;

impl Fold<'_> {
    /// The configuration of the router of a socket.
    pub(super) fn router_config(
        &mut self,
        place: &PlannedProxy<'_>,
        socket: &Socket<'_>,
        routes: &[Route<'_>],
    ) -> Json {
        let routes = match (place, socket.plan.direction) {
            (PlannedProxy::Sidecar(document, spec, _), TrafficDirection::Inbound) => {
                inbound(document, spec)
            }
            (PlannedProxy::Sidecar(document, ..), _) => {
                let inside = self.outbound(document, routes).into_iter();
                inside.chain(self.external_routes(place)).collect()
            }
            (PlannedProxy::Gateway(document, _), _) => {
                let limit = socket.listener.and_then(|one| one.hostname.as_deref());
                let here =
                    routes.iter().filter(|one| one.hangs_on_listener(&document.key(), socket));
                let here: Vec<_> = here
                    .filter_map(|route| Some((route, intersect(limit, route.hostnames)?)))
                    .collect();
                let mut routes = self.shared(document, here);
                if let Some(listener) = socket.listener {
                    routes.iter_mut().for_each(|json| redirect_to(json, listener.port));
                }
                routes
            }
        };
        object([("routes", Json::Array(routes))])
    }

    /// Mesh routes, then the default route of each service without any (for a service with routes,
    /// unmatched requests get 404, as GAMMA requires).
    fn outbound(&self, caller: &Document, routes: &[Route<'_>]) -> Vec<Json> {
        let services = |parents: &[Parent<'_>]| -> Vec<String> {
            let meshed = parents.iter().filter(|parent| parent.kind == ParentKind::Service);
            meshed.map(|parent| parent.key.clone()).collect()
        };
        let mut out = Vec::new();
        for route in routes {
            let keys = services(&route.parents);
            let found = keys.iter().filter_map(|key| self.find::<ServiceSpec>(key));
            let hosts: Vec<_> = found.flat_map(|(service, _)| hostnames(service, caller)).collect();
            if !hosts.is_empty() {
                out.push(route.json(hosts));
            }
        }
        let routed: BTreeSet<_> =
            routes.iter().flat_map(|route| services(&route.parents)).collect();
        for (document, spec) in self.all::<ServiceSpec>() {
            let key = document.key();
            let first = request_ports(spec).into_iter().next();
            let Some(port) = first.filter(|_| !routed.contains(&key)) else {
                continue;
            };
            // No route can have this name: names have no colon.
            let name = format!("{key}:{}", port.port);
            out.push(default_route(name, hostnames(document, caller)));
        }
        out
    }
}

fn inbound(document: &Document, spec: &ServiceSpec) -> Vec<Json> {
    let Some(port) = request_ports(spec).into_iter().next() else { return Vec::new() };
    vec![default_route(local_name(&document.key(), port.port), Vec::new())]
}

/// The hosts under which a caller may call a service, with or without port: by its bare name within one
/// namespace.
fn hostnames(service: &Document, caller: &Document) -> Vec<String> {
    let (name, namespace) = (&service.metadata.name, &service.metadata.namespace);
    let near = (*namespace == caller.metadata.namespace).then(|| name.clone());
    let far = [format!("{name}.{namespace}"), format!("{name}.{namespace}.mesh")];
    near.into_iter().chain(far).collect()
}

/// Gives redirects that name neither scheme nor port the port of their listener (Gateway API,
/// `HTTPRequestRedirectFilter.port`), whatever the client writes into `host`.
fn redirect_to(route: &mut Json, port: u16) {
    let rules = route.get_mut("rules").and_then(Json::as_array_mut).into_iter().flatten();
    let filters =
        rules.filter_map(|rule| rule.get_mut("filters").and_then(Json::as_array_mut)).flatten();
    for filter in filters {
        let redirect = filter.get_mut("requestRedirect").and_then(Json::as_object_mut);
        if let Some(redirect) = redirect
            && !redirect.contains_key("port")
            && !redirect.contains_key("scheme")
        {
            redirect.insert("port".to_owned(), port.into());
        }
    }
}

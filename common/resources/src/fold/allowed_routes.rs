//! Which routes a listener takes, and for which hosts.

use crate::document::Document;
use crate::kinds::{Listener, ListenerProtocol, RouteKind, RouteNamespaces};

/// Whether a listener takes a route.
pub(super) fn takes(listener: &Listener, gateway_namespace: &str, route: &Document) -> bool {
    speaks(listener, route.kind()) && allowed(from(listener), gateway_namespace, route)
}

/// Whether a listener takes routes of a kind.
pub(super) fn speaks(listener: &Listener, kind: &str) -> bool {
    let kinds = listener.allowed_routes.as_ref().map(|it| it.kinds.as_slice()).unwrap_or_default();
    let named = kinds.is_empty() || kinds.iter().any(|one| one.kind.to_string() == kind);
    named && kinds_of(listener.protocol).iter().any(|one| one.to_string() == kind)
}

/// The kinds of routes that a protocol has.
pub(super) fn kinds_of(protocol: ListenerProtocol) -> &'static [RouteKind] {
    match protocol {
        ListenerProtocol::HTTP | ListenerProtocol::HTTPS => {
            &[RouteKind::HTTPRoute, RouteKind::GRPCRoute]
        }
        ListenerProtocol::TLS => &[RouteKind::TLSRoute],
        ListenerProtocol::TCP => &[RouteKind::TCPRoute],
        ListenerProtocol::UDP => &[RouteKind::UDPRoute],
    }
}

/// The namespaces whose routes a listener takes.
fn from(listener: &Listener) -> Option<RouteNamespaces> {
    Some(listener.allowed_routes.as_ref()?.namespaces.as_ref()?.from)
}

fn allowed(from: Option<RouteNamespaces>, gateway_namespace: &str, route: &Document) -> bool {
    from == Some(RouteNamespaces::All) || route.metadata.namespace == gateway_namespace
}

/// Hostnames of a route that a listener accepts; `None` when there are none.
pub(super) fn intersect(listener: Option<&str>, route: &[String]) -> Option<Vec<String>> {
    let Some(listener) = listener else { return Some(route.to_vec()) };
    if route.is_empty() {
        return Some(vec![listener.to_owned()]);
    }
    let under = |name: &str, pattern: &str| {
        pattern.strip_prefix('*').is_some_and(|suffix| name.ends_with(suffix))
    };
    let both: Vec<String> = route
        .iter()
        .filter_map(|host| {
            if host == listener || under(host, listener) {
                Some(host.clone())
            } else {
                under(listener, host).then(|| listener.to_owned())
            }
        })
        .collect();
    (!both.is_empty()).then_some(both)
}

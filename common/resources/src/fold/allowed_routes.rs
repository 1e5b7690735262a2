//! Which routes a listener takes, and for which hosts.

use crate::document::Document;
use crate::kinds::{Listener, ListenerProtocol, RouteKind, RouteNamespaces};

impl Listener {
    /// Whether it takes a route.
    pub(super) fn takes(&self, gateway_namespace: &str, route: &Document) -> bool {
        let is_allowed = self.takes_from() == Some(RouteNamespaces::All)
            || route.metadata.namespace == gateway_namespace;
        self.speaks(route.kind()) && is_allowed
    }

    /// Whether it takes routes of a kind.
    pub(super) fn speaks(&self, kind: &str) -> bool {
        let kinds = self.allowed_routes.as_ref().map(|it| it.kinds.as_slice()).unwrap_or_default();
        let named = kinds.is_empty() || kinds.iter().any(|one| one.kind.to_string() == kind);
        named && self.protocol.route_kinds().iter().any(|one| one.to_string() == kind)
    }

    /// Whether it carries connections or datagrams unread.
    pub(super) fn is_unread(&self) -> bool {
        matches!(
            self.protocol,
            ListenerProtocol::TLS | ListenerProtocol::TCP | ListenerProtocol::UDP
        )
    }

    /// The namespaces whose routes it takes.
    fn takes_from(&self) -> Option<RouteNamespaces> {
        Some(self.allowed_routes.as_ref()?.namespaces.as_ref()?.from)
    }
}

impl ListenerProtocol {
    /// The kinds of its routes.
    pub(super) fn route_kinds(self) -> &'static [RouteKind] {
        match self {
            Self::HTTP | Self::HTTPS => &[RouteKind::HTTPRoute, RouteKind::GRPCRoute],
            Self::TLS => &[RouteKind::TLSRoute],
            Self::TCP => &[RouteKind::TCPRoute],
            Self::UDP => &[RouteKind::UDPRoute],
        }
    }
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

//! What the references of routes name: gateways and services that take them, and services of other namespaces.

use std::collections::BTreeSet;

use super::ports::request_ports;
use super::{ACCEPTED, Fold};
use crate::document::Document;
use crate::kinds::{GatewaySpec, Listener, ParentKind, ParentRef, ReferenceGrantSpec, ServiceSpec};

/// A gateway or service that a route is attached to.
pub(super) struct Parent<'a> {
    pub(super) key: String,
    pub(super) kind: ParentKind,
    /// Which of its listeners; `None`: all that take routes of this namespace.
    reference: Option<&'a ParentRef>,
}

impl Parent<'_> {
    /// All listeners of a gateway that take routes of the namespace.
    pub(super) fn whole_gateway(key: String) -> Self {
        Self { key, kind: ParentKind::Gateway, reference: None }
    }

    /// Whether that listener of it is meant.
    pub(super) fn is_of(&self, listener: &Listener) -> bool {
        self.reference.is_none_or(|reference| {
            reference.section_name.as_ref().is_none_or(|name| *name == listener.name)
                && reference.port.is_none_or(|port| port == listener.port)
        })
    }
}

impl<'a> Fold<'a> {
    /// What a reference of a route names; `None`: nothing that takes the route, which is reported.
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
                    && reference.port.is_none_or(|port| {
                        request_ports(spec).first().is_some_and(|one| one.port == port)
                    });
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

    /// Whether a ReferenceGrant in the service's namespace allows the route to refer to it.
    pub(super) fn permitted(&self, route: &Document, namespace: &str, name: &str) -> bool {
        let from = (route.kind(), route.metadata.namespace.as_str());
        let grants = self.all_in::<ReferenceGrantSpec>(namespace);
        grants.into_iter().any(|grant| grant.permits(from, ("Service", name)))
    }
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
    if named.iter().any(|one| one.takes(namespace, document)) {
        return None;
    }
    if named.is_empty() {
        let why = format!("Gateway {key} has no listener with this section and port");
        return Some((NO_PARENT, why));
    }
    let why = if named.iter().any(|one| one.speaks(kind)) {
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

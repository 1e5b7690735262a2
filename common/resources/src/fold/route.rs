//! A route with its backends, and what routers read of it.

use serde_json::Value as Json;

use super::parents::Parent;
use super::socket::Socket;
use crate::document::Document;
use crate::kinds::ParentKind;

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

impl Route<'_> {
    /// As its router reads it, with these hostnames.
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
                && listener.takes(namespace, self.document)
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

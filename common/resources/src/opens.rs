//! Whether a document opens more than its version in force.
//!
//! While a part of a folder cannot be read, it may hold a guard that nobody knows: of what is new, or of what a guard that
//! changes guards no longer. So whoever serves a folder lets such documents wait. Which condition, filter or backend of a
//! route opens something only the whole set of documents says, so a route that changes waits as it is; and so does whatever
//! else routes or opens. What a guard decides by its rules and its configuration is its author's, and changes at once.

use crate::document::Document;
use crate::kinds::{
    AttachmentDirection, FilterAttachmentSpec, Phase, Resource, ServiceEndpoint, ServiceSpec,
};

impl Document {
    /// Whether it may open something that its version in force does not; `None`: it has none.
    #[must_use]
    pub fn opens_more(&self, before: Option<&Self>) -> bool {
        if before.is_some_and(|before| before.has_same_content(self)) {
            return false;
        }
        let before = before.map(|before| &before.resource);
        match (&self.resource, before) {
            (
                Resource::Gateway(_)
                | Resource::HTTPRoute(_)
                | Resource::GRPCRoute(_)
                | Resource::TLSRoute(_)
                | Resource::TCPRoute(_)
                | Resource::UDPRoute(_)
                | Resource::ExternalService(_)
                | Resource::FederatedTrustDomain(_)
                | Resource::ReferenceGrant(_),
                _,
            ) => true,
            (Resource::Service(now), Some(Resource::Service(before))) => is_wider(now, before),
            (Resource::Service(_), _) => true,
            (Resource::FilterAttachment(now), Some(Resource::FilterAttachment(before))) => {
                !has_all(&now.target_refs, &before.target_refs) || place(now) != place(before)
            }
            (Resource::AuthorizationPolicy(now), Some(Resource::AuthorizationPolicy(before))) => {
                !has_all(&now.target_refs, &before.target_refs) || now.mode != before.mode
            }
            (Resource::BackendTLSPolicy(now), Some(Resource::BackendTLSPolicy(before))) => {
                !has_all(&now.target_refs, &before.target_refs)
            }
            (
                Resource::FilterAttachment(_)
                | Resource::AuthorizationPolicy(_)
                | Resource::BackendTLSPolicy(_)
                | Resource::UpstreamPolicy(_)
                | Resource::Filter(_)
                | Resource::Grant(_)
                | Resource::TrustPolicy(_)
                | Resource::Rollout(_)
                | Resource::FiltersLock(_),
                _,
            ) => false,
        }
    }
}

/// What a filter is attached as.
fn place(spec: &FilterAttachmentSpec) -> (&str, Phase, Option<AttachmentDirection>) {
    (&spec.filter, spec.phase, spec.direction)
}

fn has_all<T: PartialEq>(now: &[T], before: &[T]) -> bool {
    before.iter().all(|one| now.contains(one))
}

/// Whether a service differs in more than where its endpoints are, how many there are, and their shares of the traffic.
fn is_wider(now: &ServiceSpec, before: &ServiceSpec) -> bool {
    let known: Vec<ServiceEndpoint> = before.endpoints.iter().map(unplaced).collect();
    // Who alone may connect is compared by itself: to take no plain text any more opens nothing.
    let without =
        |spec: &ServiceSpec| ServiceSpec { endpoints: Vec::new(), mtls: None, ..spec.clone() };
    (now.is_permissive() && !before.is_permissive())
        || without(now) != without(before)
        || !now.endpoints.iter().all(|endpoint| known.contains(&unplaced(endpoint)))
}

/// An endpoint without its addresses and its share, but with the fact whether it has a sidecar: without a sidecar nothing
/// guards it.
fn unplaced(endpoint: &ServiceEndpoint) -> ServiceEndpoint {
    let mut one = endpoint.clone();
    one.address.clear();
    one.sidecar.iter_mut().for_each(String::clear);
    one.ports.iter_mut().for_each(|port| port.address.clear());
    ServiceEndpoint { weight: None, ..one }
}

#[cfg(test)]
mod tests {
    use crate::{Document, parse};

    fn read(kind: &str, spec: &str) -> Document {
        let api = match kind {
            "Gateway" | "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute"
            | "BackendTLSPolicy" => "gateway.networking.k8s.io/v1",
            "UDPRoute" => "gateway.networking.k8s.io/v1alpha2",
            "ReferenceGrant" => "gateway.networking.k8s.io/v1beta1",
            _ => "tamis.dev/v1alpha1",
        };
        let text = format!(
            "{{ kind: {kind}, apiVersion: {api}, metadata: {{ name: a, namespace: b }}, spec: {{ {spec} }} }}\n"
        );
        let (mut documents, problems) = parse("a.yaml", &text);
        assert!(problems.is_empty(), "{text}: {problems:#?}");
        documents.remove(0)
    }

    const STREAM: &str =
        "parentRefs: [{ name: g }], rules: [{ backendRefs: [{ name: s, port: 1 }] }]";
    const NAMES: &str = "parentRefs: [{ name: g }], hostnames: [a.example], \
        rules: [{ backendRefs: [{ name: s, port: 1 }] }]";
    const ROUTE: &str = "parentRefs: [{ name: g }], hostnames: [a.example], rules: [{ matches: [{ path: { value: /pub }, method: GET, \
        headers: [{ name: x-internal, value: s3cret }], queryParams: [{ name: q, value: \"1\" }] }], filters: [], \
        backendRefs: [{ name: s, port: 80 }] }]";
    const CALLS: &str = "parentRefs: [{ name: g }], rules: [{ matches: [{ method: { service: a.B } }], backendRefs: [{ name: s, port: 80 }] }]";
    const SERVICE: &str = "ports: [{ port: 80, protocol: http }, { port: 81, protocol: tcp }], identity: \"spiffe://m/a\", endpoints: [{ \
        address: \"10.0.0.1:80\", sidecar: \"10.0.0.1:15006\", outbound: \"127.0.0.1:15001\", ports: [{ port: 81, address: \
        \"10.0.0.1:81\" }] }]";
    const PERMISSIVE: &str = "ports: [{ port: 80, protocol: http }], mtls: permissive, identity: \"spiffe://m/a\", \
        endpoints: [{ address: \"10.0.0.1:80\", sidecar: \"10.0.0.1:15006\" }]";
    const GATEWAY: &str = "listeners: [{ name: a, port: 80, protocol: HTTP }]";
    const OUTSIDE: &str = "hosts: [a.example], ports: [{ port: 443, protocol: tcp }]";
    const FEDERATED: &str = "trustDomain: partner.example, bundleRef: { kind: File, name: a.json }";
    const PERMITS: &str =
        "from: [{ kind: HTTPRoute, namespace: c }], to: [{ kind: Service, name: s }]";
    const GUARD: &str = "targetRefs: [{ kind: Service, name: s }, { kind: Service, name: t }], filter: x/y, phase: authz, order: 1, config: { a: 1 }";
    const POLICY: &str = "targetRefs: [{ kind: Service, name: s }, { kind: Service, name: t }], deny: [{ paths: [{ value: /a }] }]";
    const TLS: &str = "targetRefs: [{ kind: Service, name: s }, { kind: Service, name: t }], validation: { hostname: a.example, wellKnownCACertificates: System }";
    const LIMITS: &str = "targetRefs: [{ kind: Service, name: s }], maxRequests: 9";

    #[test]
    fn whatever_may_open_more_than_before_is_known_by_what_changes_in_it() {
        for (kind, text, from, to, opens) in [
            ("HTTPRoute", ROUTE, "", "", false),
            ("HTTPRoute", ROUTE, "/pub", "/", true),
            (
                "HTTPRoute",
                ROUTE,
                "filters: []",
                "filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: /admin } } }]",
                true,
            ),
            ("HTTPRoute", ROUTE, "headers: [{ name: x-internal, value: s3cret }], ", "", true),
            ("HTTPRoute", ROUTE, "value: s3cret", "value: open", true),
            ("HTTPRoute", ROUTE, ", method: GET", "", true),
            ("HTTPRoute", ROUTE, "method: GET", "method: POST", true),
            ("HTTPRoute", ROUTE, ", queryParams: [{ name: q, value: \"1\" }]", "", true),
            ("HTTPRoute", ROUTE, "name: s, port: 80", "name: other, port: 80", true),
            ("HTTPRoute", ROUTE, "port: 80 }]", "port: 80 }, { name: other, port: 80 }]", true),
            ("HTTPRoute", ROUTE, "port: 80 }]", "port: 80, weight: 0 }]", true),
            ("HTTPRoute", ROUTE, "a.example", "b.example", true),
            ("HTTPRoute", ROUTE, "name: g", "name: h", true),
            ("TLSRoute", NAMES, "", "", false),
            ("TLSRoute", NAMES, "a.example", "b.example", true),
            ("TLSRoute", NAMES, "name: s,", "name: other,", true),
            ("TLSRoute", NAMES, "port: 1 }", "port: 1, weight: 0 }", true),
            ("TCPRoute", STREAM, "", "", false),
            ("TCPRoute", STREAM, "name: g", "name: h", true),
            ("TCPRoute", STREAM, "port: 1 }", "port: 2 }", true),
            ("UDPRoute", STREAM, "", "", false),
            ("UDPRoute", STREAM, "name: g", "name: h", true),
            ("UDPRoute", STREAM, "port: 1 }", "port: 2 }", true),
            ("GRPCRoute", CALLS, "", "", false),
            ("GRPCRoute", CALLS, "service: a.B", "service: a.C", true),
            ("GRPCRoute", CALLS, "name: s,", "name: other,", true),
            ("Gateway", GATEWAY, "port: 80", "port: 81", true),
            ("ExternalService", OUTSIDE, "443", "444", true),
            ("FederatedTrustDomain", FEDERATED, "", "", false),
            ("FederatedTrustDomain", FEDERATED, "a.json", "b.json", true),
            ("FederatedTrustDomain", FEDERATED, "partner", "other", true),
            ("ReferenceGrant", PERMITS, ", name: s", "", true),
            // A moved application, and more or fewer of it.
            ("Service", SERVICE, "10.0.0.1", "10.0.0.2", false),
            ("Service", SERVICE, "sidecar:", "weight: 2, sidecar:", false),
            (
                "Service",
                SERVICE,
                ":81\" }] }]",
                ":81\" }] }, { address: \"10.0.0.2:80\", sidecar: \"10.0.0.2:15006\", outbound: \"127.0.0.1:15001\", ports: [{ port: 81, address: \"10.0.0.2:81\" }] }]",
                false,
            ),
            (
                "Service",
                SERVICE,
                "{ port: 80, protocol: http }, ",
                "{ port: 80, protocol: http }, { port: 82, protocol: tcp }, ",
                true,
            ),
            ("Service", SERVICE, "port: 81, protocol: tcp", "port: 81, protocol: http", true),
            (
                "Service",
                SERVICE,
                ", outbound: \"127.0.0.1:15001\"",
                ", outbound: \"127.0.0.1:15002\"",
                true,
            ),
            (
                "Service",
                SERVICE,
                "outbound:",
                "outboundTcp: [{ address: \"127.0.0.1:5\", name: x, port: 1 }], outbound:",
                true,
            ),
            (
                "Service",
                SERVICE,
                "outbound:",
                "capture: { outbound: [\"127.0.0.1:5\"], egress: allow }, outbound:",
                true,
            ),
            ("Service", SERVICE, "outbound:", "admin: \"10.0.0.1:1\", outbound:", true),
            ("Service", SERVICE, " sidecar: \"10.0.0.1:15006\",", "", true),
            ("Service", SERVICE, "spiffe://m/a", "spiffe://m/b", true),
            ("Service", SERVICE, "identity:", "upgrades: [x], identity:", true),
            ("Service", SERVICE, "identity:", "mtls: strict, identity:", false),
            ("Service", SERVICE, "identity:", "mtls: permissive, identity:", true),
            ("Service", PERMISSIVE, "", "", false),
            ("Service", PERMISSIVE, "permissive", "strict", false),
            ("Service", PERMISSIVE, "mtls: permissive, ", "", false),
            // A guard that guards less; what it decides is its author's.
            ("FilterAttachment", GUARD, ", { kind: Service, name: t }", "", true),
            ("FilterAttachment", GUARD, "name: t", "name: u", true),
            ("FilterAttachment", GUARD, "name: t }", "name: t, sectionName: r }", true),
            ("FilterAttachment", GUARD, "authz", "traffic", true),
            ("FilterAttachment", GUARD, "filter: x/y", "filter: x/z", true),
            ("FilterAttachment", GUARD, "order: 1", "direction: outbound, order: 1", true),
            (
                "FilterAttachment",
                GUARD,
                "name: t }",
                "name: t }, { kind: Service, name: u }",
                false,
            ),
            ("FilterAttachment", GUARD, "a: 1", "a: 2", false),
            ("AuthorizationPolicy", POLICY, ", { kind: Service, name: t }", "", true),
            ("AuthorizationPolicy", POLICY, "deny:", "mode: audit, deny:", true),
            ("AuthorizationPolicy", POLICY, "/a", "/b", false),
            ("BackendTLSPolicy", TLS, ", { kind: Service, name: t }", "", true),
            ("BackendTLSPolicy", TLS, "hostname: a.example", "hostname: b.example", false),
            ("UpstreamPolicy", LIMITS, "9", "10", false),
        ] {
            let before = read(kind, text);
            assert!(text.contains(from), "{kind}: {from}");
            let now = read(kind, &text.replace(from, to));
            assert_eq!(now.opens_more(Some(&before)), opens, "{kind}: {from} -> {to}");
            let new =
                !["FilterAttachment", "AuthorizationPolicy", "BackendTLSPolicy", "UpstreamPolicy"]
                    .contains(&kind);
            assert_eq!(now.opens_more(None), new, "a new {kind}");
        }
    }
}

//! A protection with nothing behind its name protects nothing, so its document is refused.

use super::*;

/// The kind, its `apiVersion`, its `spec`, in which `@` stands for the value of what protects, and that value.
const ROWS: [(&str, &str, &str, &str); 15] = [
    (
        "Gateway",
        "gateway.networking.k8s.io/v1",
        "listeners: [{ name: s, port: 1, protocol: HTTPS, tls: { certificate: c, key: k, clientCa: @ } }]",
        "ca.crt",
    ),
    (
        "Gateway",
        "gateway.networking.k8s.io/v1",
        "listeners: [{ name: s, port: 1, protocol: HTTP, hostname: @ }]",
        "a.example",
    ),
    (
        "Gateway",
        "gateway.networking.k8s.io/v1",
        "listeners: [{ name: s, port: 1, protocol: HTTP, proxyProtocol: @ }]",
        "{ trusted: [10.0.0.7] }",
    ),
    (
        "Gateway",
        "gateway.networking.k8s.io/v1",
        "listeners: [{ name: s, port: 1, protocol: HTTP, clientAddress: { hops: 1, trusted: @ } }]",
        "[10.0.0.7]",
    ),
    (
        "Service",
        "tamis.dev/v1alpha1",
        "ports: [{ port: 80, protocol: http }], identity: @",
        "spiffe://a.example/a",
    ),
    ("Service", "tamis.dev/v1alpha1", "ports: [{ port: 80, protocol: http }], upgrades: @", "[]"),
    ("Grant", "tamis.dev/v1alpha1", "filter: a/b, signedBy: @", "{ keys: [k] }"),
    ("Grant", "tamis.dev/v1alpha1", "filter: a/b, limits: { memory: @ }", "1MiB"),
    (
        "Grant",
        "tamis.dev/v1alpha1",
        "filter: a/b, imports: { http-client: { hosts: [a.example], ca: @ } }",
        "pem",
    ),
    (
        "TrustPolicy",
        "tamis.dev/v1alpha1",
        "namespaces: ['*'], threshold: 1, keys: [{ name: k, publicKeyFile: k.pub, expires: @ }]",
        "2030-01-01T00:00:00Z",
    ),
    (
        "TrustPolicy",
        "tamis.dev/v1alpha1",
        "namespaces: ['*'], threshold: 1, keys: [{ name: k, publicKeyFile: k.pub }], stalenessBound: @",
        "1h",
    ),
    (
        "ReferenceGrant",
        "gateway.networking.k8s.io/v1beta1",
        "from: [{ kind: HTTPRoute, namespace: f }], to: [{ kind: Service, name: @ }]",
        "app",
    ),
    (
        "AuthorizationPolicy",
        "tamis.dev/v1alpha1",
        "targetRefs: [{ kind: Service, name: app }], allow: [{}], cedar: @",
        "{ policies: 'forbid (principal, action, resource);' }",
    ),
    (
        "UpstreamPolicy",
        "tamis.dev/v1alpha1",
        "targetRefs: [{ kind: Service, name: app }], maxRequests: @",
        "10",
    ),
    (
        "Rollout",
        "tamis.dev/v1alpha1",
        "filter: a/b, version: 1.0.0, services: [f/app], waves: [{ percent: 5, bake: 1m }, { percent: 100 }], gates: { maxTrapRate: 0.5, max5xxDelta: @ }",
        "0.5",
    ),
];

fn document(kind: &str, api: &str, spec: &str) -> String {
    format!(
        "kind: {kind}\napiVersion: {api}\nmetadata: {{ name: own, namespace: f }}\nspec: {{ {spec} }}\n"
    )
}

#[test]
fn a_protection_with_nothing_behind_its_name_is_refused_and_not_taken_for_absent() {
    for (kind, api, spec, value) in ROWS {
        let whole = read("a.yaml", &document(kind, api, &spec.replace('@', value)));
        assert!(whole.problems.is_empty() && whole.documents.len() == 1, "{spec}: {whole:#?}");
        for nothing in ["", "null", "~"] {
            let found = read("a.yaml", &document(kind, api, &spec.replace('@', nothing)));
            assert!(found.documents.is_empty(), "{kind} {spec} with {nothing:?}");
            let [problem] = &found.problems[..] else { panic!("{:#?}", found.problems) };
            assert_eq!((problem.code.as_str(), problem.place.line), ("field.type", 4), "{spec}");
            assert!(problem.message.ends_with("and has no value"), "{}", problem.message);
            let help = problem.help.as_deref().unwrap_or_default();
            assert!(help.contains("or remove `"), "{spec}: {help}");
            // What closes instead is written without such fields, or it could not be read again.
            for text in found.stubs.iter().filter_map(Document::stand_in) {
                assert!(!text.contains("null"), "{text}");
                assert!(crate::parse("a.yaml", &text).1.is_empty(), "{text}");
            }
        }
    }
}

#[test]
fn at_a_cold_start_nothing_serves_without_the_protection_that_was_not_filled_in() {
    // The authority of clients: the gateway does not come up.
    let open = "kind: Gateway\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: edge, namespace: f }\n\
        spec: { listeners: [{ name: s, port: 1, protocol: HTTPS, tls: { certificate: c, key: k, clientCa: } }] }\n";
    assert!(cold(open).unwrap().plan.is_none());
    // The date of a key: nobody knows what is trusted.
    let (kind, api, spec, _) = ROWS[9];
    assert!(cold(&document(kind, api, &spec.replace('@', ""))).is_none());
    // A policy: what it was to guard is closed.
    let (kind, api, spec, _) = ROWS[12];
    let text = [MESH, ROUTE, "---\n", &document(kind, api, &spec.replace('@', ""))].concat();
    let stubs = read("mesh.yaml", &text).stubs;
    assert_eq!(stubs.len(), 1);
    // What an identity was for: nobody calls a service that cannot be used.
    let text = [MESH, ROUTE]
        .concat()
        .replace("endpoints: [{ address: 127.0.0.1:9000 }]", "identity: , endpoints: []");
    let plan = cold(&text).unwrap().plan.unwrap();
    assert!(plan.services.is_empty(), "{:#?}", plan.services);
}

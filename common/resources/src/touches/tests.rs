use super::*;
use crate::kinds::schemas;
use crate::parse;

/// The pointers of all fields of a schema that hold a value, not a list or a map of known fields.
fn leaves(schema: &Json, pointer: &str, found: &mut Vec<String>) {
    let alternatives = ["anyOf", "oneOf", "allOf"].iter().filter_map(|word| schema.get(word));
    let alternatives: Vec<&Json> = alternatives.filter_map(Json::as_array).flatten().collect();
    let properties = schema.get("properties").and_then(Json::as_object);
    let items = schema.get("items").filter(|items| items.is_object());
    let entries = schema.get("additionalProperties").filter(|entries| entries.is_object());
    for one in &alternatives {
        if one.get("type").and_then(Json::as_str) != Some("null") {
            leaves(one, pointer, found);
        }
    }
    for (name, property) in properties.into_iter().flatten() {
        leaves(property, &format!("{pointer}/{name}"), found);
    }
    if let Some(items) = items {
        leaves(items, &format!("{pointer}/*"), found);
    }
    if let Some(entries) = entries {
        leaves(entries, &format!("{pointer}/{{}}"), found);
    }
    let inner = !alternatives.is_empty()
        || properties.is_some_and(|properties| !properties.is_empty())
        || items.is_some()
        || entries.is_some();
    if !inner && !found.contains(&pointer.to_owned()) {
        found.push(pointer.to_owned());
    }
}

#[test]
fn every_field_of_every_kind_has_a_rule_that_says_what_it_names() {
    let (mut missing, mut idle, mut rules) = (Vec::new(), Vec::new(), 0);
    for (kind, schema) in schemas() {
        let mut found = Vec::new();
        leaves(&schema, "", &mut found);
        found.retain(|pointer| pointer != "/apiVersion" && pointer != "/kind");
        let known = names(kind).unwrap_or_default();
        rules += known.len();
        let has = |pointer: &String| known.iter().any(|(field, _)| field == pointer);
        missing.extend(found.iter().filter(|one| !has(one)).map(|one| format!("{kind} {one}")));
        let fields = known.iter().map(|(field, _)| field);
        idle.extend(fields.filter(|one| !found.contains(one)).map(|one| format!("{kind} {one}")));
    }
    assert!(missing.is_empty(), "say in touches.rs what these name: {missing:#?}");
    assert!(idle.is_empty(), "no kind has these any more: {idle:#?}");
    assert!(rules > 200, "{rules}");
}

#[test]
fn a_document_speaks_of_its_references_patterns_and_files() {
    let place = |kind: &str, key: &str| TouchTarget::Place { kind: kind.into(), key: key.into() };
    let rows: Vec<(&str, Vec<(&str, TouchTarget)>)> = vec![
        (
            "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: r, namespace: a }\nspec:\n  \
             parentRefs: [{ name: g, namespace: b }, { kind: Service, name: s }]\n  hostnames: [x.example]\n  rules:\n  \
             - backendRefs: [{ name: s, namespace: c, filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: m, namespace: d } } }] }]\n",
            vec![
                ("/spec/parentRefs/0/name", place("Gateway", "b/g")),
                ("/spec/parentRefs/1/name", place("Service", "a/s")),
                ("/spec/hostnames/0", TouchTarget::Host("x.example".into())),
                ("/spec/rules/0/backendRefs/0/name", place("Service", "c/s")),
                (
                    "/spec/rules/0/backendRefs/0/filters/0/requestMirror/backendRef/name",
                    place("Service", "d/m"),
                ),
            ],
        ),
        (
            "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: r, namespace: a }\nspec:\n  \
             targetRefs: [{ kind: Mesh }, { kind: HTTPRoute, name: r, sectionName: x }]\n  filter: b/f\n  phase: authn\n  order: 1\n  \
             config: { issuers: [{ jwks: { file: k.json } }, { jwks: { inline: {} } }] }\n",
            vec![
                ("/spec/targetRefs/0/kind", TouchTarget::Mesh),
                ("/spec/targetRefs/1/name", place("HTTPRoute", "a/r")),
                ("/spec/config/issuers/0/jwks/file", TouchTarget::File("k.json".into())),
            ],
        ),
        (
            "kind: TrustPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: t, namespace: a }\nspec:\n  \
             namespaces: ['*', b/f]\n  keys: [{ name: k, publicKeyFile: k.pub }]\n  threshold: 1\n  floorVersions: { c/f: 1.0.0 }\n",
            vec![
                ("/spec/namespaces/0", TouchTarget::Filters("*".into())),
                ("/spec/namespaces/1", TouchTarget::Filters("b/f".into())),
                ("/spec/keys/0/publicKeyFile", TouchTarget::File("k.pub".into())),
                ("/spec/floorVersions/c/f", TouchTarget::Filters("c/f".into())),
            ],
        ),
        (
            "kind: Service\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: s, namespace: a }\nspec:\n  \
             ports: [{ port: 80, protocol: http }]\n  identity: spiffe://x/s\n  endpoints: [{ address: '10.0.0.1:80' }]\n",
            vec![
                ("/spec/identity", TouchTarget::Identity("spiffe://x/s".into())),
                ("/spec/endpoints/0/address", TouchTarget::Socket("10.0.0.1:80".into())),
            ],
        ),
    ];
    for (text, touches) in rows {
        let (documents, problems) = parse("t", text);
        assert!(problems.is_empty(), "{problems:?}");
        let found: Vec<(String, TouchTarget)> =
            documents[0].touches().into_iter().map(|it| (it.pointer, it.what)).collect();
        let wanted: Vec<(String, TouchTarget)> =
            touches.into_iter().map(|(pointer, what)| (pointer.to_owned(), what)).collect();
        assert_eq!(found, wanted, "{text}");
    }
}

#[test]
fn the_files_of_a_document_are_those_of_every_field_that_names_one() {
    let tamis = |kind: &str, spec: &str| {
        format!(
            "kind: {kind}\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: x, namespace: a }}\nspec: {spec}\n"
        )
    };
    let to_service = "targetRefs: [{ kind: Service, name: s }]";
    let rows = [
        (
            tamis(
                "FilterAttachment",
                &format!(
                    "{{ {to_service}, filter: b/f, phase: authn, order: 1, config: {{ issuers: [{{ jwks: {{ file: k.json }} }}, \
                     {{ jwks: {{ file: j.json }} }}, {{ jwks: {{ file: k.json }} }}] }} }}"
                ),
            ),
            vec!["j.json", "k.json"],
        ),
        (
            tamis("AuthorizationPolicy", &format!("{{ {to_service}, cedar: {{ file: p.cedar }} }}")),
            vec!["p.cedar"],
        ),
        (
            tamis(
                "Gateway",
                "{ gatewayClassName: tamis, addresses: [{ value: 127.0.0.1 }], listeners: [{ name: a, port: 80, protocol: HTTP }], \
                 acme: { directory: 'https://a.example/d', termsOfServiceAgreed: true, ca: ca.pem } }",
            )
            .replace("tamis.dev/v1alpha1", "gateway.networking.k8s.io/v1"),
            vec!["ca.pem"],
        ),
        (
            tamis(
                "TrustPolicy",
                "{ namespaces: [a/f], keys: [{ name: k, publicKeyFile: k.pub }, { name: l, publicKeyFile: l.pub }], threshold: 1 }",
            ),
            vec!["k.pub", "l.pub"],
        ),
        (
            tamis(
                "BackendTLSPolicy",
                &format!(
                    "{{ {to_service}, validation: {{ hostname: h.example, caCertificateRefs: [{{ kind: File, name: b.pem }}, \
                     {{ kind: File, name: a.pem }}] }} }}"
                ),
            )
            .replace("tamis.dev/v1alpha1", "gateway.networking.k8s.io/v1"),
            vec!["a.pem", "b.pem"],
        ),
        (
            tamis(
                "ExternalService",
                "{ hosts: [a.example], ports: [{ port: 80, protocol: http, tls: { caCertificateRefs: [{ kind: File, name: b.pem }, \
                 { kind: File, name: a.pem }] } }] }",
            ),
            vec!["a.pem", "b.pem"],
        ),
        (
            tamis(
                "FederatedTrustDomain",
                "{ trustDomain: partner.example, bundleRef: { kind: File, name: p.json } }",
            ),
            vec!["p.json"],
        ),
        (tamis("UpstreamPolicy", &format!("{{ {to_service} }}")), vec![]),
    ];
    for (text, wanted) in &rows {
        let (documents, problems) = parse("t", text);
        assert!(problems.is_empty(), "{text}: {problems:?}");
        assert_eq!(&documents[0].files(), wanted, "{text}");
    }
    // A kind with a field of the sort has a row above.
    for (kind, _) in schemas() {
        let rules = names(kind).unwrap_or_default();
        let has = |one: &(String, FieldReferent)| {
            matches!(one.1, FieldReferent::File | FieldReferent::Configuration)
        };
        let kind = format!("kind: {kind}\n");
        assert!(
            !rules.iter().any(has) || rows.iter().any(|(text, _)| text.starts_with(&kind)),
            "write a row with a file of {kind}"
        );
    }
}

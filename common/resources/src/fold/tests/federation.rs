//! Other trust domains: what is recognised, by whom, and what is not.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};

use super::*;

fn root(domain: &str) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let name = format!("spiffe://{domain}");
    params.subject_alt_names = vec![SanType::URI(name.as_str().try_into().unwrap())];
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn federated(name: &str, spec: &serde_json::Value) -> String {
    let metadata = json!({ "name": name, "namespace": "security" });
    let document = json!({
        "kind": "FederatedTrustDomain", "apiVersion": "tamis.dev/v1alpha1", "metadata": metadata,
        "spec": spec,
    });
    format!("\n---\n{document}\n")
}

fn partner(pem: &str) -> String {
    federated("partner", &json!({ "trustDomain": "partner.example", "bundle": pem }))
}

/// A service of `shop.example` with a policy for everybody, and what enforces it.
fn shop(more: &str) -> String {
    let pin = json!({ "service": "*", "filter": "tamis/authz", "version": "0.1.0", "digest": format!("sha256:{}", "0".repeat(64)) });
    let lock =
        json!({ "apiVersion": "tamis.dev/v1alpha1", "kind": "FiltersLock", "filters": [pin] });
    format!(
        "\n---\n{{ kind: Service, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: pay, namespace: shop }}, spec: {{ \
         identity: \"spiffe://shop.example/ns/shop/service/pay\", ports: [{{ port: 80, protocol: http }}], endpoints: [{{ address: \
         \"10.0.0.1:8080\", sidecar: \"10.0.0.1:15006\", outbound: \"127.0.0.1:15002\" }}]{more} }} }}\n\
         ---\n{{ kind: AuthorizationPolicy, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: pay, namespace: shop }}, spec: {{ \
         targetRefs: [{{ kind: Service, name: pay }}], allow: [{{ identities: [\"*\"] }}] }} }}\n\
         ---\n{{ kind: FilterAttachment, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: authz, namespace: shop }}, spec: {{ \
         targetRefs: [{{ kind: Service, name: pay }}], filter: tamis/authz, phase: authz, order: 1 }} }}\n\
         ---\n{{ kind: Filter, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: authz, namespace: tamis }}, spec: {{ \
         world: authorizer, receives: AuthorizationPolicy }} }}\n---\n{lock}\n"
    )
}

const PAY: &str = "sidecar:shop/pay/0";

fn home(plan: &NodePlan) -> Option<&str> {
    let filter = plan.filters.iter().find(|one| one.filter == "tamis/authz").unwrap();
    filter.config.get("home").and_then(serde_json::Value::as_str)
}

#[test]
fn a_proxy_recognises_the_domains_that_documents_federate_and_rules_for_everybody_stay_at_home() {
    let alone = folded(&shop(""), PAY).plan.unwrap();
    assert!(alone.federated.is_empty());
    assert_eq!(home(&alone), None);
    let pem = root("partner.example");
    let both = folded(&(shop("") + &partner(&pem)), PAY);
    assert!(
        !codes(&both.problems).iter().any(|code| code.starts_with("federation")),
        "{:#?}",
        both.problems
    );
    let plan = both.plan.unwrap();
    let known: Vec<&str> = plan.federated.keys().map(String::as_str).collect();
    assert_eq!(known, ["partner.example"]);
    assert!(plan.federated["partner.example"].contains("BEGIN CERTIFICATE"));
    assert_eq!(home(&plan), Some("shop.example"));
    // A proxy with files recognises whom its file names.
    let files = shop(", tls: { certificate: a.crt, key: a.key, ca: ca.crt }") + &partner(&pem);
    assert_eq!(home(&folded(&files, PAY).plan.unwrap()), None);
}

#[test]
fn what_cannot_be_recognised_is_named_and_lets_nobody_in() {
    let pem = root("partner.example");
    let with = |spec: serde_json::Value| federated("partner", &spec);
    let rows = [
        ("no bundle", with(json!({ "trustDomain": "partner.example" })), "federation.bundle"),
        (
            "two bundles",
            with(
                json!({ "trustDomain": "partner.example", "bundle": pem, "bundleRef": { "kind": "File", "name": "x" } }),
            ),
            "federation.bundle",
        ),
        (
            "no such file",
            with(
                json!({ "trustDomain": "partner.example", "bundleRef": { "kind": "File", "name": "x" } }),
            ),
            "federation.bundle",
        ),
        (
            "a file of another kind",
            with(
                json!({ "trustDomain": "partner.example", "bundleRef": { "kind": "File", "name": ".tamis/jwks.json" } }),
            ),
            "federation.bundle",
        ),
        (
            "of another domain",
            with(json!({ "trustDomain": "partner.example", "bundle": root("other.example") })),
            "federation.bundle",
        ),
        (
            "two documents",
            partner(&pem)
                + &federated("again", &json!({ "trustDomain": "partner.example", "bundle": pem })),
            "federation.conflict",
        ),
        (
            "its own",
            with(json!({ "trustDomain": "shop.example", "bundle": root("shop.example") })),
            "federation.own",
        ),
    ];
    for (what, text, code) in rows {
        let folded = folded(&(shop("") + &text), PAY);
        let found = folded.problems.iter().find(|one| one.code == code);
        assert!(found.is_some(), "{what}: {:#?}", folded.problems);
        if code != "federation.conflict" {
            assert!(found.is_some_and(|one| one.help.is_some()), "{what}");
        }
        assert!(folded.plan.unwrap().federated.is_empty(), "{what}");
    }
}

#[test]
fn only_security_says_whom_the_mesh_recognises() {
    let text = shop("") + &partner(&root("partner.example"));
    let documents = documents(&text);
    let node = PAY.parse().unwrap();
    for (security, known) in [(["security".to_owned()], 1), (["other".to_owned()], 0)] {
        let folded = crate::fold_under(&documents, &node, &files, Security::Namespaces(&security));
        assert_eq!(folded.plan.unwrap().federated.len(), known, "{security:?}");
        let refused = folded.problems.iter().any(|one| one.code == "federation.beyond");
        assert_eq!(refused, known == 0, "{security:?}");
    }
}

#[test]
fn a_host_that_proves_an_id_of_another_domain_is_shown_the_svid_and_nothing_else_is_sent() {
    let external = |tls: &str| {
        format!(
            "\n---\n{{ kind: ExternalService, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: partner, namespace: shop }}, spec: {{ \
             hosts: [pay.partner.example], addresses: [\"10.9.0.1\"], ports: [{{ port: 80, protocol: http, tls: {{ port: 15006, {tls} }} }}] }} }}\n"
        )
    };
    const ID: &str = "identity: \"spiffe://partner.example/ns/pay/service/pay\"";
    let bundle = partner(&root("partner.example"));
    let endpoints = |text: &str| {
        let folded = folded(text, PAY);
        let found = codes(&folded.problems).contains(&"external.identity");
        let plan = folded.plan.unwrap();
        let service = plan.services.iter().find(|one| one.name.starts_with("external/")).unwrap();
        (service.endpoints.clone(), found)
    };
    let (found, wrong) = endpoints(&(shop("") + &bundle + &external(ID)));
    assert!(!wrong);
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(one.address, AddressPlan::Tcp("10.9.0.1:15006".into()));
    let Some(UpstreamTlsPlan::Member(tls)) = &one.tls else { panic!("{one:?}") };
    assert_eq!(tls.expect_identity, "spiffe://partner.example/ns/pay/service/pay");
    assert_eq!((&tls.files, tls.server_name.as_str()), (&None, "pay.partner.example"));
    for (what, text) in [
        ("not federated", shop("") + &external(ID)),
        (
            "its own",
            shop("")
                + &bundle
                + &external("identity: \"spiffe://shop.example/ns/shop/service/pay\""),
        ),
        (
            "names, too",
            shop("")
                + &bundle
                + &external(&format!(
                    "{ID}, subjectAltNames: [{{ type: Hostname, hostname: a.example }}]"
                )),
        ),
        (
            "authorities, too",
            shop("")
                + &bundle
                + &external(&format!("{ID}, caCertificateRefs: [{{ kind: File, name: x }}]")),
        ),
    ] {
        assert_eq!(endpoints(&text), (Vec::new(), true), "{what}");
    }
    let files =
        shop(", tls: { certificate: a.crt, key: a.key, ca: ca.crt }") + &bundle + &external(ID);
    assert!(endpoints(&files).0.is_empty(), "without an SVID nothing is sent");
}

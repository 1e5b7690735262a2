//! Servers outside of the mesh: who may reach them, under which names and addresses, and mistakes.

use super::*;
use crate::plan::{CapturedPlan, EndpointPlan, ServerNamePlan, ServerTlsPlan};

fn external(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "\n---\n{{ kind: ExternalService, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: {name}, namespace: {namespace} }}, \
         spec: {{ {spec} }} }}\n"
    )
}

fn caller(namespace: &str) -> String {
    format!(
        "\n---\n{{ kind: Service, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: web, namespace: {namespace} }}, spec: {{ \
         identity: \"spiffe://m/ns/{namespace}/service/web\", ports: [{{ port: 80, protocol: http }}], endpoints: [{{ address: \
         \"10.0.0.1:8080\", sidecar: \"10.0.0.1:15006\", outbound: \"127.0.0.1:15002\", capture: {{ outbound: \
         [\"127.0.0.1:15001\"], dns: [\"127.0.0.1:15053\"] }} }}] }} }}\n"
    )
}

const API: &str = "hosts: [API.shop.example], ports: [{ port: 80, protocol: http }, { port: 443, protocol: tcp }]";
const MAIL: &str = "hosts: [mail.shop.example], ports: [{ port: 25, protocol: tcp }], addresses: [\"192.0.2.9\", \"2001:db8::9\"]";

fn captured<'a>(plan: &'a NodePlan, name: &str) -> &'a CapturedPlan {
    let listener = plan.listeners.iter().find(|one| one.name == name).unwrap();
    listener.captured.as_ref().unwrap()
}

#[test]
fn applications_of_its_namespace_alone_reach_a_server_outside() {
    let text = caller("data") + &external("data", "api", API) + &external("data", "mail", MAIL);
    let folded_data = folded(&text, "sidecar:data/web/0");
    assert_eq!(codes(&folded_data.problems), Vec::<&str>::new());
    let plan = folded_data.plan.unwrap();
    let names = &plan.dns.as_ref().unwrap().names;
    let api = &names["api.shop.example"];
    let mail = &names["mail.shop.example"];
    let of = |name: &str| -> Vec<(&str, Option<&str>)> {
        let all = captured(&plan, name).destinations.iter();
        all.map(|one| (one.address.as_str(), one.host.as_deref())).collect()
    };
    let requests = (&*format!("{api}:80"), Some("api.shop.example"));
    assert!(of("captured").contains(&requests), "{:?}", of("captured"));
    assert_eq!(of("captured:api.shop.example:443"), [(&*format!("{api}:443"), None)]);
    let by_address = [("192.0.2.9:25", None), (&*format!("{mail}:25"), None)];
    assert_eq!(of("captured:mail.shop.example:25"), by_address);
    let service = |name: &str| plan.services.iter().find(|one| one.name == name).unwrap();
    let at = |address| EndpointPlan { address, weight: 1, tls: None };
    let resolved = service("external/api.shop.example:443");
    assert_eq!(resolved.protocol, ProtocolPlan::Tcp { port: 443 });
    assert_eq!(resolved.endpoints, [at(AddressPlan::Dns("api.shop.example:443".into()))]);
    assert_eq!(service("external/api.shop.example:80").protocol, ProtocolPlan::Http1);
    let known = ["192.0.2.9:25", "[2001:db8::9]:25"].map(|text| at(AddressPlan::Tcp(text.into())));
    assert_eq!(service("external/mail.shop.example:25").endpoints, known);

    let other = caller("other") + &external("data", "api", API);
    let plan = folded(&other, "sidecar:other/web/0").plan.unwrap();
    assert!(!plan.dns.unwrap().names.contains_key("api.shop.example"));
    assert!(plan.services.iter().all(|one| !one.name.starts_with("external/")));
    assert!(plan.listeners.iter().all(|one| !one.name.contains("api.shop.example")));
}

#[test]
fn what_is_no_server_outside_is_named_and_leads_nowhere() {
    let tcp = "ports: [{ port: 25, protocol: tcp }]";
    for (spec, code, says) in [
        (format!("hosts: [pay.shop.mesh], {tcp}"), "external.invalid", "ends with `.mesh`"),
        (format!("hosts: [mesh], {tcp}"), "external.invalid", "`.mesh`"),
        (format!("hosts: [\"*.shop.example\"], {tcp}"), "external.invalid", "a pattern"),
        (format!("hosts: [a.localhost], {tcp}"), "external.invalid", "this machine"),
        (format!("hosts: [\"192.0.2.1\"], {tcp}"), "external.invalid", "not a host"),
        (
            format!("hosts: [a.example], {tcp}, addresses: [\"127.0.0.1\"]"),
            "external.invalid",
            "another machine",
        ),
        (
            format!("hosts: [a.example], {tcp}, addresses: [\"169.254.169.254\"]"),
            "external.invalid",
            "another machine",
        ),
        (format!("hosts: [a.example], {tcp}, addresses: [x]"), "external.invalid", "`x`"),
        (
            "hosts: [a.example], ports: [{ port: 80, protocol: http }, { port: 81, protocol: grpc }]"
                .to_owned(),
            "external.invalid",
            "only one port",
        ),
    ] {
        let text = caller("data") + &external("data", "wrong", &spec);
        let folded = folded(&text, "sidecar:data/web/0");
        let found = folded.problems.iter().find(|one| one.code == code && one.message.contains(says));
        assert!(found.is_some_and(|one| one.help.is_some()), "{spec}: {:#?}", folded.problems);
        let plan = folded.plan.unwrap();
        let wrong = |name: &str| name.ends_with(".mesh") && !name.ends_with("web.data.mesh");
        let names = plan.dns.unwrap().names;
        assert!(!names.keys().any(|name| wrong(name) || name.contains('*')), "{spec}: {names:?}");
        let leads = |address: &AddressPlan| match address {
            AddressPlan::Tcp(text) => text.starts_with("127.") || text.starts_with("169.254."),
            AddressPlan::Unix(_) | AddressPlan::Dns(_) => false,
        };
        let external = plan.services.iter().filter(|one| one.name.starts_with("external/"));
        assert!(external.flat_map(|one| &one.endpoints).all(|one| !leads(&one.address)), "{spec}");
    }
}

#[test]
fn two_documents_of_a_namespace_for_one_port_are_reported_and_of_two_namespaces_are_not() {
    let two = |first: &str, second: &str| {
        caller("data") + &external(first, "one", MAIL) + &external(second, "two", MAIL)
    };
    let same = folded(&two("data", "data"), "sidecar:data/web/0");
    assert_eq!(codes(&same.problems), ["external.conflict", "external.conflict"]);
    let apart = folded(&two("data", "other"), "sidecar:data/web/0");
    assert_eq!(codes(&apart.problems), Vec::<&str>::new());
}

#[test]
fn requests_to_a_host_go_to_the_one_port_that_documents_agree_on_or_to_none() {
    let clear = "hosts: [A.example], ports: [{ port: 80, protocol: http }]";
    let other = "hosts: [b.example, a.example], ports: [{ port: 81, protocol: http2 }, { port: 25, protocol: tcp }]";
    let tls = "hosts: [a.example], ports: [{ port: 80, protocol: http, tls: {} }]";
    let elsewhere = "hosts: [a.example], ports: [{ port: 90, protocol: grpc, tls: {} }]";
    let both = "hosts: [a.example], ports: [{ port: 80, protocol: http }, { port: 90, protocol: http, tls: {} }]";
    let tcp =
        "hosts: [a.example], ports: [{ port: 80, protocol: tcp }, { port: 25, protocol: tcp }]";
    for (specs, code, count, left) in [
        (&[clear, tls][..], "external.conflict", 2, &[][..]),
        (&[clear, elsewhere], "external.conflict", 2, &[]),
        (&[tls, other], "external.conflict", 2, &["a.example:25", "b.example:25", "b.example:81"]),
        (&[both], "external.invalid", 1, &[]),
        (&[both, tls], "external.invalid", 1, &["a.example:80"]),
        (&[clear, tcp], "external.conflict", 2, &["a.example:25"]),
        (
            &[tls, "hosts: [a.example], ports: [{ port: 25, protocol: tcp }]"],
            "",
            0,
            &["a.example:25", "a.example:80"],
        ),
    ] {
        let documents =
            specs.iter().enumerate().map(|(at, spec)| external("data", &format!("e{at}"), spec));
        let text = caller("data") + &documents.collect::<String>();
        let folded = folded(&text, "sidecar:data/web/0");
        assert_eq!(codes(&folded.problems), vec![code; count], "{specs:?}");
        let plan = folded.plan.unwrap();
        let names = plan.services.iter().filter_map(|one| one.name.strip_prefix("external/"));
        let names: std::collections::BTreeSet<_> = names.collect();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), left, "{specs:?}");
    }
}

const PEM: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

fn read(path: &str) -> Result<Vec<u8>, String> {
    match path {
        "ca.pem" => Ok(PEM.into()),
        "text" => Ok(b"no certificate".to_vec()),
        _ => Err("there is no such file".to_owned()),
    }
}

/// How the sidecar reaches port 80 of `a.example`, and the problems.
fn over_tls(port: &str, more: &str) -> (Vec<EndpointPlan>, Vec<Problem>) {
    let spec = format!("hosts: [A.example], ports: [{{ port: 80, {port} }}]{more}");
    let text = caller("data") + &external("data", "a", &spec);
    let folded = fold(&documents(&text), &"sidecar:data/web/0".parse().unwrap(), &read);
    let mut services = folded.plan.unwrap().services.into_iter();
    let service = services.find(|one| one.name == "external/a.example:80").unwrap();
    (service.endpoints.clone(), folded.problems)
}

#[test]
fn a_host_outside_is_reached_over_tls_for_applications_that_speak_none() {
    let dns = |port: u16| AddressPlan::Dns(format!("a.example:{port}"));
    let server = |hostname: &str, names: Vec<ServerNamePlan>, authorities: Option<&str>| {
        let (hostname, authorities) = (hostname.to_owned(), authorities.map(str::to_owned));
        UpstreamTlsPlan::Server(ServerTlsPlan { hostname, names, authorities })
    };
    let system = || server("a.example", Vec::new(), None);
    let file = "caCertificateRefs: [{ kind: File, name: ca.pem }]";
    let uri = "subjectAltNames: [{ type: URI, uri: \"spiffe://o/x\" }]";
    let by_uri = vec![ServerNamePlan::Uri("spiffe://o/x".into())];
    let known = ", addresses: [\"192.0.2.9\"]";
    for (port, more, address, tls) in [
        ("protocol: http".to_owned(), "", dns(80), None),
        ("protocol: http, tls: {}".to_owned(), "", dns(443), Some(system())),
        ("protocol: http2, tls: {}".to_owned(), "", dns(443), Some(system())),
        ("protocol: grpc, tls: { port: 8443 }".to_owned(), "", dns(8443), Some(system())),
        (
            format!("protocol: http, tls: {{ {file} }}"),
            "",
            dns(443),
            Some(server("a.example", Vec::new(), Some(PEM))),
        ),
        (
            format!("protocol: http, tls: {{ hostname: b.example, {uri} }}"),
            "",
            dns(443),
            Some(server("b.example", by_uri, None)),
        ),
        (
            "protocol: http, tls: {}".to_owned(),
            known,
            AddressPlan::Tcp("192.0.2.9:443".into()),
            Some(system()),
        ),
    ] {
        let (endpoints, problems) = over_tls(&port, more);
        assert_eq!(codes(&problems), Vec::<&str>::new(), "{port}");
        assert_eq!(endpoints, [EndpointPlan { address, weight: 1, tls }], "{port}");
    }
}

#[test]
fn a_host_whose_certificate_cannot_be_checked_is_not_reached() {
    for (port, code, says) in [
        (
            "protocol: http, tls: { caCertificateRefs: [{ kind: File, name: none.pem }] }",
            "backend-tls.authority",
            "none.pem",
        ),
        (
            "protocol: http, tls: { caCertificateRefs: [{ kind: File, name: ca.pem }, { kind: File, name: text }] }",
            "backend-tls.authority",
            "text",
        ),
        (
            "protocol: http, tls: { subjectAltNames: [{ type: URI, hostname: a.example }] }",
            "backend-tls.name",
            "`uri` with type URI",
        ),
        ("protocol: tcp, tls: {}", "external.invalid", "the application itself speaks TLS"),
    ] {
        let (endpoints, problems) = over_tls(port, "");
        assert_eq!(codes(&problems), [code], "{port}");
        assert!(problems[0].message.contains(says), "{port}: {problems:?}");
        assert_eq!(endpoints, [], "{port}");
    }
}

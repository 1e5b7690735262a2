//! `acme` of a gateway: what is ordered for which host, and mistakes, each of which leaves certificates in use as they are.

use super::*;
use crate::plan::AcmeChallenge;

const NODE: &str = "gateway:f/edge";
const ACME: &str = "directory: \"https://acme.example/dir\", termsOfServiceAgreed: true";
const HTTP: &str = "{ name: http, port: 80, protocol: HTTP }";

fn gateway(acme: &str, listeners: &str) -> String {
    let acme = if acme.is_empty() { String::new() } else { format!("acme: {{ {acme} }}, ") };
    format!(
        "{{ kind: Gateway, apiVersion: gateway.networking.k8s.io/v1, metadata: {{ name: edge, namespace: f }}, \
         spec: {{ {acme}listeners: [{listeners}] }} }}\n"
    )
}

fn https(name: &str, port: u16, host: &str, way: &str) -> String {
    format!(
        "{{ name: {name}, port: {port}, protocol: HTTPS, hostname: {host}, tls: {{ acme: {way} }} }}"
    )
}

#[test]
fn each_host_is_ordered_once_and_its_listeners_await_its_certificate() {
    let listeners = [
        HTTP.to_owned(),
        https("a", 443, "a.example", "http-01"),
        https("again", 444, "a.example", "http-01"),
        https("b", 443, "b.example", "tls-alpn-01"),
        "{ name: tls, port: 445, protocol: TLS, hostname: c.example, tls: { acme: tls-alpn-01, clientCa: ca.crt } }".to_owned(),
        "{ name: own, port: 443, protocol: HTTPS, hostname: d.example, tls: { certificate: d.crt, key: d.key } }".to_owned(),
    ];
    let text = gateway(&format!("{ACME}, contact: [ops@example.com]"), &listeners.join(", "));
    let folded = folded(&text, NODE);
    assert_eq!(codes(&folded.problems), Vec::<&str>::new(), "{:#?}", folded.problems);
    let plan = folded.plan.unwrap();
    let acme = plan.acme.as_ref().unwrap();
    let (http, tls) = (AcmeChallenge::Http01, AcmeChallenge::TlsAlpn01);
    let hosts: Vec<_> = acme.hosts.iter().map(|(host, way)| (host.as_str(), *way)).collect();
    assert_eq!(hosts, [("a.example", http), ("b.example", tls), ("c.example", tls)]);
    assert_eq!(acme.directory, "https://acme.example/dir");
    assert_eq!(
        (acme.contact.as_slice(), &acme.authorities),
        (&["ops@example.com".to_owned()][..], &None)
    );
    let awaited: Vec<_> = plan
        .listeners
        .iter()
        .filter_map(|one| match &one.tls {
            Some(TlsPlan::Acme(acme)) => {
                Some((one.name.as_str(), acme.host.as_str(), acme.client_ca.as_deref()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        awaited,
        [
            ("a", "a.example", None),
            ("again", "a.example", None),
            ("b", "b.example", None),
            ("tls", "c.example", Some("ca.crt")),
        ]
    );
    let text = serde_json::to_value(&plan).unwrap();
    let read: NodePlan = serde_json::from_value(text).unwrap();
    assert_eq!(read, plan, "a plan is read as it was written");
}

#[test]
fn a_listener_that_nothing_can_be_ordered_for_does_not_listen() {
    let long = format!("{}.example", "a.".repeat(100).trim_end_matches('.'));
    let of = |host: &str, way: &str| https("a", 443, host, way);
    let with = |more: &str| of("a.example", &format!("http-01, {more}"));
    for (acme, listener, says) in [
        ("", of("a.example", "tls-alpn-01"), "`acme` needs `spec.acme`"),
        (ACME, of("\"*.example\"", "tls-alpn-01"), "`acme` needs one host"),
        (ACME, of("localhost", "tls-alpn-01"), "the name of a host in DNS"),
        (ACME, of("10.0.0.1", "tls-alpn-01"), "the name of a host in DNS"),
        (ACME, of(&long, "tls-alpn-01"), "at most 200 characters"),
        (ACME, of("a.example", "http-01"), "http-01 needs a listener"),
        (ACME, with("certificate: a.crt, key: a.key"), "remove `certificate` and `key`"),
        (ACME, with("mode: Passthrough"), "needs a listener"),
        (
            ACME,
            "{ name: a, port: 443, protocol: HTTPS, tls: { acme: tls-alpn-01 } }".to_owned(),
            "`acme` needs a `hostname`",
        ),
        (
            ACME,
            "{ name: a, port: 443, protocol: TLS, hostname: a.b, tls: { mode: Passthrough, acme: tls-alpn-01 } }".to_owned(),
            "have no use here",
        ),
    ] {
        let folded = folded(&gateway(acme, &listener), NODE);
        let [problem] = &folded.problems[..] else { panic!("{listener}: {:#?}", folded.problems) };
        assert_eq!(problem.code, "gateway.listener", "{listener}");
        assert!(problem.message.contains(says), "{listener}: {}", problem.message);
        let plan = folded.plan.unwrap();
        assert!(plan.listeners.is_empty() && plan.acme.is_none(), "{listener}");
    }
    for (http, answers) in [
        (HTTP, true),
        ("{ name: http, port: 80, protocol: HTTP, hostname: a.example }", true),
        ("{ name: http, port: 80, protocol: HTTP, hostname: \"*.example\" }", true),
        ("{ name: http, port: 80, protocol: HTTP, hostname: b.example }", false),
        ("{ name: http, port: 80, protocol: HTTP, hostname: \"*.a.example\" }", false),
    ] {
        let text = gateway(ACME, &format!("{http}, {}", of("a.example", "http-01")));
        assert_eq!(folded(&text, NODE).problems.is_empty(), answers, "{http}");
    }
}

#[test]
fn settings_with_which_no_order_can_be_placed_leave_listeners_with_what_they_have() {
    let listener = https("a", 443, "a.example", "tls-alpn-01");
    for (acme, code, says) in [
        (ACME.replace("true", "false"), "gateway.acme", "before you agree to the terms"),
        (format!("{ACME}, contact: [\"ops\"]"), "gateway.acme", "`ops` is not an email address"),
        (format!("{ACME}, contact: [\"a@b.c?cc=d@e.f\"]"), "gateway.acme", "not an email address"),
        (format!("{ACME}, contact: [\"mailto:a@b.c\"]"), "gateway.acme", "not an email address"),
        (
            format!("{ACME}, ca: gone.pem"),
            "gateway.acme",
            "no certificates can be read from gone.pem",
        ),
    ] {
        let folded = folded(&gateway(&acme, &listener), NODE);
        assert_eq!(codes(&folded.problems), [code], "{acme}: {:#?}", folded.problems);
        assert!(folded.problems[0].message.contains(says), "{}", folded.problems[0].message);
        assert!(folded.problems[0].help.as_ref().unwrap().contains("in use stay"));
        let plan = folded.plan.unwrap();
        assert_eq!((plan.listeners.len(), &plan.acme), (1, &None), "{acme}");
    }
    let both = [listener, HTTP.to_owned(), https("b", 444, "a.example", "http-01")].join(", ");
    let folded = folded(&gateway(ACME, &both), NODE);
    assert_eq!(codes(&folded.problems), ["gateway.acme"], "{:#?}", folded.problems);
    assert!(folded.problems[0].message.contains("the host a.example and tls-alpn-01"));
    let acme = folded.plan.unwrap().acme.unwrap();
    assert_eq!(acme.hosts["a.example"], AcmeChallenge::TlsAlpn01);
}

#[test]
fn a_directory_that_is_no_url_and_a_challenge_that_is_none_are_named_at_their_place() {
    for (text, says) in [
        (
            gateway("directory: \"http://acme.example\", termsOfServiceAgreed: true", HTTP),
            "URL of a directory",
        ),
        (gateway("directory: \"https://acme.example/dir\"", HTTP), "termsOfServiceAgreed"),
        (gateway(ACME, &https("a", 443, "a.example", "dns-01")), "dns-01"),
        (gateway(&format!("{ACME}, email: a@b.c"), HTTP), "email"),
    ] {
        let (_, problems) = parse("a.yaml", &text);
        let told = format!("{problems:?}");
        assert!(problems.len() == 1 && told.contains(says), "{told}");
    }
}

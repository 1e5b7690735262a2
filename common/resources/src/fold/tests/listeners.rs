//! Several listeners of a gateway on one port.

use super::{codes, documents};
use crate::plan::ListenerPlan;
use crate::{FoldResult, fold, parse};

/// A gateway with these listeners, one on each line.
fn gateway(listeners: &[&str]) -> String {
    let lines: String = listeners.iter().map(|one| format!("    - {{ {one} }}\n")).collect();
    format!(
        "kind: Gateway\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: edge, namespace: f }}\n\
         spec:\n  listeners:\n{lines}"
    )
}

fn folded(text: &str) -> FoldResult {
    fold(&documents(text), &"gateway:f/edge".parse().unwrap(), &|_| Ok(Vec::new()))
}

/// An HTTPS listener of port 443.
fn https(name: &str, more: &str) -> String {
    format!(
        "name: {name}, port: 443, protocol: HTTPS, tls: {{ certificate: {name}.crt, key: {name}.key }}{more}"
    )
}

#[test]
fn of_two_listeners_that_exclude_each_other_the_first_listens_and_both_places_are_named() {
    let plain = |name: &str, more: &str| format!("name: {name}, port: 443, protocol: HTTP{more}");
    let proxy = ", proxyProtocol: { trusted: [10.0.0.7] }";
    for (what, first, second, places) in [
        ("a name", https("a", ""), "name: a, port: 80, protocol: HTTP".to_owned(), ("a", "a")),
        ("the protocol", https("a", ""), plain("b", ""), ("HTTPS", "HTTP")),
        ("the protocol, the other way", plain("a", ""), https("b", ""), ("HTTP", "HTTPS")),
        ("no hostname in clear text", plain("a", ""), plain("b", ""), ("443", "443")),
        (
            "a hostname in clear text",
            plain("a", ", hostname: a.b"),
            plain("b", ", hostname: a.b"),
            ("a.b", "a.b"),
        ),
        (
            "the PROXY header in clear text",
            plain("a", ", hostname: a.b"),
            plain("b", proxy),
            ("443", "443"),
        ),
        ("no hostname", https("a", ""), https("b", ""), ("443", "443")),
        (
            "a hostname",
            https("a", ", hostname: a.b"),
            https("b", ", hostname: a.b"),
            ("a.b", "a.b"),
        ),
        (
            "a wildcard",
            https("a", ", hostname: \"*.b\""),
            https("b", ", hostname: '*.b'"),
            ("\"*.b\"", "'*.b'"),
        ),
        (
            "the PROXY header",
            https("a", ", hostname: a.b"),
            https("b", &format!(", hostname: c.d{proxy}")),
            ("443", "443"),
        ),
    ] {
        let text = gateway(&[&first, &second]);
        let folded = folded(&text);
        assert_eq!(codes(&folded.problems), ["gateway.conflict"], "{what}");
        let problem = &folded.problems[0];
        let words = |start: usize, end: usize| text[start..end].trim().to_owned();
        let also = &problem.also[0];
        let named = (words(also.start, also.end), words(problem.place.start, problem.place.end));
        assert_eq!(named, (places.0.to_owned(), places.1.to_owned()), "{what}");
        assert!(also.start < problem.place.start && problem.help.is_some(), "{what}");
        let listeners = folded.plan.unwrap().listeners;
        let names: Vec<&str> = listeners.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["a"], "{what}");
    }
}

#[test]
fn each_listener_of_a_port_knows_which_of_its_hosts_are_elsewhere() {
    for protocol in ["HTTPS", "HTTP"] {
        are_known_elsewhere(protocol);
    }
}

fn are_known_elsewhere(protocol: &str) {
    let https = |name: &str, more: &str| match protocol {
        "HTTPS" => https(name, more),
        _ => format!("name: {name}, port: 443, protocol: HTTP{more}"),
    };
    let hosts = [
        ("exact", ", hostname: a.shop.example", &[][..]),
        ("deep", ", hostname: x.b.shop.example", &[]),
        ("long", ", hostname: '*.b.shop.example'", &["x.b.shop.example"]),
        (
            "short",
            ", hostname: '*.shop.example'",
            &["*.b.shop.example", "a.shop.example", "x.b.shop.example"],
        ),
        (
            "all",
            "",
            &[
                "*.b.shop.example",
                "*.shop.example",
                "a.shop.example",
                "shop.example",
                "x.b.shop.example",
            ],
        ),
        // It does not listen, and its hosts are not those of `all`.
        ("none", ", hostname: shop.example, clientAddress: { hops: 1, trusted: [lb] }", &[]),
    ];
    let lines: Vec<String> = hosts.iter().map(|(name, more, _)| https(name, more)).collect();
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let other = "name: other, port: 444, protocol: HTTPS, hostname: q.shop.example, tls: { certificate: a, key: b }";
    lines.push(other);
    let folded = folded(&gateway(&lines));
    assert_eq!(codes(&folded.problems), ["gateway.client-address"]);
    let listeners = folded.plan.unwrap().listeners;
    let find = |name: &str| listeners.iter().find(|one: &&ListenerPlan| one.name == name);
    assert!(find("none").is_none());
    for (name, _, elsewhere) in &hosts[..5] {
        assert_eq!(find(name).unwrap().rules.elsewhere, *elsewhere, "{name}");
    }
    assert!(find("other").unwrap().rules.elsewhere.is_empty());
}

#[test]
fn a_gateway_has_at_most_64_listeners() {
    let lines = |count: usize| -> String {
        let one = |at: usize| https(&format!("a{at}"), &format!(", hostname: a{at}.example"));
        let all: Vec<String> = (0..count).map(one).collect();
        gateway(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let full = folded(&lines(64));
    assert_eq!(codes(&full.problems), [""; 0]);
    assert_eq!(full.plan.unwrap().listeners.len(), 64);
    let (_, problems) = parse("shop.yaml", &lines(65));
    assert!(problems.iter().any(|one| one.message.contains("64")), "{problems:#?}");
}

//! `UDPRoute` at the listeners of a gateway: what the Gateway API's text says that one must do, and mistakes, each of which
//! leaves its datagrams without a backend.

use super::streams::{EDGE, NODE, document, gateway, listener, route};
use super::*;
use crate::plan::{StreamBackendPlan, TcpPlan};

const DNS: &str = "name: dns, port: 53, protocol: UDP";

/// One service whose port 53 is of both protocols, one with two udp ports, one with a sidecar, and one elsewhere.
fn services() -> String {
    let dns = "ports: [{ port: 53, protocol: tcp }, { port: 53, protocol: udp }, { port: 80, protocol: http }], \
        endpoints: [{ address: \"10.0.0.1:5353\", weight: 2 }, { address: \"dns.example:53\" }]";
    let two = "ports: [{ port: 67, protocol: udp }, { port: 69, protocol: udp }], \
        endpoints: [{ address: \"10.0.0.1:67\", ports: [{ port: 69, address: \"10.0.0.2:6969\" }] }]";
    let one = "ports: [{ port: 123, protocol: udp }], endpoints: [{ address: \"10.0.0.1:123\" }]";
    let meshed = "identity: \"spiffe://shop.example/ns/f/service/db\", ports: [{ port: 5432, protocol: tcp }], \
        endpoints: [{ address: \"127.0.0.1:7010\", sidecar: \"127.0.0.1:7011\" }]";
    document("Service", "dns", dns)
        + &document("Service", "two", two)
        + &document("Service", "db", meshed)
        + &document("Service", "ntp", one)
        + &document("Service", "g/far", one)
}

/// The text at the place of a problem.
fn at<'a>(text: &'a str, problem: &Problem) -> &'a str {
    text.get(problem.place.start..problem.place.end).unwrap()
}

/// The backends of a listener with their weights.
fn backends(plan: &NodePlan, name: &str) -> Vec<String> {
    let TcpPlan { datagrams, routed, .. } = listener(plan, name).tcp.as_ref().unwrap();
    assert!(routed.is_none(), "an older proxy refuses what comes");
    let text = |one: &StreamBackendPlan| format!("{}*{}", one.service, one.weight);
    datagrams.as_ref().unwrap().routes.iter().flat_map(|one| &one.backends).map(text).collect()
}

#[test]
fn a_route_of_datagrams_folds_to_the_udp_ports_of_its_backends() {
    let slow = "name: slow, port: 54, protocol: UDP, idleTimeout: 5m, maxConnections: 9";
    let text =
        gateway(&format!("{{ {DNS} }}, {{ {slow} }}, {{ name: tcp, port: 53, protocol: TCP }}"))
            + &services()
            + &route(
                "UDPRoute",
                "dns",
                "{ name: edge, port: 53 }",
                "",
                "{ name: dns }, { name: two, port: 69, weight: 3 }",
            )
            + &route(
                "UDPRoute",
                "slow",
                "{ name: edge, sectionName: slow }",
                "",
                "{ name: ntp, weight: 0 }",
            )
            + &route("TCPRoute", "dns", "{ name: edge, port: 53 }", "", "{ name: dns }");
    let folded = folded(&text, NODE);
    assert_eq!(codes(&folded.problems), Vec::<&str>::new(), "{:#?}", folded.problems);
    let plan = folded.plan.unwrap();
    assert_eq!(backends(&plan, "dns"), ["f/dns:53/udp*1", "f/two:69/udp*3"]);
    assert_eq!(backends(&plan, "slow"), ["f/ntp:123/udp*0"]);
    let of = |name: &str| listener(&plan, name).tcp.clone().unwrap();
    let (dns, slow) = (of("dns"), of("slow"));
    assert_eq!(
        (dns.service.as_str(), dns.idle_timeout_ms, dns.max_connections),
        ("routed", 60_000, 1_024)
    );
    assert_eq!((slow.idle_timeout_ms, slow.max_connections), (300_000, 9));
    assert_eq!(of("tcp").routed.unwrap().routes[0].backends[0].service, "f/dns:53");
    assert_eq!(listener(&plan, "dns").address, listener(&plan, "tcp").address);

    let service = |name: &str| plan.services.iter().find(|one| one.name == name).unwrap();
    let endpoints = |name: &str| -> Vec<_> {
        service(name)
            .endpoints
            .iter()
            .map(|one| (one.address.clone(), one.weight, one.tls.is_some()))
            .collect()
    };
    let dns = [
        (AddressPlan::Tcp("10.0.0.1:5353".into()), 2, false),
        (AddressPlan::Dns("dns.example:53".into()), 1, false),
    ];
    assert_eq!((endpoints("f/dns:53/udp"), endpoints("f/dns:53")), (dns.to_vec(), dns.to_vec()));
    assert_eq!(endpoints("f/two:69/udp"), [(AddressPlan::Tcp("10.0.0.2:6969".into()), 1, false)]);
    assert!(plan.services.iter().all(|one| one.name != "f/two:67/udp"), "no route leads there");
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<NodePlan>(&text).unwrap(), plan);
}

/// A statement of the Gateway API, documents to it, and the decision about the route: its condition and reason, if one is false, and its
/// backends.
struct Must {
    says: &'static str,
    listeners: String,
    documents: String,
    fails: Option<(&'static str, &'static str)>,
    backends: &'static [&'static str],
}

#[test]
fn a_route_of_datagrams_does_what_the_gateway_api_says_that_it_must() {
    let udp = |of: &str, backends: &str| route("UDPRoute", "r", of, "", backends);
    let one = |says, documents, fails, backends| Must {
        says,
        listeners: format!("{{ {DNS} }}"),
        documents,
        fails,
        backends,
    };
    let at = |says, listeners: &str, documents, fails, backends| Must {
        says,
        listeners: listeners.to_owned(),
        documents,
        fails,
        backends,
    };
    let grant = |kind: &str| {
        document(
            "ReferenceGrant",
            "g/all",
            &format!(
                "from: [{{ group: gateway.networking.k8s.io, kind: {kind}, namespace: f }}], to: [{{ group: \"\", kind: Service }}]"
            ),
        )
    };
    let (accepted, resolved) = ("Accepted", "ResolvedRefs");
    let two = format!("{{ {DNS} }}, {{ name: other, port: 54, protocol: UDP }}");
    for Must { says, listeners, documents, fails, backends: wanted } in [
        one(
            "UDPRoute: with a listener it forwards the traffic of that listener's port to its backends",
            udp(EDGE, "{ name: ntp, port: 123 }"),
            None,
            &["f/ntp:123/udp*1"],
        ),
        one(
            "UDPRouteRule.backendRefs: where none is specified, what comes is rejected",
            udp(EDGE, "").replace("backendRefs: []", "name: x"),
            Some((accepted, "UnsupportedValue")),
            &[],
        ),
        one(
            "UDPRouteRule.backendRefs: an invalid one keeps its share, which is dropped",
            udp(EDGE, "{ name: ntp, weight: 20 }, { name: gone, weight: 80 }"),
            Some((resolved, "BackendNotFound")),
            &["f/ntp:123/udp*20", "unresolved/gone*80"],
        ),
        one(
            "BackendRef.port: it is the port of the Service, and must be there",
            udp(EDGE, "{ name: ntp, port: 124 }"),
            Some((resolved, "BackendNotFound")),
            &["unresolved/ntp*1"],
        ),
        one(
            "BackendRef.port: it is needed where it is not clear",
            udp(EDGE, "{ name: two }"),
            Some((resolved, "BackendNotFound")),
            &["unresolved/two*1"],
        ),
        one(
            "RouteReasonUnsupportedProtocol: the port of a backend has a protocol that the route cannot use",
            udp(EDGE, "{ name: dns, port: 80 }"),
            Some((resolved, "UnsupportedProtocol")),
            &["unresolved/dns*1"],
        ),
        one(
            "RouteReasonUnsupportedProtocol: also where the backend has no port for datagrams at all",
            udp(EDGE, "{ name: db }"),
            Some((resolved, "UnsupportedProtocol")),
            &["unresolved/db*1"],
        ),
        one(
            "BackendRef.weight: a backend with weight 0 gets no traffic",
            udp(EDGE, "{ name: ntp, weight: 0 }, { name: dns }"),
            None,
            &["f/ntp:123/udp*0", "f/dns:53/udp*1"],
        ),
        one(
            "BackendRef.namespace: another namespace needs a ReferenceGrant there",
            udp(EDGE, "{ name: far, namespace: g }"),
            Some((resolved, "RefNotPermitted")),
            &["unresolved/far*1"],
        ),
        one(
            "ReferenceGrant: a grant for another kind of route permits nothing",
            udp(EDGE, "{ name: far, namespace: g }") + &grant("TCPRoute"),
            Some((resolved, "RefNotPermitted")),
            &["unresolved/far*1"],
        ),
        one(
            "ReferenceGrant: a grant for UDPRoutes permits it",
            udp(EDGE, "{ name: far, namespace: g }") + &grant("UDPRoute"),
            None,
            &["g/far:123/udp*1"],
        ),
        at(
            "ParentReference.sectionName: the route is attached to that listener alone",
            &two,
            udp("{ name: edge, sectionName: dns }", "{ name: ntp }"),
            None,
            &["f/ntp:123/udp*1"],
        ),
        at(
            "ParentReference.port: the route is attached to the listeners of that port alone",
            &two,
            udp("{ name: edge, port: 53 }", "{ name: ntp }"),
            None,
            &["f/ntp:123/udp*1"],
        ),
        at(
            "ParentReference.sectionName and port: both must match",
            &two,
            udp("{ name: edge, sectionName: dns, port: 54 }", "{ name: ntp }"),
            Some((accepted, "NoMatchingParent")),
            &[],
        ),
        one(
            "ParentReference: the gateway must be there",
            udp("{ name: nobody }", "{ name: ntp }"),
            Some((accepted, "NoMatchingParent")),
            &[],
        ),
        one(
            "CommonRouteSpec.parentRefs: a kind of parent that is not supported is not accepted",
            udp("{ kind: Service, name: ntp }", "{ name: ntp }"),
            Some((accepted, "UnsupportedValue")),
            &[],
        ),
        at(
            "AllowedRoutes: a listener takes the kinds of routes that fit its protocol alone",
            "{ name: dns, port: 53, protocol: TCP }",
            udp(EDGE, "{ name: ntp }"),
            Some((accepted, "NotAllowedByListeners")),
            &[],
        ),
        one(
            "AllowedRoutes.namespaces: by default routes of the gateway's namespace alone",
            route("UDPRoute", "g/r", "{ name: edge, namespace: f }", "", "{ name: far }"),
            Some((accepted, "NotAllowedByListeners")),
            &[],
        ),
        at(
            "AllowedRoutes.namespaces: with All routes of each namespace",
            &format!("{{ {DNS}, allowedRoutes: {{ namespaces: {{ from: All }} }} }}"),
            route("UDPRoute", "g/r", "{ name: edge, namespace: f }", "", "{ name: far }"),
            None,
            &["g/far:123/udp*1"],
        ),
        at(
            "AllowedRoutes.kinds: with UDPRoute it is taken",
            &format!("{{ {DNS}, allowedRoutes: {{ kinds: [{{ kind: UDPRoute }}] }} }}"),
            udp(EDGE, "{ name: ntp }"),
            None,
            &["f/ntp:123/udp*1"],
        ),
    ] {
        let folded = folded(&(gateway(&listeners) + &services() + &documents), NODE);
        let about = folded.statuses.iter().find(|one| one.name == "r").unwrap();
        let lost = about.conditions.iter().find(|one| !one.status);
        assert_eq!(lost.map(|one| (one.kind, one.reason.as_str())), fails, "{says}");
        assert_eq!(
            folded.problems.len(),
            usize::from(fails.is_some()),
            "{says}: {:#?}",
            folded.problems
        );
        let plan = folded.plan.unwrap();
        let datagrams = listener(&plan, "dns").tcp.as_ref().unwrap().datagrams.is_some();
        let open = if datagrams { backends(&plan, "dns") } else { Vec::new() };
        assert_eq!(open, wanted, "{says}");
        if listeners == two {
            assert!(backends(&plan, "other").is_empty(), "{says}");
        }
    }
}

#[test]
fn a_route_of_datagrams_has_one_rule_and_known_fields() {
    let good = route("UDPRoute", "r", EDGE, "", "{ name: ntp }");
    for (from, to, code, part) in [
        ("rules: [", "rules: [{ backendRefs: [{ name: dns }] }, ", "field.range", "["),
        ("rules: [{ backendRefs: [{ name: ntp }] }]", "rules: []", "field.empty", "["),
        ("rules:", "hostnames: [a.example], rules:", "field.unknown", "hostnames"),
        ("v1alpha2", "v1", "document.version", ""),
    ] {
        let (_, problems) = parse("f.yaml", &good.replace(from, to));
        let text = good.replace(from, to);
        let found = problems.iter().find(|one| one.code == code);
        let found = found.unwrap_or_else(|| panic!("{to}: {problems:#?}"));
        assert!(at(&text, found).contains(part), "{to}: {}", at(&text, found));
    }
}

#[test]
fn a_listener_for_datagrams_that_cannot_be_as_written_does_not_listen() {
    for (more, says) in [
        ("tls: { certificate: a, key: b }", "a UDP listener has no `tls`"),
        ("tls: { mode: Passthrough }", "a UDP listener has no `tls`"),
        ("hostname: a.b", "datagrams of a UDP listener name no host"),
        ("proxyProtocol: { trusted: [10.0.0.1] }", "no PROXY header over UDP"),
        ("upgrades: [websocket]", "`upgrades` is for requests"),
        ("http3: {}", "`http3` is for requests"),
        ("idleTimeout: 1ms", "idleTimeout must be from 1s to 24h"),
    ] {
        let folded = folded(&gateway(&format!("{{ {DNS}, {more} }}")), NODE);
        let [problem] = &folded.problems[..] else { panic!("{more}: {:#?}", folded.problems) };
        assert_eq!(problem.code, "gateway.listener", "{more}");
        assert!(problem.message.contains(says), "{more}: {}", problem.message);
        assert!(folded.plan.unwrap().listeners.is_empty(), "{more}");
    }
    let https = "name: web, port: 53, protocol: HTTPS, tls: { certificate: a, key: b }";
    for (other, says) in [
        ("name: b, port: 53, protocol: UDP".to_owned(), Some("another listener for UDP")),
        (format!("{https}, http3: {{}}"), Some("is that of the HTTP/3 of listener `web`")),
        (https.to_owned(), None),
        ("name: b, port: 53, protocol: TCP".to_owned(), None),
    ] {
        for both in [format!("{{ {DNS} }}, {{ {other} }}"), format!("{{ {other} }}, {{ {DNS} }}")] {
            let folded = folded(&gateway(&both), NODE);
            let said: Vec<&str> = folded.problems.iter().map(|one| one.message.as_str()).collect();
            match says {
                Some(says) => {
                    assert!(said.len() == 1 && said[0].contains(says), "{both}: {said:?}");
                }
                None => assert!(said.is_empty(), "{both}: {said:?}"),
            }
            let listening = folded.plan.unwrap().listeners.len();
            assert_eq!(listening, if says.is_some() { 1 } else { 2 }, "{both}");
        }
    }
}

#[test]
fn of_two_routes_of_datagrams_the_one_in_force_stays() {
    let udp = |name: &str, backend: &str| route("UDPRoute", name, EDGE, "", backend);
    for (since, stays) in [((1, 2), true), ((2, 2), false)] {
        let text = gateway(&format!("{{ {DNS} }}"))
            + &services()
            + &udp("x", "{ name: ntp }")
            + &udp("y", "{ name: dns }");
        let mut all = documents(&text);
        for document in &mut all {
            document.since = match document.metadata.name.as_str() {
                "x" => since.0,
                "y" => since.1,
                _ => 0,
            };
        }
        let folded = fold(&all, &NODE.parse().unwrap(), &files);
        assert_eq!(codes(&folded.problems), vec!["route.conflict"; if stays { 1 } else { 2 }]);
        let wanted: &[&str] = if stays { &["f/ntp:123/udp*1"] } else { &[] };
        assert_eq!(backends(&folded.plan.unwrap(), "dns"), wanted);
    }
}

#[test]
fn a_udp_port_is_carried_by_gateways_alone_and_to_addresses() {
    let service = |spec: &str| document("Service", "s", spec);
    let meshed = "identity: \"spiffe://shop.example/ns/f/service/s\", ports: [{ port: 1, protocol: udp }], \
        endpoints: [{ address: \"127.0.0.1:1\", sidecar: \"127.0.0.1:2\" }]";
    let unix = "ports: [{ port: 1, protocol: udp }], endpoints: [{ address: \"unix:/run/s\" }]";
    let bare = "ports: [{ port: 1, protocol: udp }], endpoints: [{ address: \"127.0.0.1:1\" }]";
    let web = "name: web, port: 80, protocol: HTTP";
    for (text, code, part, says) in [
        (service(meshed), "service.udp", "udp", "sidecars carry no UDP"),
        (service(unix), "service.udp", "unix:/run/s", "takes no UDP"),
        (
            service(&bare.replace("}], end", "}, { port: 1, protocol: udp }], end")),
            "service.ports",
            "1",
            "listed twice",
        ),
        (
            service(&bare.replace("}], end", "}, { port: 2, protocol: udp }], end")),
            "service.tcp",
            "127.0.0.1:1",
            "does not say where its port 2 is",
        ),
        (
            service(bare) + &route("HTTPRoute", "r", EDGE, "", "{ name: s, port: 1 }"),
            "route.backend",
            "s",
            "is udp: no request can be sent there",
        ),
        (
            document(
                "ExternalService",
                "s",
                "hosts: [a.example], ports: [{ port: 1, protocol: udp }]",
            )
            .replace("gateway.networking.k8s.io/v1", "tamis.dev/v1alpha1"),
            "external.invalid",
            "udp",
            "sidecars carry no UDP",
        ),
        (
            service(bare)
                + &document(
                    "BackendTLSPolicy",
                    "p",
                    "targetRefs: [{ kind: Service, name: s }], validation: { wellKnownCACertificates: System, hostname: a.example }",
                ),
            "backend-tls.tcp",
            "s",
            "TLS is of connections",
        ),
    ] {
        let whole = gateway(&format!("{{ {web} }}")) + &text;
        let folded = folded(&whole, NODE);
        let found = folded.problems.iter().find(|one| one.code == code);
        let found = found.unwrap_or_else(|| panic!("{text}: {:#?}", folded.problems));
        assert!(at(&whole, found).contains(part), "{text}: {}", at(&whole, found));
        assert!(found.message.contains(says), "{text}: {}", found.message);
        assert_eq!(folded.problems.len(), 1, "{text}: {:#?}", folded.problems);
    }
    // Whatever a route says, nothing goes around a sidecar.
    let text = gateway(&format!("{{ {DNS} }}"))
        + &service(meshed)
        + &route("UDPRoute", "r", EDGE, "", "{ name: s }");
    let folded = folded(&text, NODE);
    assert!(codes(&folded.problems).contains(&"route.backend"), "{:#?}", folded.problems);
    let plan = folded.plan.unwrap();
    assert_eq!(backends(&plan, "dns"), ["unresolved/s*1"]);
    assert!(plan.services.iter().all(|one| !one.name.ends_with("/udp")));
}

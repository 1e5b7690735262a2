//! `TLSRoute` and `TCPRoute` at the listeners of a gateway, and mistakes, each of which leaves its connections refused.

use super::*;
use crate::plan::{ListenerPlan, StreamBackendPlan, StreamRoutePlan, TcpPlan};

pub(super) const NODE: &str = "gateway:f/edge";

pub(super) fn document(kind: &str, name: &str, spec: &str) -> String {
    let api = match kind {
        "Service" => "tamis.dev/v1alpha1",
        "ReferenceGrant" => "gateway.networking.k8s.io/v1beta1",
        "UDPRoute" => "gateway.networking.k8s.io/v1alpha2",
        _ => "gateway.networking.k8s.io/v1",
    };
    let (namespace, name) = name.split_once('/').unwrap_or(("f", name));
    format!(
        "\n---\n{{ kind: {kind}, apiVersion: {api}, metadata: {{ name: {name}, namespace: {namespace} }}, spec: {{ {spec} }} }}\n"
    )
}

pub(super) fn gateway(listeners: &str) -> String {
    let identity = "identity: \"spiffe://shop.example/ns/f/gateway/edge\"";
    document("Gateway", "edge", &format!("{identity}, listeners: [{listeners}]"))
}

/// Services without and with a sidecar.
fn services() -> String {
    let bare = "ports: [{ port: 80, protocol: http }, { port: 5432, protocol: tcp }, { port: 6379, protocol: tcp }], \
        endpoints: [{ address: \"127.0.0.1:7000\", weight: 3, ports: [{ port: 5432, address: \"127.0.0.1:7001\" }, { port: 6379, address: \"127.0.0.1:7002\" }] }]";
    let meshed = "identity: \"spiffe://shop.example/ns/f/service/db\", ports: [{ port: 5432, protocol: tcp }], \
        endpoints: [{ address: \"127.0.0.1:7010\", sidecar: \"127.0.0.1:7011\" }]";
    document("Service", "old", bare)
        + &document("Service", "db", meshed)
        + &document(
            "Service",
            "g/far",
            &meshed.replace("f/service", "g/service").replace(":701", ":702"),
        )
}

const PASS: &str = "name: pass, port: 443, protocol: TLS, tls: { mode: Passthrough }";
const TCP: &str = "name: db, port: 5432, protocol: TCP";

pub(super) fn route(kind: &str, name: &str, of: &str, hosts: &str, backends: &str) -> String {
    let hosts = if hosts.is_empty() { String::new() } else { format!("hostnames: [{hosts}], ") };
    let spec = format!("parentRefs: [{of}], {hosts}rules: [{{ backendRefs: [{backends}] }}]");
    document(kind, name, &spec)
}

pub(super) const EDGE: &str = "{ name: edge }";
const OLD: &str = "{ name: old, port: 5432 }";
const DB: &str = "{ name: db }";

pub(super) fn listener<'a>(plan: &'a NodePlan, name: &str) -> &'a ListenerPlan {
    plan.listeners.iter().find(|one| one.name == name).unwrap()
}

/// The routes of a listener, each as its name, its hosts, and its backends with their weights.
fn routes(plan: &NodePlan, name: &str) -> Vec<String> {
    let routed = listener(plan, name).tcp.as_ref().unwrap().routed.as_ref().unwrap();
    let backend = |one: &StreamBackendPlan| format!("{}*{}", one.service, one.weight);
    let text = |one: &StreamRoutePlan| {
        let backends: Vec<String> = one.backends.iter().map(backend).collect();
        format!("{} [{}] {}", one.name, one.hosts.join(" "), backends.join(" "))
            .trim_end()
            .to_owned()
    };
    routed.routes.iter().map(text).collect()
}

#[test]
fn routes_of_connections_fold_to_the_backends_of_their_listeners() {
    let ending = "name: end, port: 443, hostname: \"*.end.example\", protocol: TLS, idleTimeout: 5m, maxConnections: 9, \
        tls: { certificate: a.crt, key: a.key }";
    let text = gateway(&format!("{{ {PASS} }}, {{ {ending} }}, {{ {TCP} }}"))
        + &services()
        + &route(
            "TLSRoute",
            "names",
            EDGE,
            "a.example, a.example, b.end.example",
            &format!("{OLD}, {{ name: db, port: 5432, weight: 0 }}"),
        )
        + &route("TLSRoute", "wide", "{ name: edge, sectionName: pass }", "\"*.example\"", DB)
        + &route("TCPRoute", "port", "{ name: edge, port: 5432 }", "", DB);
    let folded = folded(&text, NODE);
    assert_eq!(codes(&folded.problems), Vec::<&str>::new(), "{:#?}", folded.problems);
    let plan = folded.plan.unwrap();
    let backends = "f/old:5432*1 f/db:5432*0";
    assert_eq!(
        routes(&plan, "pass"),
        [
            format!("f/names [a.example b.end.example] {backends}"),
            "f/wide [*.example] f/db:5432*1".to_owned()
        ]
    );
    assert_eq!(routes(&plan, "end"), [format!("f/names [b.end.example] {backends}")]);
    assert_eq!(routes(&plan, "db"), ["f/port [] f/db:5432*1"]);

    let pass = listener(&plan, "pass");
    assert!(pass.tls.is_none(), "it has no certificate");
    assert_eq!(pass.rules.elsewhere, ["*.end.example"]);
    let TcpPlan { service, asked, idle_timeout_ms, max_connections, routed, .. } =
        listener(&plan, "end").tcp.clone().unwrap();
    assert_eq!((service.as_str(), asked), ("routed", None), "no service has this name");
    assert_eq!((idle_timeout_ms, max_connections), (300_000, 9));
    assert!(routed.unwrap().by_server_name && listener(&plan, "end").tls.is_some());
    let port = listener(&plan, "db").tcp.as_ref().unwrap();
    assert_eq!((port.idle_timeout_ms, port.max_connections), (3_600_000, 1024));
    assert!(!port.routed.as_ref().unwrap().by_server_name);

    let service = |name: &str| plan.services.iter().find(|one| one.name == name);
    let old = &service("f/old:5432").unwrap().endpoints[0];
    assert_eq!(old.address, AddressPlan::Tcp("127.0.0.1:7001".into()));
    assert_eq!((old.weight, &old.tls), (3, &None));
    let db = service("f/db:5432").unwrap();
    assert_eq!(db.protocol, ProtocolPlan::Tcp { port: 5432 });
    assert_eq!(member(&db.endpoints[0]).expect_identity, "spiffe://shop.example/ns/f/service/db");
    assert!(service("f/old:6379").is_none(), "no route leads there");
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<NodePlan>(&text).unwrap(), plan);
}

#[test]
fn a_mistake_is_named_with_its_place_and_its_condition() {
    let tls = |of: &str, hosts: &str, backend: &str| route("TLSRoute", "r", of, hosts, backend);
    let tcp = |of: &str, backend: &str| route("TCPRoute", "r", of, "", backend);
    let http = "name: web, port: 80, protocol: HTTP";
    let (accepted, resolved) = ("Accepted", "ResolvedRefs");
    let none = "NoMatchingParent";
    let refused = "NotAllowedByListeners";
    let all = "allowedRoutes: { namespaces: { from: All } }";
    for (listeners, text, condition, reason, says) in [
        // Where it is attached.
        (PASS, tls("{ name: nobody }", "a.b", DB), accepted, none, "there is no Gateway f/nobody"),
        (
            PASS,
            tls("{ name: edge, sectionName: x }", "a.b", DB),
            accepted,
            none,
            "no listener with",
        ),
        (PASS, tls("{ name: edge, port: 1 }", "a.b", DB), accepted, none, "no listener with"),
        (http, tls(EDGE, "a.b", DB), accepted, refused, "its listeners are for HTTP"),
        (TCP, tls(EDGE, "a.b", DB), accepted, refused, "its listeners are for TCP"),
        (PASS, tcp(EDGE, DB), accepted, refused, "its listeners are for TLS"),
        (http, tcp(EDGE, DB), accepted, refused, "its listeners are for HTTP"),
        (
            PASS,
            route("HTTPRoute", "r", EDGE, "", "{ name: old, port: 80 }"),
            accepted,
            refused,
            "its listeners are for TLS",
        ),
        (
            TCP,
            route("HTTPRoute", "r", EDGE, "", "{ name: old, port: 80 }"),
            accepted,
            refused,
            "its listeners are for TCP",
        ),
        (
            PASS,
            route("TLSRoute", "g/r", "{ name: edge, namespace: f }", "a.b", "{ name: far }"),
            accepted,
            refused,
            "accepts no TLSRoute of this namespace",
        ),
        (
            "name: web, port: 80, protocol: HTTP, allowedRoutes: { kinds: [{ kind: GRPCRoute }] }",
            route("HTTPRoute", "r", EDGE, "", "{ name: old, port: 80 }"),
            accepted,
            refused,
            "`allowedRoutes` leave this kind out",
        ),
        (
            "name: p, port: 443, hostname: a.example, protocol: TLS, tls: { mode: Passthrough }",
            tls(EDGE, "b.example, \"*.b.example\"", DB),
            accepted,
            "NoMatchingListenerHostname",
            "has any of these hostnames",
        ),
        (
            PASS,
            tls("{ kind: Service, name: db }", "a.b", DB),
            accepted,
            "UnsupportedValue",
            "a TLSRoute can only be attached to gateways",
        ),
        // Where it leads.
        (TCP, tcp(EDGE, "{ name: nobody }"), resolved, "BackendNotFound", "no Service f/nobody"),
        (TCP, tcp(EDGE, "{ name: db, port: 1 }"), resolved, "BackendNotFound", "has no port 1"),
        (TCP, tcp(EDGE, "{ name: old }"), resolved, "BackendNotFound", "has several tcp ports"),
        (
            TCP,
            tcp(EDGE, "{ name: old, port: 80 }"),
            resolved,
            "UnsupportedProtocol",
            "has a port 80 of another protocol",
        ),
        (
            TCP,
            tcp(EDGE, "{ name: far, namespace: g }"),
            resolved,
            "RefNotPermitted",
            "no ReferenceGrant permits it",
        ),
        (
            TCP,
            tcp(EDGE, "").replace("backendRefs: []", "name: r"),
            accepted,
            "UnsupportedValue",
            "at least one backend",
        ),
    ] {
        let folded = folded(&(gateway(&format!("{{ {listeners} }}")) + &services() + &text), NODE);
        let about = folded.statuses.iter().find(|one| one.name == "r").unwrap();
        let found = about.conditions.iter().find(|one| one.kind == condition).unwrap();
        assert_eq!((found.status, found.reason.as_str()), (false, reason), "{text}");
        assert!(found.message.contains(says), "{text}: {}", found.message);
        assert_eq!(folded.problems.len(), 1, "{text}: {:#?}", folded.problems);
        let plan = folded.plan.unwrap();
        for one in plan.listeners.iter().filter(|one| one.tcp.is_some()) {
            let open = routes(&plan, &one.name);
            assert!(open.iter().all(|one| !one.contains("f/db")), "{text}: {open:?}");
        }
    }
    // With a grant, and with a listener for all namespaces, nothing is wrong.
    let grant = document(
        "ReferenceGrant",
        "g/all",
        "from: [{ group: gateway.networking.k8s.io, kind: TCPRoute, namespace: f }], to: [{ group: \"\", kind: Service }]",
    );
    let text = gateway(&format!("{{ {TCP} }}, {{ {PASS}, {all} }}"))
        + &services()
        + &grant
        + &tcp(EDGE, "{ name: far, namespace: g }")
        + &route("TLSRoute", "g/r", "{ name: edge, namespace: f }", "a.b", "{ name: far }");
    let folded = folded(&text, NODE);
    assert_eq!(codes(&folded.problems), Vec::<&str>::new(), "{:#?}", folded.problems);
    let plan = folded.plan.unwrap();
    assert_eq!(routes(&plan, "db"), ["f/r [] g/far:5432*1"]);
    assert_eq!(routes(&plan, "pass"), ["g/r [a.b] g/far:5432*1"]);
}

#[test]
fn a_listener_that_cannot_be_as_written_does_not_listen() {
    let of = |more: &str, base: &str| format!("{base}, {more}");
    for (listener, says) in [
        ("name: a, port: 1, protocol: TLS".to_owned(), "a TLS listener needs `tls`"),
        (of("tls: { certificate: a, key: b }", TCP), "a TCP listener has no `tls`"),
        (of("hostname: a.b", TCP), "connections of a TCP listener name no host"),
        (PASS.replace("Passthrough", "Passthrough, key: a"), "have no use here"),
        (PASS.replace("Passthrough", "Passthrough, clientCa: a"), "have no use here"),
        (PASS.replace("Passthrough", "Terminate"), "needs `certificate` and `key`"),
        (PASS.replace("Passthrough", "Terminate, key: a"), "needs `certificate` and `key`"),
        (PASS.replace("TLS,", "HTTPS,"), "HTTPS ends TLS at the gateway"),
        (of("grpcWeb: true", PASS), "`grpcWeb` is for requests"),
        (of("upgrades: [websocket]", TCP), "`upgrades` is for requests"),
        (of("http3: {}", PASS), "`http3` is for requests"),
        (of("clientAddress: { hops: 1 }", TCP), "`clientAddress` is for requests"),
        (of("idleTimeout: 25h", TCP), "idleTimeout must be from 1s to 24h"),
        (
            "name: a, port: 1, protocol: HTTP, maxConnections: 3".to_owned(),
            "`maxConnections` is for listeners with protocol TLS, TCP or UDP",
        ),
    ] {
        let folded = folded(&gateway(&format!("{{ {listener} }}")), NODE);
        let [problem] = &folded.problems[..] else { panic!("{listener}: {:#?}", folded.problems) };
        assert_eq!(problem.code, "gateway.listener", "{listener}");
        assert!(problem.message.contains(says), "{listener}: {}", problem.message);
        assert!(folded.plan.unwrap().listeners.is_empty(), "{listener}");
    }
    for (second, says) in [
        ("name: b, port: 5432, protocol: TCP", "nothing distinguishes their connections"),
        ("name: b, port: 5432, protocol: HTTP", "has another protocol"),
    ] {
        let folded = folded(&gateway(&format!("{{ {TCP} }}, {{ {second} }}")), NODE);
        let [problem] = &folded.problems[..] else { panic!("{:#?}", folded.problems) };
        assert!(problem.message.contains(says), "{}", problem.message);
        assert_eq!((problem.code.as_str(), problem.also.len()), ("gateway.conflict", 1));
        assert_eq!(folded.plan.unwrap().listeners.len(), 1);
    }
    let kinds = of("allowedRoutes: { kinds: [{ kind: TCPRoute }, { kind: HTTPRoute }] }", TCP);
    let folded = folded(&gateway(&format!("{{ {kinds} }}")), NODE);
    let [problem] = &folded.problems[..] else { panic!("{:#?}", folded.problems) };
    assert!(
        problem.message.contains("a TCP listener accepts TCPRoute and no HTTPRoute"),
        "{}",
        problem.message
    );
    assert_eq!(folded.plan.unwrap().listeners.len(), 1);
}

#[test]
fn of_two_routes_for_the_same_connections_the_one_in_force_stays_and_both_places_are_named() {
    let wide = route("TLSRoute", "wide", EDGE, "\"*.example\"", OLD);
    let tls = |name: &str, backend: &str| {
        route("TLSRoute", name, EDGE, &format!("a.example, {name}.example"), backend)
    };
    let tcp = |name: &str, backend: &str| route("TCPRoute", name, EDGE, "", backend);
    for (listener, name, one, other, kept, closed) in [
        (
            PASS,
            "pass",
            tls("x", OLD),
            tls("y", DB),
            "f/x [a.example x.example] f/old:5432*1",
            "f/x [a.example]",
        ),
        (TCP, "db", tcp("x", OLD), tcp("y", DB), "f/x [] f/old:5432*1", "f/x []"),
    ] {
        for (since, stays) in [((1, 2), true), ((2, 2), false), ((u64::MAX, u64::MAX), false)] {
            let wide = if name == "pass" { wide.as_str() } else { "" };
            let text = gateway(&format!("{{ {listener} }}")) + &services() + wide + &one + &other;
            let mut all = documents(&text);
            for document in &mut all {
                document.since = match document.metadata.name.as_str() {
                    "x" => since.0,
                    "y" => since.1,
                    _ => 0,
                };
            }
            let folded = fold(&all, &NODE.parse().unwrap(), &files);
            let lost = if stays { 1 } else { 2 };
            assert_eq!(codes(&folded.problems), vec!["route.conflict"; lost], "{name} {since:?}");
            for problem in &folded.problems {
                assert!(problem.message.contains(&format!("listener `{name}` of Gateway f/edge")));
                assert_eq!(problem.also.len(), 1, "the other place");
            }
            let open = routes(&folded.plan.unwrap(), name);
            let wanted = if stays { kept } else { closed };
            assert!(open.iter().any(|one| one == wanted), "{name} {since:?}: {open:?}");
            if name == "pass" {
                assert!(open.iter().any(|one| one.starts_with("f/wide [*.example]")), "{open:?}");
                assert!(
                    open.iter().any(|one| one.ends_with("[y.example] f/db:5432*1")),
                    "{open:?}"
                );
            }
        }
    }
}

#[test]
fn a_route_that_cannot_be_used_keeps_its_names_from_a_wildcard() {
    let wide = route("TLSRoute", "wide", EDGE, "\"*.example\"", OLD);
    let base = gateway(&format!("{{ {PASS} }}")) + &services() + &wide;
    let lost = route("TLSRoute", "r", EDGE, "a.example", DB).replace("backendRefs", "backends");
    let away = route("TLSRoute", "r", "{ name: nobody }", "a.example", DB);
    for text in [lost, away] {
        let read = crate::read("f.yaml", &(base.clone() + &text));
        let all = [read.documents, read.stubs].concat();
        assert_eq!(all.len(), 6, "{:#?}", read.problems);
        let plan = fold(&all, &NODE.parse().unwrap(), &files).plan.unwrap();
        let mut open = routes(&plan, "pass");
        open.sort();
        assert_eq!(open, ["f/r [a.example]", "f/wide [*.example] f/old:5432*1"], "{text}");
    }
}

#[test]
fn a_guard_of_requests_alone_closes_a_listener_for_connections_and_no_other() {
    let guard = "\n---\n{ kind: Filter, apiVersion: tamis.dev/v1alpha1, metadata: { name: jwt, namespace: tamis }, spec: { world: authorizer } }\n\
        ---\n{ kind: FilterAttachment, apiVersion: tamis.dev/v1alpha1, metadata: { name: jwt, namespace: f }, spec: { targetRefs: [{ kind: Gateway, name: edge SECTION }], filter: tamis/jwt, phase: authn, order: 10 } }\n\
        ---\n{ kind: Grant, apiVersion: tamis.dev/v1alpha1, metadata: { name: jwt, namespace: security }, spec: { filter: tamis/jwt } }\n";
    let pin = json!([{ "service": "*", "filter": "tamis/jwt", "version": "0.1.0", "digest": format!("sha256:{}", "0".repeat(64)) }]);
    let lock = json!({ "apiVersion": "tamis.dev/v1alpha1", "kind": "FiltersLock", "filters": pin });
    let listeners = format!("{{ {PASS} }}, {{ {TCP} }}, {{ name: web, port: 80, protocol: HTTP }}");
    for (section, closed) in [("", vec!["pass", "db"]), (", sectionName: web", Vec::new())] {
        let text =
            gateway(&listeners) + &guard.replace(" SECTION", section) + &format!("\n---\n{lock}");
        let folded = folded(&text, NODE);
        assert_eq!(codes(&folded.problems), vec!["tcp.unguarded"; closed.len()], "{section}");
        let plan = folded.plan.unwrap();
        for one in &plan.listeners {
            let mut members = one.chain.attachments.iter().map(|at| &plan.filters[*at]);
            let shut = members
                .any(|one| one.refused.as_ref().is_some_and(|it| it.code == "tcp.unguarded"));
            assert_eq!(shut, closed.contains(&one.name.as_str()), "{section} {}", one.name);
        }
        for problem in &folded.problems {
            assert!(problem.help.as_ref().unwrap().contains("by `sectionName`"));
        }
    }
}

#[test]
fn a_policy_of_tls_to_backends_closes_the_port_whose_connections_are_carried_as_they_are() {
    let policy = |section: &str| {
        let spec = format!(
            "targetRefs: [{{ kind: Service, name: old{section} }}], validation: {{ wellKnownCACertificates: System, hostname: old.example }}"
        );
        document("BackendTLSPolicy", "p", &spec)
    };
    let named = services().replace("{ port: 80,", "{ name: web, port: 80,");
    for (section, wanted, endpoints) in
        [("", vec!["backend-tls.tcp"], 0), (", sectionName: web", Vec::new(), 1)]
    {
        let text = gateway(&format!("{{ {TCP} }}"))
            + &named
            + &route("TCPRoute", "r", EDGE, "", OLD)
            + &policy(section);
        let folded = folded(&text, NODE);
        assert_eq!(codes(&folded.problems), wanted, "{section}");
        let plan = folded.plan.unwrap();
        let service = plan.services.iter().find(|one| one.name == "f/old:5432").unwrap();
        assert_eq!(service.endpoints.len(), endpoints, "{section}");
    }
}

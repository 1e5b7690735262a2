//! `tcp` ports: their listeners at both sidecars, and mistakes, each of which leaves a port closed.

use super::*;
use crate::plan::{ListenerPlan, ProxyHeader, TcpPlan};

fn service(name: &str, ports: &str, endpoint: &str) -> String {
    format!(
        "\n---\n{{ kind: Service, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: {name}, namespace: data }}, spec: {{ \
         identity: \"spiffe://shop.example/ns/data/service/{name}\", ports: [{ports}], endpoints: [{{ {endpoint} }}] }} }}\n"
    )
}

const HTTP: &str = "{ port: 80, protocol: http }";
const TCP: &str = "{ port: 5432, protocol: tcp, idleTimeout: 5m, maxConnections: 9 }, { port: 6379, protocol: tcp }";
const PLACES: &str =
    "address: \"127.0.0.1:7000\", sidecar: \"127.0.0.1:7001\", outbound: \"127.0.0.1:7002\"";
const APPS: &str = "ports: [{ port: 5432, address: \"127.0.0.1:7003\" }, { port: 6379, address: \"unix:/run/app\" }]";

fn db() -> String {
    service("db", &format!("{HTTP}, {TCP}"), &format!("{PLACES}, {APPS}"))
}

fn web(calls: &str) -> String {
    let endpoint =
        "address: \"127.0.0.1:7010\", sidecar: \"127.0.0.1:7011\", outbound: \"127.0.0.1:7012\"";
    service("web", HTTP, &format!("{endpoint}, outboundTcp: [{calls}]"))
}

const CALL: &str = "{ address: \"127.0.0.1:7013\", name: db, port: 5432 }";

fn tcp(plan: &NodePlan) -> Vec<&ListenerPlan> {
    plan.listeners.iter().filter(|one| one.tcp.is_some()).collect()
}

#[test]
fn a_port_is_a_listener_at_its_sidecar_and_one_at_each_caller_that_declares_it() {
    let text = db() + &web(CALL);
    let folded_db = folded(&text, "sidecar:data/db/0");
    assert_eq!(codes(&folded_db.problems), Vec::<&str>::new());
    let plan = folded_db.plan.unwrap();
    let names: Vec<&str> = plan.listeners.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["inbound", "outbound", "inbound:5432", "inbound:6379"]);
    let [first, second] = tcp(&plan)[..] else { panic!("{names:?}") };
    let inbound = &plan.listeners[0];
    assert_eq!((&first.address, &first.tls), (&inbound.address, &inbound.tls));
    assert!(first.tls.is_some(), "never in clear text");
    let expected = TcpPlan {
        service: "local/data/db:5432".to_owned(),
        asked: Some(5432),
        idle_timeout_ms: 300_000,
        max_connections: 9,
        proxy_header: None,
        routed: None,
        datagrams: None,
    };
    assert_eq!(first.tcp.as_ref(), Some(&expected));
    let second = second.tcp.as_ref().unwrap();
    assert_eq!((second.idle_timeout_ms, second.max_connections), (3_600_000, 1024));
    let local = |name: &str| plan.services.iter().find(|one| one.name == name).unwrap();
    assert_eq!(local("local/data/db:5432").protocol, ProtocolPlan::Tcp { port: 5432 });
    let application = &local("local/data/db:6379").endpoints[0];
    assert_eq!(application.address, AddressPlan::Unix("/run/app".into()));
    assert!(plan.services.iter().all(|one| one.name != "data/db:5432"), "nobody calls it here");

    let plan = folded(&text, "sidecar:data/web/0").plan.unwrap();
    let [called] = tcp(&plan)[..] else { panic!("{:?}", plan.listeners) };
    assert_eq!(called.name, "outbound:db.data:5432");
    assert_eq!((called.direction, called.tls.is_none()), (TrafficDirection::Outbound, true));
    let rules = called.tcp.as_ref().unwrap();
    assert_eq!((rules.service.as_str(), rules.asked), ("data/db:5432", None));
    let service = plan.services.iter().find(|one| one.name == "data/db:5432").unwrap();
    assert_eq!(service.protocol, ProtocolPlan::Tcp { port: 5432 });
    let tls = member(&service.endpoints[0]);
    assert_eq!(tls.expect_identity, "spiffe://shop.example/ns/data/service/db");
}

#[test]
fn the_sidecar_of_the_application_alone_writes_a_proxy_header() {
    let text =
        db().replace("port: 5432, protocol: tcp", "port: 5432, protocol: tcp, proxyProtocol: V2");
    let text = text + &web(CALL);
    for (node, wanted) in [
        ("sidecar:data/db/0", vec![Some(ProxyHeader::V2), None]),
        ("sidecar:data/web/0", vec![None]),
    ] {
        let plan = folded(&text, node).plan.unwrap();
        let headers = tcp(&plan).into_iter().map(|one| one.tcp.as_ref().unwrap().proxy_header);
        assert_eq!(headers.collect::<Vec<_>>(), wanted, "{node}");
    }
}

#[test]
fn a_service_may_have_tcp_ports_alone_and_then_takes_no_requests() {
    let text = service("db", "{ port: 5432, protocol: tcp }", PLACES) + &web(CALL);
    let folded_db = folded(&text, "sidecar:data/db/0");
    assert_eq!(codes(&folded_db.problems), Vec::<&str>::new());
    let plan = folded_db.plan.unwrap();
    let names: Vec<&str> = plan.listeners.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["outbound", "inbound:5432"]);
    let local = plan.services.iter().find(|one| one.name == "local/data/db:5432").unwrap();
    assert_eq!(local.endpoints[0].address, AddressPlan::Tcp("127.0.0.1:7000".into()));
    let plan = folded(&text, "sidecar:data/web/0").plan.unwrap();
    let names: Vec<&str> = plan.services.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["local/data/web:80", "data/db:5432", "data/web:80"]);
}

#[test]
fn a_mistake_is_named_with_its_place_and_opens_nothing() {
    let with = |ports: &str, endpoint: &str| service("db", ports, endpoint) + &web(CALL);
    let whole = format!("{PLACES}, {APPS}");
    let both = format!("{HTTP}, {TCP}");
    let bare = "address: \"127.0.0.1:7000\", ports: [{ port: 5432, address: \"127.0.0.1:1\" }, { port: 6379, address: \"127.0.0.1:2\" }]";
    for (text, code, place, listeners) in [
        (with(&both, PLACES), "service.tcp", "port 5432 is", (0, 1)),
        (
            with(&both, bare),
            "service.tcp",
            "Service data/db has no sidecar, so only gateways carry",
            (0, 0),
        ),
        (
            with(
                &format!(
                    "{HTTP}, {{ port: 5432, protocol: tcp, proxyProtocol: V2 }}, {{ port: 6379, protocol: tcp }}"
                ),
                bare,
            ),
            "service.tcp",
            "sidecars write the PROXY header, and an endpoint of port 5432 has none",
            (0, 0),
        ),
        (
            with(&format!("{TCP}, {HTTP}"), &whole),
            "service.ports",
            "only the first port may be other than tcp",
            (2, 1),
        ),
        (
            with(&format!("{HTTP}, {TCP}, {{ port: 5432, protocol: tcp }}"), &whole),
            "service.ports",
            "port 5432 is listed twice",
            (3, 1),
        ),
        (
            with(&format!("{HTTP}, {{ port: 5432, protocol: tcp, idleTimeout: 25h }}"), &whole),
            "service.tcp",
            "idleTimeout must be from 1s to 24h, not 25h",
            (1, 1),
        ),
        (
            with("{ port: 80, protocol: http, maxConnections: 3 }", PLACES),
            "service.tcp",
            "port 80 is not tcp, and `maxConnections` is for tcp ports",
            (0, 0),
        ),
        (
            with("{ port: 80, protocol: http, proxyProtocol: V2 }", PLACES),
            "service.tcp",
            "port 80 is not tcp, and `proxyProtocol` is for tcp ports",
            (0, 0),
        ),
        (
            with(&format!("{HTTP}, {{ port: 5432, protocol: tcp }}"), &whole),
            "service.tcp",
            "port 6379 is not a tcp or udp port of the service after its first port",
            (1, 1),
        ),
        (
            db() + &web("{ address: \"127.0.0.1:7013\", name: nobody, port: 5432 }"),
            "ref.missing",
            "there is no Service data/nobody",
            (2, 0),
        ),
        (
            db() + &web("{ address: \"127.0.0.1:7013\", name: db, port: 80 }"),
            "service.tcp",
            "port 80 of Service data/db is not a tcp port",
            (2, 0),
        ),
        (
            db() + &web("{ address: \"127.0.0.1:7013\", name: db, port: 1 }"),
            "service.tcp",
            "Service data/db has no port 1",
            (2, 0),
        ),
        (
            db() + &web("{ address: \"127.0.0.1:7012\", name: db, port: 5432 }"),
            "service.tcp",
            "127.0.0.1:7012 is also the address of `outbound`",
            (2, 0),
        ),
        (
            db() + &web(&format!("{CALL}, {}", CALL.replace("5432", "6379"))),
            "service.tcp",
            "127.0.0.1:7013 is also the address of another `outboundTcp`",
            (2, 1),
        ),
    ] {
        let folds = ["sidecar:data/db/0", "sidecar:data/web/0"].map(|node| folded(&text, node));
        let found: Vec<&Problem> = folds[1].problems.iter().collect();
        let named = found.iter().any(|one| one.code == code && one.message.contains(place));
        assert!(named, "{place}: {found:#?}");
        assert!(found.iter().all(|one| one.help.is_some() || one.code == "service.ports"));
        let open = |plan: &Option<NodePlan>| plan.as_ref().map_or(0, |plan| tcp(plan).len());
        assert_eq!((open(&folds[0].plan), open(&folds[1].plan)), listeners, "{place}");
    }
}

const FILTERS: &str = "
---
{ kind: Filter, apiVersion: tamis.dev/v1alpha1, metadata: { name: authz, namespace: tamis }, spec: { world: authorizer, receives: AuthorizationPolicy } }
---
{ kind: Filter, apiVersion: tamis.dev/v1alpha1, metadata: { name: jwt, namespace: tamis }, spec: { world: authorizer } }
---
{ kind: Filter, apiVersion: tamis.dev/v1alpha1, metadata: { name: route, namespace: tamis }, spec: { world: route-policy } }
";

fn attached(name: &str, phase: &str) -> String {
    format!(
        "\n---\n{{ kind: FilterAttachment, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: {name}, namespace: data }}, spec: {{ targetRefs: [{{ kind: Mesh }}], filter: tamis/{name}, phase: {phase}, order: 10 }} }}\n\
         ---\n{{ kind: Grant, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: {name}, namespace: security }}, spec: {{ filter: tamis/{name} }} }}\n"
    )
}

#[test]
fn authorization_decides_about_connections_and_a_guard_of_requests_alone_closes_every_port() {
    let pins = ["authz", "jwt", "route"].map(|name| {
        let digest = format!("sha256:{}", "0".repeat(64));
        json!({ "service": "*", "filter": format!("tamis/{name}"), "version": "0.1.0", "digest": digest })
    });
    let lock =
        json!({ "apiVersion": "tamis.dev/v1alpha1", "kind": "FiltersLock", "filters": pins });
    let mesh = format!("{}{}{FILTERS}\n---\n{lock}", db(), web(CALL));
    let members = |text: &str| {
        let folded = folded(text, "sidecar:data/db/0");
        let plan = folded.plan.unwrap();
        let of = |name: &str| {
            let listener = plan.listeners.iter().find(|one| one.name == name).unwrap();
            let all =
                listener.chain.attachments.iter().map(|at| plan.filters[*at].as_ref().clone());
            all.collect::<Vec<_>>()
        };
        let problems: Vec<String> = folded.problems.into_iter().map(|one| one.code).collect();
        (of("inbound"), of("inbound:5432"), of("inbound:6379"), problems)
    };
    let text = mesh.clone() + &attached("route", "traffic") + &attached("authz", "authz");
    let (requests, first, second, problems) = members(&text);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(requests.len(), 2);
    let [decides] = &first[..] else { panic!("{first:?}: no router, since there are no requests") };
    assert_eq!(first, second, "one filter for all of them");
    assert_eq!(decides.config["connections"], true);
    assert_eq!(decides.config["ports"], json!({ "inbound:5432": 5432, "inbound:6379": 6379 }));
    assert!(requests.iter().all(|one| one.config.get("connections").is_none()));
    let (requests, first, second, problems) = members(&(mesh + &attached("jwt", "authn")));
    assert_eq!(problems, ["tcp.unguarded", "tcp.unguarded"]);
    assert!(requests[0].refused.is_none(), "requests are guarded as before");
    for port in [first, second] {
        let refused = port[0].refused.as_ref().unwrap();
        assert_eq!(refused.code, "tcp.unguarded");
    }
}

//! The example folds without a problem; a fault is reported and affects nothing else.

mod acme;
mod addresses;
mod authorization;
mod backend_tls;
mod capture;
mod closed;
mod datagrams;
mod external;
mod federation;
mod listeners;
mod memories;
mod mtls;
mod narrow;
mod repeated;
mod routers;
mod streams;
mod tcp;

use serde_json::json;

use crate::plan::{
    AddressPlan, AmbiguousPaths, ClientAddressField, ClientAddressPlan, EmptySegments,
    EndpointPlan, Http3Plan, InterimResponses, ListenerReasons, ListenerRulesPlan, MemberTlsPlan,
    NodePlan, PathEscapes, ProtocolPlan, TlsPlan, TrafficDirection, UpstreamTlsPlan,
};
use crate::{Document, FoldResult, Problem, Security, fold, parse};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop");

/// The example and a lock like the one that `tamis up` writes.
fn example() -> String {
    let mut texts: Vec<String> = std::fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    texts.sort();
    let names = ["route", "retry", "circuit-breaker", "jwt", "telemetry", "authz"];
    let pins = names.map(|name| {
        let digest = format!("sha256:{}", "0".repeat(64));
        json!({ "service": "*", "filter": format!("tamis/{name}"), "version": "0.1.0", "digest": digest })
    });
    let lock =
        json!({ "apiVersion": "tamis.dev/v1alpha1", "kind": "FiltersLock", "filters": pins });
    texts.push(lock.to_string());
    texts.join("\n---\n")
}

fn files(path: &str) -> Result<Vec<u8>, String> {
    match path {
        ".tamis/jwks.json" => Ok(br#"{"keys":[]}"#.to_vec()),
        ".tamis/keys/local-dev.pub" => Ok(b"PEM".to_vec()),
        _ => Err("there is no such file".to_owned()),
    }
}

fn documents(text: &str) -> Vec<Document> {
    let (documents, problems) = parse("shop.yaml", text);
    assert!(problems.is_empty(), "{problems:#?}");
    documents
}

fn folded(text: &str, node: &str) -> FoldResult {
    fold(&documents(text), &node.parse().unwrap(), &files)
}

fn plan(node: &str) -> NodePlan {
    let folded = folded(&example(), node);
    assert!(folded.problems.is_empty(), "{:#?}", folded.problems);
    folded.plan.unwrap()
}

fn codes(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|one| one.code.as_str()).collect()
}

#[test]
fn trust_policies_are_those_of_every_plan_and_need_no_proxy() {
    let all = documents(&example());
    let alone = crate::trust_policies(&all, &files, Security::Everybody);
    assert_eq!(alone, plan("gateway:shop/edge").trust);
    let policies: Vec<Document> =
        all.into_iter().filter(|one| one.kind() == "TrustPolicy").collect();
    assert_eq!(crate::trust_policies(&policies, &files, Security::Everybody), alone);
    assert!(!alone.is_empty());
}

/// The mTLS of an endpoint.
fn member(endpoint: &EndpointPlan) -> &MemberTlsPlan {
    match &endpoint.tls {
        Some(UpstreamTlsPlan::Member(tls)) => tls,
        other => panic!("no mTLS: {other:?}"),
    }
}

/// Attachments of a listener in their order.
fn chain<'a>(plan: &'a NodePlan, listener: &str) -> Vec<&'a str> {
    let listener = plan.listeners.iter().find(|one| one.name == listener).unwrap();
    let members = listener.chain.attachments.iter();
    members.map(|at| plan.filters[*at].attachment.strip_prefix("shop/").unwrap()).collect()
}

fn router(plan: &NodePlan, listener: &str) -> serde_json::Value {
    let listener = plan.listeners.iter().find(|one| one.name == listener).unwrap();
    let mut members = listener.chain.attachments.iter().map(|at| &plan.filters[*at]);
    members.find(|one| one.filter == "tamis/route").unwrap().config.as_ref().clone()
}

#[test]
fn every_proxy_of_the_example_folds_without_a_problem() {
    let nodes = [
        ("storefront/0", 2),
        ("payments/0", 2),
        ("payments/1", 2),
        ("catalog/0", 3),
        ("stock/0", 1),
    ];
    for (node, listeners) in nodes.map(|(node, count)| (format!("sidecar:shop/{node}"), count)) {
        let plan = plan(&node);
        assert_eq!(plan.listeners.len(), listeners, "{node}");
        assert!(plan.admin.is_some() && plan.identity.is_some(), "{node}");
    }
    let text = serde_json::to_string(&plan("gateway:shop/edge")).unwrap();
    assert_eq!(serde_json::from_str::<NodePlan>(&text).unwrap(), plan("gateway:shop/edge"));
}

#[test]
fn the_gateway_routes_by_path_and_guards_paying() {
    let plan = plan("gateway:shop/edge");
    let expected = ["jwt", "pay-jwt", "route", "retry", "circuit-breaker", "telemetry"];
    assert_eq!(chain(&plan, "http"), expected);
    assert_eq!(chain(&plan, "https"), expected);
    assert_eq!(plan.filters.len(), 6, "both listeners share their filters");
    let pay = plan.filters.iter().find(|one| one.attachment == "shop/pay-jwt").unwrap();
    assert_eq!(pay.scope.as_deref(), Some(&["shop/shop/pay".to_owned()][..]));
    assert_eq!(pay.config.pointer("/issuers/0/jwks"), Some(&json!({ "inline": { "keys": [] } })));
    assert_eq!(pay.grant.reads, ["authorization", "x-user"]);
    assert_eq!(pay.grant.imports["http-client"], json!({ "hosts": [], "timeoutMs": 5000 }));
    assert_eq!(
        router(&plan, "http").pointer("/routes/0/rules/0").unwrap(),
        &json!({
            "name": "pay",
            "matches": [{ "path": { "type": "PathPrefix", "value": "/pay" } }],
            "timeouts": { "request": "3s", "backendRequest": "1s" },
            "filters": [],
            "backendRefs": [{ "service": "shop/payments:80", "weight": 1 }],
        })
    );
    assert_eq!(plan.trust[0]["keys"], json!([{ "name": "local-dev", "publicKey": "PEM" }]));
}

#[test]
fn a_sidecar_reaches_its_application_in_clear_and_all_others_through_their_sidecars() {
    let plan = plan("sidecar:shop/payments/1");
    let local = &plan.services[0];
    assert_eq!(local.name, "local/shop/payments:80");
    assert_eq!(local.endpoints[0].address, AddressPlan::Tcp("127.0.0.1:9003".into()));
    assert!(local.endpoints[0].tls.is_none() && local.protocol == ProtocolPlan::Http1);
    let catalog = plan.services.iter().find(|one| one.name == "shop/catalog:80").unwrap();
    assert_eq!(catalog.protocol, ProtocolPlan::Http2);
    assert_eq!(catalog.endpoints[0].address, AddressPlan::Tcp("127.0.0.1:15036".into()));
    assert_eq!((catalog.policy.slow_call_ms, catalog.policy.max_pending), (300, 64));
    let tls = member(&catalog.endpoints[0]);
    assert!(tls.files.is_none(), "the proxy proves itself with its SVID");
    assert_eq!(tls.expect_identity, "spiffe://shop.example/ns/shop/service/catalog");
    assert_eq!(plan.listeners[0].address, AddressPlan::Tcp("127.0.0.1:15026".into()));
    let Some(TlsPlan::Svid { svid }) = &plan.listeners[0].tls else { panic!("no SVID") };
    assert_eq!(svid, "spiffe://shop.example/ns/shop/service/payments");
    assert!(plan.needs_svid());
}

#[test]
fn the_stock_of_the_example_is_guarded_by_what_can_judge_connections() {
    assert_eq!(
        chain(&plan("sidecar:shop/stock"), "inbound:700"),
        ["authz", "circuit-breaker", "telemetry"]
    );
    let caller = plan("sidecar:shop/catalog");
    assert_eq!(chain(&caller, "outbound:stock.shop:700"), ["circuit-breaker", "telemetry"]);
}

#[test]
fn each_direction_of_a_sidecar_has_its_own_routes() {
    let plan = plan("sidecar:shop/storefront");
    let inbound = ["jwt", "authz", "route", "retry", "circuit-breaker", "telemetry"];
    assert_eq!(chain(&plan, "inbound"), inbound);
    assert_eq!(chain(&plan, "outbound"), ["route", "retry", "circuit-breaker", "telemetry"]);
    assert_eq!(plan.listeners[1].direction, TrafficDirection::Outbound);
    let inbound = router(&plan, "inbound");
    assert_eq!(
        inbound.pointer("/routes/0/rules/0/backendRefs/0/service"),
        Some(&json!("local/shop/storefront:80"))
    );
    let outbound = router(&plan, "outbound");
    assert_eq!(
        outbound.pointer("/routes/1/hostnames").unwrap(),
        &json!(["payments", "payments.shop", "payments.shop.mesh"])
    );
}

const MESH_ROUTE: &str = "
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: mesh, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z' }
spec:
  parentRefs: [{ kind: Service, name: payments }]
  rules: [{ backendRefs: [{ name: payments, port: 80 }, { name: gone, port: 80 }] }]
";

#[test]
fn a_mesh_route_takes_the_place_of_the_default_and_lost_backends_keep_their_share() {
    let folded = folded(&(example() + MESH_ROUTE), "sidecar:shop/catalog");
    let config = router(folded.plan.as_ref().unwrap(), "outbound");
    let names: Vec<_> =
        config["routes"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["shop/mesh", "shop/catalog:80", "shop/storefront:80"]);
    assert_eq!(config["routes"][0]["rules"][0]["backendRefs"][1]["service"], "unresolved/gone");
    assert_eq!(codes(&folded.problems), ["route.backend"]);
    let status = folded.statuses.iter().find(|one| one.name == "mesh").unwrap();
    assert_eq!(
        (status.conditions[1].status, status.conditions[1].reason.as_str()),
        (false, "BackendNotFound")
    );
}

#[test]
fn a_rule_without_any_backend_that_is_there_stays_and_has_none() {
    let text = example().replace("{ name: catalog, port: 80 }", "{ name: catalog, port: 81 }");
    let folded = folded(&text, "gateway:shop/edge");
    assert_eq!(folded.problems[0].message, "Service shop/catalog has no port 81");
    let config = router(folded.plan.as_ref().unwrap(), "http");
    assert_eq!(config.pointer("/routes/0/rules/1/backendRefs"), Some(&json!([])));
}

#[test]
fn a_tie_names_both() {
    let text = example().replace(
        "filter: tamis/retry\n  phase: traffic\n  order: 20",
        "filter: tamis/retry\n  phase: traffic\n  order: 10",
    );
    let problems = folded(&text, "gateway:shop/edge").problems;
    assert_eq!(codes(&problems), ["attachment.tie", "attachment.tie"]);
    let [one, other] = &problems[..] else { unreachable!() };
    assert_eq!(
        one.message,
        "several attachments have order 10 in one phase of one target; none of them takes effect"
    );
    assert_eq!((&one.place.line, &other.place.line), (&other.also[0].line, &one.also[0].line));
    assert_ne!(one.place.line, other.place.line);
}

#[test]
fn a_pin_is_missing_only_for_proxies_that_the_attachment_is_about() {
    let document = |kind: &str, name: &str, spec: serde_json::Value| {
        let metadata = json!({ "name": name, "namespace": "shop" });
        json!({ "apiVersion": "tamis.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec })
            .to_string()
    };
    let service = |name: &str, sidecar: &str| {
        let endpoint = json!({ "address": "127.0.0.1:9000", "sidecar": sidecar });
        let tls = json!({ "certificate": "c", "key": "k", "ca": "ca" });
        let port = json!({ "port": 80, "protocol": "http" });
        let identity = format!("spiffe://shop.example/{name}");
        let spec =
            json!({ "ports": [port], "identity": identity, "tls": tls, "endpoints": [endpoint] });
        document("Service", name, spec)
    };
    let target = json!({ "kind": "Service", "name": "b" });
    let attachment =
        json!({ "targetRefs": [target], "filter": "shop/x", "phase": "authz", "order": 1 });
    let text = [
        service("a", "127.0.0.1:15000"),
        service("b", "127.0.0.1:15010"),
        document("Filter", "x", json!({ "world": "authorizer" })),
        document("Grant", "x", json!({ "filter": "shop/x" })),
        document("FilterAttachment", "x", attachment),
    ];
    let text = text.join("\n---\n");
    assert!(folded(&text, "sidecar:shop/a/0").problems.is_empty());
    let there = folded(&text, "sidecar:shop/b/0");
    assert_eq!(codes(&there.problems), ["pin.missing"]);
    assert_eq!(there.plan.unwrap().filters[0].refused.as_ref().unwrap().code, "pin.missing");
}

#[test]
fn what_cannot_run_and_fails_closed_stays_in_the_chain_refused() {
    let rows = [
        ("\"filter\":\"tamis/jwt\"", "\"filter\":\"tamis/other\"", "pin.missing"),
        ("spec:\n  filter: tamis/jwt", "spec:\n  filter: tamis/other", "grant.missing"),
        (
            "metadata: { name: jwt, namespace: tamis }",
            "metadata: { name: jwk, namespace: tamis }",
            "filter.unknown",
        ),
        ("file: .tamis/jwks.json", "file: gone.json", "file.unreadable"),
        ("sectionName: pay", "sectionName: pya", "attachment.target"),
        (
            "order: 20\n  config:\n    required: true",
            "order: 20\n  onFailure: open\n  config:\n    required: true",
            "attachment.on-failure",
        ),
    ];
    for (from, to, code) in rows {
        let text = example();
        assert!(text.contains(from), "{from}");
        let folded = folded(&text.replace(from, to), "gateway:shop/edge");
        assert!(codes(&folded.problems).contains(&code), "{code}: {:?}", folded.problems);
        let plan = folded.plan.unwrap();
        let pay = plan.filters.iter().find(|one| one.attachment == "shop/pay-jwt").unwrap();
        assert_eq!(pay.refused.as_ref().unwrap().code, code);
        assert!(chain(&plan, "http").contains(&"route"), "{code}: the others run");
    }
}

#[test]
fn the_way_out_of_two_documents_of_one_name_can_be_gone() {
    let route = "kind: Filter\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: route, namespace: tamis }\nspec: { world: route-policy }\n";
    let lock = "kind: FiltersLock\napiVersion: tamis.dev/v1alpha1\nfilters: []\n";
    for (what, second, way) in [
        ("Filter", route, "keep one of them, or rename one"),
        ("FiltersLock", lock, "delete the other"),
    ] {
        let folded = folded(&format!("{}\n---\n{second}", example()), "gateway:shop/edge");
        let twice: Vec<&Problem> =
            folded.problems.iter().filter(|one| one.code == "document.duplicate").collect();
        assert!(!twice.is_empty(), "{what}");
        for one in twice {
            let help = one.help.as_deref().unwrap();
            assert!(one.message.starts_with(what) && help.contains(way), "{what}: {help}");
            // A lock has no name that could be changed.
            assert_eq!(help.contains("rename"), what != "FiltersLock", "{help}");
        }
    }
}

#[test]
fn what_fails_open_and_cannot_run_is_left_out() {
    let text = example().replace("\"filter\":\"tamis/telemetry\"", "\"filter\":\"tamis/other\"");
    let plan = folded(&text, "gateway:shop/edge").plan.unwrap();
    assert!(!chain(&plan, "http").contains(&"telemetry"));
}

#[test]
fn a_pin_of_the_service_wins_over_that_of_all() {
    let digest = format!("sha256:{}", "1".repeat(64));
    let pin = json!({ "service": "shop/edge", "filter": "tamis/route", "version": "0.2.0", "digest": digest });
    let text = example().replace("\"filters\":[", &format!("\"filters\":[{pin},"));
    let version = |node: &str| {
        let plan = folded(&text, node).plan.unwrap();
        plan.filters.iter().find(|one| one.filter == "tamis/route").unwrap().version.clone()
    };
    assert_eq!(version("gateway:shop/edge"), "0.2.0");
    assert_eq!(version("sidecar:shop/catalog"), "0.1.0");
}

#[test]
fn a_service_with_sidecars_and_no_identity_is_left_without_endpoints() {
    let text = example().replace("  identity: spiffe://shop.example/ns/shop/service/catalog\n", "");
    let folded = folded(&text, "gateway:shop/edge");
    assert_eq!(codes(&folded.problems), ["service.identity"]);
    let plan = folded.plan.unwrap();
    let service =
        |name: &str| plan.services.iter().find(|one| one.name == name).unwrap().endpoints.len();
    assert_eq!((service("shop/catalog:80"), service("shop/payments:80")), (0, 2));
}

/// The example without files for the identities inside the mesh.
fn without_files() -> String {
    let (text, mut inside) = (example(), false);
    let kept = text.lines().filter(|line| {
        inside = line.starts_with("  tls:") || (inside && line.starts_with("    "));
        !inside
    });
    let kept: Vec<&str> = kept.collect();
    assert_eq!(kept.iter().filter(|line| line.contains("/ca.crt")).count(), 0);
    kept.join("\n")
}

#[test]
fn without_files_every_hop_inside_the_mesh_uses_svids_and_none_clear_text() {
    for node in ["gateway:shop/edge", "sidecar:shop/payments/0", "sidecar:shop/catalog"] {
        let folded = folded(&without_files(), node);
        assert!(folded.problems.is_empty(), "{:#?}", folded.problems);
        let plan = folded.plan.unwrap();
        assert!(plan.needs_svid(), "{node}");
        for service in plan.services.iter().filter(|one| !one.name.starts_with("local/")) {
            for endpoint in &service.endpoints {
                let tls = member(endpoint);
                assert!(tls.files.is_none() && tls.expect_identity.starts_with("spiffe://"));
            }
        }
        let inbound = plan.listeners.iter().find(|one| one.name == "inbound");
        assert_eq!(inbound.is_some(), node.starts_with("sidecar"));
        if let Some(inbound) = inbound {
            let svid = plan.identity.clone().unwrap();
            assert_eq!(inbound.tls, Some(TlsPlan::Svid { svid }));
        }
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<NodePlan>(&text).unwrap(), plan, "{node}");
    }
}

#[test]
fn a_gateway_without_an_identity_reaches_no_sidecar_and_says_so() {
    let id = "  identity: spiffe://shop.example/ns/shop/gateway/edge\n";
    let text = without_files() + "\n";
    assert!(text.contains(id), "{text}");
    let folded = folded(&text.replace(id, ""), "gateway:shop/edge");
    assert_eq!(codes(&folded.problems), ["node.identity"]);
    let help = folded.problems[0].help.as_deref().unwrap();
    assert!(help.contains("spec.identity"), "{help}");
    let plan = folded.plan.unwrap();
    assert!(plan.services.iter().all(|one| one.endpoints.iter().all(|it| it.tls.is_none())));
}

#[test]
fn a_proxy_that_is_in_no_document_has_no_plan() {
    let folded = folded(&example(), "sidecar:shop/catalog/7");
    assert!(folded.plan.is_none());
    assert_eq!(codes(&folded.problems), ["node.none"]);
}

#[test]
fn the_order_of_documents_does_not_matter() {
    let text = example() + MESH_ROUTE;
    let mut reversed = documents(&text);
    reversed.reverse();
    let node = "gateway:shop/edge".parse().unwrap();
    assert_eq!(fold(&documents(&text), &node, &files).plan, fold(&reversed, &node, &files).plan);
}

#[test]
fn a_lost_key_leaves_the_policy_in_force() {
    let text = example().replace("publicKeyFile: .tamis/keys/local-dev.pub", "publicKeyFile: gone");
    let folded = folded(&text, "gateway:shop/edge");
    assert_eq!(codes(&folded.problems), ["trust.key"]);
    assert_eq!(folded.plan.unwrap().trust[0]["keys"], json!([]));
}

#[test]
fn what_a_policy_revokes_and_how_stale_it_may_be_reaches_the_plan_as_written() {
    let more = "\n  revokedKeys: [local-dev, { key: local-dev, fromIndex: 40 }]\n  stalenessBound: 24h\n  threshold: 1";
    let text = example().replace("\n  threshold: 1", more);
    let folded = folded(&text, "gateway:shop/edge");
    assert_eq!(codes(&folded.problems), [""; 0]);
    let trust = &folded.plan.unwrap().trust[0];
    assert_eq!(trust["revokedKeys"], json!(["local-dev", { "key": "local-dev", "fromIndex": 40 }]));
    assert_eq!(trust["stalenessBound"], "24h");
    assert_eq!(plan("gateway:shop/edge").trust[0].get("stalenessBound"), None);
}

#[test]
fn a_revocation_that_is_misspelled_has_its_place() {
    for (entry, code) in [
        ("{ key: a, fromIndx: 1 }", "field.unknown"),
        ("{ key: a }", "field.missing"),
        ("{ key: a, fromIndex: -1 }", "field.range"),
        ("7", "field.type"),
    ] {
        let text = example()
            .replace("\n  threshold: 1", &format!("\n  revokedKeys: [{entry}]\n  threshold: 1"));
        let problems = parse("trust.yaml", &text).1;
        assert!(codes(&problems).contains(&code), "{entry}: {problems:#?}");
    }
}

#[test]
fn a_rollout_in_a_folder_is_told_where_it_belongs() {
    let rollout = json!({
        "apiVersion": "tamis.dev/v1alpha1", "kind": "Rollout", "metadata": { "name": "r" },
        "spec": { "filter": "a/b", "version": "1.0.0", "services": ["*"], "waves": [{ "percent": 100 }] },
    });
    let folded = folded(&format!("{}\n---\n{rollout}", example()), "gateway:shop/edge");
    assert_eq!(codes(&folded.problems), ["rollout.misplaced"]);
    assert!(folded.plan.is_some());
}

/// The example with an addition to its clear-text listener.
fn with_listener(more: &str) -> String {
    let plain = "name: http, port: 8080, protocol: HTTP }";
    assert!(example().contains(plain));
    example().replace(plain, &format!("name: http, port: 8080, protocol: HTTP, {more} }}"))
}

#[test]
fn a_listener_carries_no_protocol_that_is_http_or_tls_and_says_so() {
    let names = [
        "h2c",
        "h2",
        "h3",
        "http/1.1",
        "HTTP/2.0",
        "tls/1.0",
        "TLS",
        "connect-udp",
        "a b",
        "a,h2c",
        "",
    ];
    for name in names {
        let text = with_listener(&format!("upgrades: [shout, \"{name}\"]"));
        let folded = folded(&text, "gateway:shop/edge");
        assert_eq!(codes(&folded.problems), ["gateway.upgrade"], "{name}");
        let plan = folded.plan.unwrap();
        assert_eq!(plan.listeners[0].rules.upgrades, ["shout"], "{name} is still not tunnelled");
    }
    for node in ["gateway:shop/edge", "sidecar:shop/storefront/0"] {
        let listeners = plan(node).listeners;
        assert!(listeners.iter().all(|one| one.rules.upgrades == ["websocket"]), "{node}");
    }
}

#[test]
fn both_sockets_of_a_sidecar_carry_what_its_service_names_and_nothing_that_is_http() {
    let service = "metadata: { name: storefront, namespace: shop }\nspec:\n  ports:";
    assert!(example().contains(service));
    let folded_with = |names: &str| {
        let text = example().replace(
            service,
            &service.replace("  ports:", &format!("  upgrades: {names}\n  ports:")),
        );
        folded(&text, "sidecar:shop/storefront/0")
    };
    for (names, problems, carried) in [
        ("[shout, websocket]", &[][..], &["shout", "websocket"][..]),
        ("[]", &[], &[]),
        ("[shout, h2c]", &["gateway.upgrade"], &["shout"]),
        ("[\"TLS/1.0\"]", &["gateway.upgrade"], &[]),
    ] {
        let folded = folded_with(names);
        assert_eq!(codes(&folded.problems), problems, "{names}");
        let listeners = folded.plan.unwrap().listeners;
        assert_eq!(listeners.len(), 2);
        assert!(
            listeners.iter().all(|one| one.rules.upgrades == carried),
            "{names}: {listeners:#?}"
        );
    }
}

#[test]
fn a_gateway_that_others_can_reach_keeps_its_reasons_to_itself() {
    let reasons = |text: &str| {
        let folded = folded(text, "gateway:shop/edge");
        assert!(folded.problems.is_empty(), "{:?}", folded.problems);
        folded.plan.unwrap().listeners[0].rules.reasons
    };
    let public = |text: &str| text.replace("value: 127.0.0.1 }", "value: 0.0.0.0 }");
    assert_eq!(reasons(&example()), ListenerReasons::Show);
    assert_eq!(reasons(&public(&example())), ListenerReasons::Hide);
    assert_eq!(reasons(&public(&with_listener("reasons: Show"))), ListenerReasons::Show);
    assert_eq!(reasons(&with_listener("reasons: Hide")), ListenerReasons::Hide);
    let sidecar = plan("sidecar:shop/storefront/0");
    assert!(sidecar.listeners.iter().all(|one| one.rules.reasons == ListenerReasons::Show));
}

#[test]
fn clients_of_http1_get_interim_responses_where_the_listener_says_so() {
    for (field, expected) in [
        ("reasons: Show", InterimResponses::Http2),
        ("interimResponses: Http2", InterimResponses::Http2),
        ("interimResponses: All", InterimResponses::All),
    ] {
        let folded = folded(&with_listener(field), "gateway:shop/edge");
        assert!(folded.problems.is_empty(), "{:?}", folded.problems);
        let rules = &folded.plan.unwrap().listeners[0].rules;
        assert_eq!(rules.interim_responses, expected, "{field}");
    }
    let sidecar = plan("sidecar:shop/storefront/0").listeners;
    assert!(sidecar.iter().all(|one| one.rules.interim_responses == InterimResponses::All));
}

#[test]
fn a_listener_that_does_not_say_whom_it_trusts_does_not_listen() {
    for (field, place) in [
        ("{}", "clientAddress"),
        ("{ field: Forwarded }", "clientAddress"),
        ("{ trusted: [10.0.0.0/8, lb.internal] }", "lb.internal"),
        ("{ trusted: [10.0.0.1/8] }", "10.0.0.1/8"),
        ("{ trusted: [unix], hops: 1 }", "unix"),
        ("{ trusted: [\"::ffff:10.0.0.0/104\"] }", "\"::ffff:10.0.0.0/104\""),
    ] {
        let text = with_listener(&format!("clientAddress: {field}"));
        let folded = folded(&text, "gateway:shop/edge");
        assert_eq!(codes(&folded.problems), ["gateway.client-address"], "{field}");
        let at = &folded.problems[0].place;
        assert_eq!(&text[at.start..at.end], place, "{field}");
        assert!(folded.plan.unwrap().listeners.iter().all(|one| one.name != "http"), "{field}");
    }
    for field in ["{ hops: 0 }", "{ hops: 17 }", "{ trusted: [] }", "{ field: x-real-ip, hops: 1 }"]
    {
        let text = with_listener(&format!("clientAddress: {field}"));
        assert!(!parse("shop.yaml", &text).1.is_empty(), "{field}");
    }
    let text = with_listener("proxyProtocol: { trusted: [10.0.0.1, localhost] }");
    let refused = folded(&text, "gateway:shop/edge");
    assert_eq!(codes(&refused.problems), ["gateway.client-address"]);
    let at = &refused.problems[0].place;
    assert_eq!(&text[at.start..at.end], "localhost");
    assert!(refused.plan.unwrap().listeners.iter().all(|one| one.name != "http"));
    for field in ["{}", "{ trusted: [] }", "{ trusted: [10.0.0.1], version: 2 }"] {
        let text = with_listener(&format!("proxyProtocol: {field}"));
        assert!(!parse("shop.yaml", &text).1.is_empty(), "{field}");
    }
    let text = with_listener(
        "clientAddress: { trusted: [10.0.0.0/8, 192.0.2.1], hops: 2 }, proxyProtocol: { trusted: [10.0.0.9] }",
    );
    let folded = folded(&text, "gateway:shop/edge");
    let rules = &folded.plan.unwrap().listeners[0].rules;
    let expected = ClientAddressPlan {
        field: ClientAddressField::XForwardedFor,
        trusted: Some(vec!["10.0.0.0/8".to_owned(), "192.0.2.1".to_owned()]),
        hops: Some(2),
    };
    assert_eq!(rules.client_address, Some(expected));
    assert_eq!(rules.hostname, None);
    assert_eq!(rules.proxy_protocol, Some(vec!["10.0.0.9".to_owned()]));
}

#[test]
fn how_a_listener_reads_requests_is_what_its_document_says() {
    let text = with_listener(
        "paths: { emptySegments: Keep, escapedSlashes: Keep, escapes: Unreserved }, grpcWeb: true",
    );
    let rules = folded(&text, "gateway:shop/edge").plan.unwrap().listeners.remove(0).rules;
    let expected = ListenerRulesPlan {
        empty_segments: EmptySegments::Keep,
        escaped_slashes: AmbiguousPaths::Keep,
        escapes: PathEscapes::Unreserved,
        grpc_web: true,
        interim_responses: InterimResponses::Http2,
        ..ListenerRulesPlan::default()
    };
    assert_eq!(rules, expected);
}

/// The example with an HTTPS listener that has these fields.
fn with_secure_listener(more: &str) -> String {
    let plain = "name: http, port: 8080, protocol: HTTP, ";
    let secure =
        "name: http, port: 8080, protocol: HTTPS, tls: { certificate: a.crt, key: a.key }, ";
    let text = with_listener(more);
    assert!(text.contains(plain));
    text.replace(plain, secure)
}

#[test]
fn http3_is_served_beside_https_and_named_for_a_day() {
    for (field, advertised_for) in [
        ("http3: {}", Some(86_400)),
        ("http3: { maxAge: 90s }", Some(90)),
        ("http3: { advertise: true, maxAge: 720h }", Some(2_592_000)),
        ("http3: { advertise: false, maxAge: 1h }", None),
    ] {
        let folded = folded(&with_secure_listener(field), "gateway:shop/edge");
        let rules = &folded.plan.unwrap().listeners[0].rules;
        assert_eq!(rules.http3, Some(Http3Plan { advertised_for }), "{field}");
    }
    let none = folded(&with_secure_listener("reasons: Show"), "gateway:shop/edge");
    assert_eq!(none.plan.unwrap().listeners[0].rules.http3, None);
}

#[test]
fn http3_that_nobody_could_reach_or_trust_does_not_listen() {
    for (text, place, says) in [
        (with_listener("http3: {}"), "http3", "write protocol HTTPS"),
        (
            with_secure_listener("http3: {}, proxyProtocol: { trusted: [10.0.0.9] }"),
            "http3",
            "no PROXY header over UDP",
        ),
        (with_secure_listener("http3: { maxAge: 1ms }"), "http3/maxAge", "from 1s to 720h"),
        (with_secure_listener("http3: { maxAge: 721h }"), "http3/maxAge", "from 1s to 720h"),
    ] {
        let folded = folded(&text, "gateway:shop/edge");
        let wrong: Vec<_> =
            folded.problems.iter().filter(|one| one.code == "gateway.listener").collect();
        let [problem] = &wrong[..] else { panic!("{text}: {:#?}", folded.problems) };
        assert!(problem.message.contains(says), "{place}: {}", problem.message);
        let listeners = folded.plan.unwrap().listeners;
        assert!(listeners.iter().all(|one| one.name != "http"), "{place}");
    }
    assert!(!parse("shop.yaml", &with_secure_listener("http3: { port: 1 }")).1.is_empty());
}

#[test]
fn a_redirect_goes_to_the_port_of_its_listener_unless_it_names_one() {
    for (redirect, port) in [
        ("{ path: { type: ReplaceFullPath, replaceFullPath: /new } }", json!(8080)),
        ("{ hostname: b.example }", json!(8080)),
        ("{ port: 9999 }", json!(9999)),
        ("{ scheme: https }", json!(null)),
    ] {
        let route = format!(
            "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: moved, namespace: shop }}\n\
             spec:\n  parentRefs: [{{ name: edge, sectionName: http }}]\n  hostnames: [moved.example]\n  rules:\n    \
             - filters: [{{ type: RequestRedirect, requestRedirect: {redirect} }}]\n"
        );
        let plan =
            folded(&format!("{}\n---\n{route}", example()), "gateway:shop/edge").plan.unwrap();
        let routes = router(&plan, "http");
        let routes = routes["routes"].as_array().unwrap();
        let moved = routes.iter().find(|route| route["name"] == "shop/moved").unwrap();
        let given = moved.pointer("/rules/0/filters/0/requestRedirect/port").cloned();
        assert_eq!(given.unwrap_or_default(), port, "{redirect}");
    }
}

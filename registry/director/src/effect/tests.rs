use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixture::{
    JWT, ROUTE, World, applied, document, entry, gateway, guard_of, pinned, removed, service,
    unpinned,
};
use crate::record::{ApplyRecord, DocumentRecord, PinRecord, RecordBody};

fn diff(world: &mut World, change: impl Into<RecordBody>) -> ChangeEffect {
    let change = change_of(change.into()).unwrap();
    world.plans.effect(&world.state, &change).unwrap()
}

fn change_of(body: RecordBody) -> Option<Change> {
    match body {
        RecordBody::Applied(applied) => Some(Change::Apply(applied)),
        RecordBody::Pinned(pinned) => Some(Change::Pin(pinned)),
        RecordBody::Unpinned(unpinned) => Some(Change::Unpin(unpinned)),
        _ => None,
    }
}

/// Service, slot, how many nodes, and how it changes.
fn slots_of(diff: &ChangeEffect) -> Vec<(&str, &str, usize, String)> {
    let row = |one: &SlotEffect| {
        let json = serde_json::to_value(one).unwrap();
        let parts = json.get("parts").map(ToString::to_string).unwrap_or_default();
        format!("{}{parts}", json["change"].as_str().unwrap())
    };
    let rows = diff.slots.iter();
    rows.map(|one| (one.service.as_str(), one.slot.as_str(), one.nodes.len(), row(one))).collect()
}

/// Where a rollout ends, its services have one effect together, which is that of each of them.
#[test]
fn many_pins_have_the_effect_of_each_of_them_and_one_that_cannot_be_made_has_none() {
    let mut world = World::mesh();
    let pin = |service: &str| pinned(service, JWT, "1.1.0");
    let [a, b] = ["shop/a", "shop/b"].map(pin);
    let alone =
        |world: &World, pin: &PinRecord| effect(&world.state, &Change::Pin(pin.clone())).unwrap();
    let (of_a, of_b) = (alone(&world, &a), alone(&world, &b));
    let wrong = PinRecord { service: "no name".to_owned(), ..a.clone() };
    assert!(effect(&world.state, &Change::Pin(wrong.clone())).is_err());
    let both = world.plans.effect_of_pins(&world.state, &[a, wrong, b]);
    let slots = |all: &[&ChangeEffect]| {
        let mut slots: Vec<_> =
            all.iter().flat_map(|one| &one.slots).map(|one| format!("{one:?}")).collect();
        slots.sort();
        slots
    };
    assert!(!of_a.slots.is_empty() && !of_b.slots.is_empty());
    assert_eq!(slots(&[&both]), slots(&[&of_a, &of_b]));
    let touched: BTreeSet<String> = of_a.touched.union(&of_b.touched).cloned().collect();
    assert_eq!(both.touched, touched);
    assert!(world.plans.effect_of_pins(&world.state, &[]).is_empty());
}

#[test]
fn a_pin_changes_the_digest_in_every_proxy_of_its_service() {
    let mut world = World::mesh();
    let diff = diff(&mut world, pinned("shop/a", JWT, "1.1.0"));
    assert_eq!(slots_of(&diff), [("shop/a", "shop/a-jwt", 2, r#"changed["digest"]"#.to_owned())]);
    assert_eq!((diff.services, diff.touched.len()), (4, 1));
    let SlotTransition::Changed { before, after, .. } = &diff.slots[0].change else { panic!() };
    assert_eq!((before.version.as_str(), after.version.as_str()), ("1.0.0", "1.1.0"));
    assert!(diff.problems.is_empty() && diff.others.is_empty() && !diff.is_empty());
}

#[test]
fn what_is_pinned_already_changes_nothing() {
    let mut world = World::mesh();
    assert!(diff(&mut world, pinned("*", JWT, "1.0.0")).is_empty());
    assert!(diff(&mut world, pinned("shop/nowhere", JWT, "1.1.0")).is_empty());
    assert!(diff(&mut world, applied([guard_of("shop/a", "https://idp.example")])).is_empty());
    assert!(diff(&mut world, ApplyRecord::default()).is_empty());
}

#[test]
fn a_pin_taken_out_leaves_its_slots_refused_and_says_so() {
    let mut world = World::mesh();
    let diff = diff(&mut world, unpinned("*", JWT));
    assert_eq!(diff.slots.len(), 3);
    let SlotTransition::Changed { after, parts, .. } = &diff.slots[0].change else { panic!() };
    assert_eq!(after.refused.as_deref(), Some("pin.missing"));
    assert_eq!(*parts, [SlotAspect::Digest, SlotAspect::Refused]);
    let codes: Vec<&str> = diff.problems.iter().map(|one| one.code.as_str()).collect();
    assert_eq!(codes, ["pin.missing"; 3]);
}

#[test]
fn each_part_of_a_slot_that_changes_is_named() {
    let attachment = |field: &str, value: serde_json::Value| {
        let mut spec = json!({
            "targetRefs": [{ "kind": "Service", "name": "a" }],
            "filter": JWT, "phase": "authn", "order": 10, "config": { "issuer": "https://idp.example" },
        });
        spec[field] = value;
        applied([document("FilterAttachment", "shop/a-jwt", &spec)])
    };
    let grant = json!({ "filter": JWT, "limits": { "memory": "8MiB" } });
    let rows = [
        (attachment("config", json!({ "issuer": "https://x.example" })), vec![SlotAspect::Config]),
        (attachment("order", json!(11)), vec![SlotAspect::Placement]),
        (attachment("isolation", json!("request")), vec![SlotAspect::Faults]),
        (applied([document("Grant", JWT, &grant)]), vec![SlotAspect::Grant]),
    ];
    for (change, expected) in rows {
        let mut world = World::mesh();
        let diff = diff(&mut world, change);
        let SlotTransition::Changed { parts, .. } = &diff.slots[0].change else { panic!() };
        assert_eq!(*parts, expected);
    }
}

#[test]
fn proxies_come_and_go_with_their_slots() {
    let mut world = World::mesh();
    let more = diff(&mut world, applied([service("shop/a", 3)]));
    assert_eq!(more.nodes_added, ["sidecar:shop/a/2"]);
    let added = |slot| ("shop/a", slot, 1, "added".to_owned());
    let slots = ["shop/a-jwt", "shop/route/inbound", "shop/route/outbound"];
    assert_eq!(slots_of(&more), slots.map(added));
    let less = diff(&mut world, removed("Service/shop/c"));
    assert_eq!(less.nodes_removed, ["sidecar:shop/c/0", "sidecar:shop/c/1"]);
    assert!(
        less.touched.contains("shop/c") && less.others["shop/a"].contains("upstream shop/c:80")
    );
    let new = diff(&mut world, applied([service("shop/d", 1)]));
    assert_eq!((new.services, new.nodes_added.len()), (4, 1));
    assert!(!new.touched.contains("shop/d"), "{:?}", new.touched);
}

#[test]
fn a_chain_that_would_be_empty_is_named() {
    let mut world = World::mesh();
    let removed = vec!["FilterAttachment/shop/route".to_owned()];
    let diff = diff(&mut world, ApplyRecord { removed, ..ApplyRecord::default() });
    let emptied: Vec<(&str, &str)> =
        diff.emptied.iter().map(|(node, listener)| (node.as_str(), listener.as_str())).collect();
    let outbound = |node| (node, "outbound");
    assert_eq!(emptied[0], ("gateway:shop/edge", "http"));
    assert_eq!(emptied[1], outbound("sidecar:shop/a/0"));
    assert_eq!(emptied.len(), 7);
    assert_eq!(diff.touched.len(), 4);
}

/// A gateway with another setting of its listener.
fn listener(setting: &str, value: serde_json::Value) -> ApplyRecord {
    let mut gateway: serde_json::Value = serde_json::from_str(&gateway("shop/edge").text).unwrap();
    gateway["spec"]["listeners"][0][setting] = value;
    applied([document("Gateway", "shop/edge", &gateway["spec"])])
}

#[test]
fn each_setting_of_a_listener_that_changes_is_named_and_counts() {
    let rows = [
        ("clientAddress", json!({ "trusted": ["0.0.0.0/0"] }), "clientAddress"),
        ("proxyProtocol", json!({ "trusted": ["10.0.0.7"] }), "proxyProtocol"),
        ("reasons", json!("Hide"), "reasons"),
        ("upgrades", json!([]), "upgrades"),
        ("grpcWeb", json!(true), "grpcWeb"),
        ("interimResponses", json!("All"), "interimResponses"),
        ("hostname", json!("a.example"), "hostname"),
        ("paths", json!({ "emptySegments": "Keep" }), "paths.emptySegments"),
        ("paths", json!({ "escapedSlashes": "Keep" }), "paths.escapedSlashes"),
        ("paths", json!({ "parameters": "Keep" }), "paths.parameters"),
        ("paths", json!({ "escapes": "Unreserved" }), "paths.escapes"),
        ("port", json!(8081), "address"),
    ];
    for (setting, value, named) in rows {
        let mut world = World::mesh();
        let diff = diff(&mut world, listener(setting, value));
        let expected = BTreeMap::from([(
            "shop/edge".to_owned(),
            BTreeSet::from([format!("listener http: {named}")]),
        )]);
        assert_eq!(diff.others, expected, "{setting}");
        assert_eq!(diff.touched, BTreeSet::from(["shop/edge".to_owned()]), "{setting}");
        assert!(!diff.is_empty());
    }
}

#[test]
fn http3_and_what_a_listener_for_connections_has_are_settings_too() {
    let https = |more: serde_json::Value| {
        let mut listener = json!({
            "name": "http", "port": 8080, "protocol": "HTTPS",
            "tls": { "certificate": "a.crt", "key": "a.key" },
        });
        listener.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        listener
    };
    let tcp = |more: serde_json::Value| {
        let mut listener = json!({ "name": "http", "port": 8080, "protocol": "TCP" });
        listener.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        listener
    };
    let edge = |listener: &serde_json::Value| {
        let spec = json!({ "listeners": [listener], "identity": "spiffe://shop.example/ns/edge",
            "tls": { "certificate": "g.crt", "key": "g.key", "ca": "ca.crt" } });
        applied([document("Gateway", "shop/edge", &spec)])
    };
    let rows = [
        (https(json!({})), https(json!({ "http3": {} })), &["http3"][..]),
        (
            https(json!({})),
            https(
                json!({ "tls": { "certificate": "a.crt", "key": "a.key", "clientCa": "c.crt" } }),
            ),
            &["tls"],
        ),
        (tcp(json!({})), tcp(json!({ "idleTimeout": "5m" })), &["idleTimeout"]),
        (tcp(json!({})), tcp(json!({ "maxConnections": 7 })), &["maxConnections"]),
        (https(json!({})), tcp(json!({})), &["protocol", "tls"]),
    ];
    for (before, after, named) in rows {
        let mut world = World::mesh();
        world.append("ada", edge(&before));
        let diff = diff(&mut world, edge(&after));
        let named = named.iter().map(|one| format!("listener http: {one}")).collect();
        assert_eq!(diff.others, BTreeMap::from([("shop/edge".to_owned(), named)]), "{after}");
        assert!(diff.touched.contains("shop/edge"), "{after}");
    }
}

#[test]
fn what_becomes_of_connections_is_named_and_counts_and_addresses_of_others_do_not() {
    let edge = json!({
        "listeners": [{ "name": "db", "port": 8090, "protocol": "TCP" }],
        "identity": "spiffe://shop.example/ns/edge",
        "tls": { "certificate": "g.crt", "key": "g.key", "ca": "ca.crt" },
    });
    let route = |backend: &str| {
        let backends = json!([{ "name": backend, "port": 700 }]);
        let spec = json!({ "parentRefs": [{ "kind": "Gateway", "name": "edge" }], "rules": [{ "backendRefs": backends }] });
        document("TCPRoute", "shop/db", &spec)
    };
    // Endpoints whose applications other machines reach, with a port that is carried unread.
    let stock = |most: u32, egress: &str, address: &str| {
        let spec = json!({
            "ports": [{ "port": 700, "protocol": "tcp", "maxConnections": most }],
            "identity": "spiffe://shop.example/ns/stock",
            "tls": { "certificate": "c.crt", "key": "c.key", "ca": "ca.crt" },
            "endpoints": [{
                "address": address, "sidecar": "10.0.0.1:15006",
                "capture": { "outbound": ["127.0.0.1:15001"], "egress": egress },
            }],
        });
        document("Service", "shop/stock", &spec)
    };
    let before = || {
        [
            document("Gateway", "shop/edge", &edge),
            route("a"),
            stock(7, "registry-only", "10.0.0.1:80"),
        ]
    };
    let rows = [
        (route("b"), "shop/edge", "listener db: routes", true),
        (
            stock(8, "registry-only", "10.0.0.1:80"),
            "shop/stock",
            "listener inbound:700: maxConnections",
            true,
        ),
        (stock(7, "allow", "10.0.0.1:80"), "shop/stock", "listener captured:egress: egress", true),
    ];
    for (after, service, named, counts) in rows {
        let mut world = World::mesh();
        world.append("ada", applied(before()));
        world.is_well();
        let diff = diff(&mut world, applied([after]));
        let others = diff.others.get(service).cloned().unwrap_or_default();
        assert!(others.contains(named), "{named}: {:?}", diff.others);
        assert_eq!(diff.touched.contains(service), counts, "{named}: {:?}", diff.touched);
    }
}

/// A service whose endpoints have these ports; with a sidecar, 6,000 higher.
fn at(ports: &[u16], bare: &[u16]) -> ApplyRecord {
    let mut spec: serde_json::Value = serde_json::from_str(&service("shop/a", 1).text).unwrap();
    let sidecar = |port: &u16| {
        json!({
            "address": format!("127.0.0.1:{port}"), "sidecar": format!("127.0.0.1:{}", port + 6_000),
            "outbound": format!("127.0.0.1:{}", port + 7_000),
        })
    };
    let bare = bare.iter().map(|port| json!({ "address": format!("127.0.0.1:{port}") }));
    let endpoints: Vec<_> = ports.iter().map(sidecar).chain(bare).collect();
    spec["spec"]["endpoints"] = json!(endpoints);
    applied([document("Service", "shop/a", &spec["spec"])])
}

#[test]
fn a_service_that_is_reached_in_another_way_or_elsewhere_counts_and_a_single_endpoint_does_not() {
    let policy = document(
        "UpstreamPolicy",
        "shop/a",
        &json!({ "targetRefs": [{ "kind": "Service", "name": "a" }], "connectTimeout": "7s" }),
    );
    let moved = |ports: [u16; 2]| {
        let mut spec: serde_json::Value = serde_json::from_str(&service("shop/a", 2).text).unwrap();
        for (at, port) in ports.iter().enumerate() {
            spec["spec"]["endpoints"][at]["address"] = json!(format!("127.0.0.1:{port}"));
        }
        applied([document("Service", "shop/a", &spec["spec"])])
    };
    let rows = [
        ("another policy", applied([policy]), true),
        ("all applications elsewhere", moved([1, 2]), true),
        ("one application elsewhere", moved([9_000, 2]), false),
    ];
    for (what, change, counts) in rows {
        let mut world = World::mesh();
        let diff = diff(&mut world, change);
        assert_eq!(diff.touched.contains("shop/a"), counts, "{what}: {:?}", diff.touched);
        assert!(!diff.touched.contains("shop/b"), "{what}: {:?}", diff.touched);
        assert!(!diff.others.is_empty(), "{what}");
    }
}

#[test]
fn protection_that_goes_is_named_for_each_service_and_pins_take_none() {
    let mut world = World::mesh();
    let gone = diff(&mut world, removed("FilterAttachment/shop/a-jwt"));
    let words = "\"shop/a-jwt\" (acme/jwt) no longer guards listener \"inbound\"";
    let expected = BTreeMap::from([("shop/a".to_owned(), BTreeSet::from([words.to_owned()]))]);
    assert_eq!(gone.unguarded, expected);
    assert!(gone.slots.iter().all(|one| one.guards), "{:?}", gone.slots);
    for (what, change) in [
        ("another configuration", applied([guard_of("shop/a", "https://other.example")])),
        ("an endpoint less", applied([service("shop/a", 1)])),
        ("an endpoint more", applied([service("shop/a", 3)])),
        ("no service", removed("Service/shop/a")),
    ] {
        assert_eq!(diff(&mut world, change).unguarded, BTreeMap::new(), "{what}");
    }
    assert!(diff(&mut world, unpinned("*", JWT)).unguarded.is_empty());
    let edited = diff(&mut world, applied([guard_of("shop/a", "https://other.example")]));
    assert!(edited.slots[0].guards, "{:?}", edited.slots);
    assert!(diff(&mut world, unpinned("*", ROUTE)).slots.iter().all(|one| !one.guards));
}

#[test]
fn the_guards_of_a_service_are_gone_round_at_an_endpoint_without_a_sidecar() {
    let told = |before: ApplyRecord, after: ApplyRecord| {
        let mut world = World::mesh();
        world.append("ada", before);
        world.is_well();
        let diff = diff(&mut world, after);
        diff.unguarded.into_values().flatten().collect::<Vec<_>>()
    };
    let gone = |endpoints: &str| {
        vec![format!(
            "\"shop/a-jwt\" (acme/jwt) no longer guards {endpoints} of Service shop/a, which has no sidecar"
        )]
    };
    assert_eq!(told(at(&[1, 2], &[]), at(&[1], &[2])), gone("endpoint 127.0.0.1:2"));
    assert_eq!(told(at(&[1], &[]), at(&[1], &[2])), gone("endpoint 127.0.0.1:2"), "a new one");
    let many = gone("endpoint 127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3 and 1 more");
    assert_eq!(told(at(&[1, 2, 3, 4], &[]), at(&[], &[1, 2, 3, 4])), many);
    let none: Vec<String> = Vec::new();
    assert_eq!(told(at(&[1, 2], &[]), at(&[1], &[])), none, "it is gone");
    assert_eq!(told(at(&[1], &[2]), at(&[1], &[2, 3])), none, "there was one such already");
    assert_eq!(told(at(&[1], &[2]), at(&[1, 2], &[])), none, "a sidecar more");
}

/// A Service with one endpoint for each address and its sidecar; empty: none.
fn leads(key: &str, endpoints: &[(&str, &str)]) -> DocumentRecord {
    let mut spec: serde_json::Value = serde_json::from_str(&service(key, 1).text).unwrap();
    let endpoints = endpoints.iter().enumerate().map(|(at, (address, sidecar))| match *sidecar {
        "" => json!({ "address": address }),
        sidecar => json!({
            "address": address, "sidecar": sidecar, "outbound": format!("127.0.3.1:{}", 17_000 + at),
        }),
    });
    spec["spec"]["endpoints"] = endpoints.collect();
    document("Service", key, &spec["spec"])
}

#[test]
fn an_application_that_another_service_leads_to_keeps_the_guards_in_front_of_it() {
    // The application of shop/a is at port 9000 of the machine of 127.0.1.N, and behind a guard.
    let own = leads("shop/a", &[("127.0.0.1:9000", "127.0.2.1:15000")]);
    let far = leads("shop/a", &[("10.0.0.7:9000", "127.0.2.1:15000")]);
    let here = leads("shop/a", &[("127.0.0.1:9000", "127.0.0.1:15000")]);
    let told = |before: &DocumentRecord, mut after: ApplyRecord, removed: &[&str]| {
        let mut world = World::mesh();
        world.append("ada", applied([before.clone()]));
        world.is_well();
        after.removed.extend(removed.iter().map(|key| (*key).to_owned()));
        let diff = diff(&mut world, after);
        diff.unguarded.into_values().flatten().collect::<Vec<_>>()
    };
    let gone = |address: &str, to: &str| {
        vec![format!(
            "\"shop/a-jwt\" (acme/jwt) does not guard {address} behind Service {to}, and it guarded everything that arrived there"
        )]
    };
    let none: Vec<String> = Vec::new();
    let same = "127.0.0.1:9000";
    // A guard that stays without its service closes every other one.
    let old = ["Service/shop/a", "FilterAttachment/shop/a-jwt"];
    for (what, before, to, endpoints) in [
        ("renamed", &own, "shop/d", [(same, "127.0.2.1:15001")]),
        ("taken over", &own, "shop/c", [(same, "127.0.2.1:15001")]),
        ("another loopback address", &own, "shop/d", [("127.0.0.9:9000", "127.0.2.1:15001")]),
        ("by its name", &own, "shop/d", [("localhost:9000", "127.0.2.1:15001")]),
        ("IPv6", &own, "shop/d", [("[::1]:9000", "127.0.2.1:15001")]),
        ("IPv4 in IPv6", &own, "shop/d", [("[::ffff:127.0.0.1]:9000", "127.0.2.1:15001")]),
        ("every address", &own, "shop/d", [("0.0.0.0:9000", "127.0.2.1:15001")]),
        ("without a sidecar", &here, "shop/d", [(same, "")]),
        ("another machine", &far, "shop/d", [("10.0.0.7:9000", "127.0.4.1:15001")]),
        ("its address in IPv6", &far, "shop/d", [("[::ffff:10.0.0.7]:9000", "")]),
    ] {
        let record = applied([leads(to, &endpoints)]);
        // shop/c has a guard of its own, of the same filter with the same configuration.
        let expected = if to == "shop/c" { none.clone() } else { gone(endpoints[0].0, to) };
        assert_eq!(told(before, record.clone(), &[]), expected, "{what}");
        assert_eq!(told(before, record, &old), expected, "{what}, and the old one goes");
    }
    let other = applied([leads("shop/c", &[(same, "127.0.2.1:15001")]), guard_of("shop/c", "x")]);
    assert_eq!(told(&own, other, &[]), gone(same, "shop/c"), "its guard believes others");
    let moved = [leads("acme/d", &[(same, "127.0.2.1:15001")])];
    let words = "a guard of another namespace does not guard 127.0.0.1:9000 behind Service acme/d, and it guarded everything \
                 that arrived there";
    assert_eq!(told(&own, applied(moved), &[]), [words], "whose names are not for everybody");
    let guarded =
        [leads("shop/d", &[(same, "127.0.2.1:15001")]), guard_of("shop/d", "https://idp.example")];
    for (what, before, after) in [
        ("its guard comes along", &own, applied(guarded)),
        (
            "another port",
            &own,
            applied([leads("shop/d", &[("127.0.0.1:9001", "127.0.2.1:15001")])]),
        ),
        (
            "the same port of another machine",
            &own,
            applied([leads("shop/d", &[(same, "127.0.4.1:15001")])]),
        ),
        (
            "the sidecar of the same service moves",
            &own,
            applied([leads("shop/a", &[(same, "127.0.4.1:15001")])]),
        ),
        (
            "it is elsewhere",
            &own,
            applied([leads("shop/a", &[("127.0.0.1:9005", "127.0.2.1:15000")])]),
        ),
    ] {
        assert_eq!(told(before, after, &[]), none, "{what}");
    }
}

#[test]
fn documents_that_are_wrong_make_no_plan_and_name_all_their_problems() {
    let world = World::mesh();
    let change = Change::Apply(applied([
        document("Service", "shop/a", &json!({ "prots": [] })),
        document("Grant", JWT, &json!({})),
    ]));
    let PlanError::Documents(problems) = effect(&world.state, &change).unwrap_err() else {
        panic!()
    };
    assert!(problems.len() >= 3, "{problems:#?}");
    let rules = [
        change_of(unpinned("shop/a", JWT).into()).unwrap(),
        change_of(pinned("a", JWT, "1.0.0").into()).unwrap(),
    ];
    for change in rules {
        assert!(matches!(effect(&world.state, &change), Err(PlanError::Rule(_))));
    }
}

#[test]
fn an_attachment_without_its_grant_is_a_new_problem_of_the_change() {
    let mut world = World::mesh();
    let diff = diff(&mut world, removed(&format!("Grant/{ROUTE}")));
    assert!(diff.problems.iter().all(|one| one.code == "grant.missing"));
    assert!(!diff.problems.is_empty());
    assert!(slots_of(&diff).iter().all(|row| row.3.contains("refused")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_diff_is_empty_exactly_when_no_plan_changes(
        entries in prop::collection::vec(entry(), 1..15),
        last in entry(),
    ) {
        let mut world = World::mesh();
        for entry in entries {
            world.raw(&entry.actor, &entry.kind, entry.body);
        }
        let body = RecordBody::from_body(&last.kind, &last.body).ok().flatten();
        let Some(change) = body.and_then(change_of) else { return Ok(()) };
        let Ok(diff) = world.plans.effect(&world.state, &change) else { return Ok(()) };
        let before = world.state.clone();
        prop_assert_eq!(
            serde_json::to_value(&diff).unwrap(),
            serde_json::to_value(effect(&before, &change).unwrap()).unwrap()
        );
        for body in change.bodies().unwrap() {
            world.append("ada", body);
        }
        let fold = |state: &State, node: &NodeName| state.desired.folder().fold(node).plan;
        let nodes = |state: &State| state.nodes();
        let changed: BTreeSet<String> = nodes(&before)
            .iter()
            .chain(&nodes(&world.state))
            .filter(|node| fold(&before, node) != fold(&world.state, node))
            .map(|node| node.key().to_owned())
            .collect();
        prop_assert_eq!(diff.is_empty(), changed.is_empty(), "{:?} {:?}", diff, changed);
        let named: BTreeSet<String> =
            diff.slots.iter().map(|one| one.service.clone()).chain(diff.others.keys().cloned()).collect();
        prop_assert!(named.is_subset(&changed));
        prop_assert!(diff.touched.is_subset(&changed));
    }
}

use serde_json::{Value, json};

use super::*;
use crate::fixture::{World, applied, document, gateway, removed, service, unpinned};
use crate::record::{DocumentRecord, FileRecord, ParsedOnce};

/// The needs of an apply, in short: places as they are, `NAMESPACE/*`, `Mesh` and `*`.
fn needs(world: &World, applied: ApplyRecord) -> Vec<String> {
    let needs = world.state.needs(&Change::Apply(applied)).unwrap();
    needs
        .iter()
        .map(|(need, why)| {
            assert!(!why.is_empty());
            match need {
                RequiredRight::Place(place) => place.clone(),
                RequiredRight::Namespace(namespace) => format!("{namespace}/*"),
                RequiredRight::Mesh => "Mesh".to_owned(),
                RequiredRight::Everything => "*".to_owned(),
            }
        })
        .collect()
}

fn attachment(key: &str, targets: Value, config: Value) -> DocumentRecord {
    let spec = json!({
        "targetRefs": targets, "filter": "tamis/jwt", "phase": "authn", "order": 1, "config": config,
    });
    document("FilterAttachment", key, &spec)
}

fn route(key: &str, parent: Value, hosts: &[&str], backend: Value) -> DocumentRecord {
    let rule = json!({ "backendRefs": [backend] });
    let spec = json!({ "parentRefs": [parent], "hostnames": hosts, "rules": [rule] });
    document("HTTPRoute", key, &spec)
}

fn open_gateway(key: &str) -> DocumentRecord {
    let allowed = json!({ "namespaces": { "from": "All" } });
    let spec = json!({
        "listeners": [{ "name": "http", "port": 8080, "protocol": "HTTP", "allowedRoutes": allowed }],
    });
    document("Gateway", key, &spec)
}

/// A grant by which a filter may call these services.
fn calling(key: &str, services: &[&str]) -> DocumentRecord {
    let imports = json!({ "http-client": { "services": services } });
    document("Grant", key, &json!({ "filter": "tamis/jwt", "imports": imports }))
}

#[test]
fn who_lets_a_filter_call_a_service_has_the_rights_to_it_or_its_owner_permits_it() {
    let permitted = |kind: &str, from: &str| {
        let from = json!({ "kind": kind, "namespace": from });
        let spec = json!({ "from": [from], "to": [{ "kind": "Service", "name": "s" }] });
        document("ReferenceGrant", "b/x", &spec)
    };
    let one: &[&str] = &["b/s"];
    for (before, permits, after, wanted) in [
        (None, None, calling("security/x", one), &["b/s", "security/*"][..]),
        (None, None, calling("security/x", &["security/s"]), &["security/s", "security/*"]),
        (None, Some(permitted("Grant", "security")), calling("security/x", one), &["security/*"]),
        (
            None,
            Some(permitted("HTTPRoute", "security")),
            calling("security/x", one),
            &["b/s", "security/*"],
        ),
        (
            None,
            Some(permitted("Grant", "security")),
            calling("security/x", &["b/t"]),
            &["b/t", "security/*"],
        ),
        // What it named before needs nothing again, and less needs nothing at all.
        (Some(one), None, calling("security/x", one), &["security/*"]),
        (Some(one), None, calling("security/x", &["b/s", "b/t"]), &["b/t", "security/*"]),
        (Some(one), None, calling("security/x", &[]), &["security/*"]),
        // It takes away from what security's grant allows.
        (None, None, calling("a/x", one), &["a/*"]),
    ] {
        let mut world = World::guarded();
        let before = before.map(|services| calling("security/x", services));
        let held = before.into_iter().chain(permits);
        for document in held {
            world.append("ada", applied([document]));
        }
        let found = needs(&world, applied([after.clone()]));
        assert_eq!(found, wanted, "{after:?}");
    }
    let mut world = World::guarded();
    world.append("ada", applied([calling("security/x", one)]));
    assert_eq!(needs(&world, removed("Grant/security/x")), ["security/*"]);
}

fn reference_grant(key: &str, from: &str, kind: &str, name: Option<&str>) -> DocumentRecord {
    let to = match name {
        Some(name) => json!({ "kind": kind, "name": name }),
        None => json!({ "kind": kind }),
    };
    let from = json!({ "kind": "HTTPRoute", "namespace": from });
    document("ReferenceGrant", key, &json!({ "from": [from], "to": [to] }))
}

#[test]
fn whoever_opens_more_than_a_name_needs_the_rights_to_all_of_it() {
    let outside =
        json!({ "hosts": ["evil.example"], "ports": [{ "port": 443, "protocol": "tcp" }] });
    let identity = |key: &str| {
        let spec = json!({
            "ports": [{ "port": 80, "protocol": "http" }], "identity": "spiffe://m/ns/b/y",
            "endpoints": [{ "address": "10.0.0.1:80" }],
        });
        document("Service", key, &spec)
    };
    let parent = json!({ "name": "open", "namespace": "infra" });
    let host = |key: &str| {
        route(
            key,
            parent.clone(),
            &["y.example"],
            json!({ "name": key.replace("b/", ""), "port": 80 }),
        )
    };
    let stub: &[(&str, &str)] = &[("tamis.dev/stands-in", "x")];
    for (held, after, wanted) in [
        (None, reference_grant("b/x", "evil", "Service", None), &["b/x", "b/*"][..]),
        (None, reference_grant("b/x", "evil", "Service", Some("y")), &["b/x", "b/y"]),
        (None, reference_grant("b/x", "evil", "Service", Some("x")), &["b/x"]),
        (None, document("ExternalService", "b/x", &outside), &["b/x", "b/*"]),
        (Some(identity("b/y")), identity("b/x"), &["b/x", "b/y"]),
        (Some(identity("b/y")), identity("b/y"), &["b/y"]),
        (Some(host("b/y")), host("b/x"), &["b/x", "b/y"]),
        // One that stands in for a broken route closes its hosts.
        (Some(host("b/y")), annotated(host("b/x"), stub), &["b/x", "b/y"]),
        (Some(host("b/y")), annotated(host("b/y"), stub), &["b/y"]),
    ] {
        let mut world = World::guarded();
        world.append("ada", applied([open_gateway("infra/open")]));
        if let Some(held) = held {
            world.append("ada", applied([held]));
        }
        assert_eq!(needs(&world, applied([after.clone()])), wanted, "{after:?}");
    }
}

fn files(paths: &[&str]) -> ApplyRecord {
    let file = |path: &&str| FileRecord { path: (*path).to_owned(), text: "{}".to_owned() };
    ApplyRecord { files: paths.iter().map(file).collect(), ..ApplyRecord::default() }
}

fn grant(key: &str) -> DocumentRecord {
    document("Grant", key, &json!({ "filter": "tamis/jwt" }))
}

fn trust(key: &str, file: &str) -> DocumentRecord {
    let keys = json!([{ "name": "k", "publicKeyFile": file }]);
    document("TrustPolicy", key, &json!({ "namespaces": ["*"], "keys": keys, "threshold": 1 }))
}

fn own_trust(key: &str, patterns: &[&str]) -> DocumentRecord {
    let keys = json!([{ "name": "k", "publicKey": "PEM" }]);
    document("TrustPolicy", key, &json!({ "namespaces": patterns, "keys": keys, "threshold": 1 }))
}

#[test]
fn a_trust_policy_outside_the_namespaces_of_security_speaks_of_its_own_filters_alone() {
    let world = World::guarded();
    for pattern in [
        "*",
        "b/f",
        "b/*",
        "aa/*",
        "a/b/*",
        "*/*",
        "a*",
        "A/*",
        "а/*",
        "a/**",
        "a",
        "",
        "security/*",
    ] {
        for patterns in [vec![pattern], vec!["a/*", pattern]] {
            let change = Change::Apply(applied([own_trust("a/x", &patterns)]));
            let Err(PlanError::Documents(problems)) = world.state.needs(&change) else {
                panic!("{pattern} was taken");
            };
            let problem = &problems[0];
            assert_eq!((problem.code.as_str(), problems.len()), ("trust.beyond", 1), "{pattern}");
            assert!(problem.help.as_ref().is_some_and(|help| help.contains("a/*")), "{pattern}");
        }
        // Security speaks of whatever it likes.
        let change = Change::Apply(applied([own_trust("security/x", &[pattern])]));
        assert!(world.state.needs(&change).is_ok(), "{pattern}");
    }
    let mut floor = json!({ "namespaces": ["a/*"], "keys": [{ "name": "k", "publicKey": "PEM" }], "threshold": 1 });
    floor["floorVersions"] = json!({ "b/f": "1.0.0" });
    let change = Change::Apply(applied([document("TrustPolicy", "a/x", &floor)]));
    assert!(world.state.needs(&change).is_err());
}

#[test]
fn only_who_operates_all_of_a_namespace_of_security_says_whom_the_mesh_recognises() {
    let world = World::guarded();
    let domain = |key: &str| {
        let spec = json!({ "trustDomain": "partner.example", "bundle": "PEM" });
        document("FederatedTrustDomain", key, &spec)
    };
    assert_eq!(needs(&world, applied([domain("security/x")])), ["security/*"]);
    let Err(PlanError::Documents(problems)) =
        world.state.needs(&Change::Apply(applied([domain("a/x")])))
    else {
        panic!("it was taken");
    };
    assert_eq!(problems[0].code, "federation.beyond");
    assert!(problems[0].help.is_some());
}

#[test]
fn a_document_needs_its_place_and_everything_it_speaks_of() {
    let world = World::guarded();
    let own = json!({ "name": "s" });
    let far = json!({ "name": "s", "namespace": "b" });
    let rows: Vec<(DocumentRecord, &[&str])> = vec![
        (
            document(
                "Service",
                "a/s",
                &json!({
                    "ports": [{ "port": 80, "protocol": "http" }],
                    "endpoints": [{ "address": "10.0.0.1:80" }],
                }),
            ),
            &["a/s"],
        ),
        (attachment("a/x", json!([{ "kind": "Mesh" }]), json!({})), &["a/x", "Mesh"]),
        // It closes every service of the namespace while that one is not there.
        (
            attachment("a/x", json!([{ "kind": "Service", "name": "s" }]), json!({})),
            &["a/s", "a/x", "a/*"],
        ),
        (route("a/r", json!({ "name": "g" }), &[], own.clone()), &["a/g", "a/r", "a/s"]),
        (route("a/r", json!({ "name": "g", "namespace": "b" }), &[], own), &["a/r", "a/s", "b/g"]),
        (route("a/r", json!({ "name": "g" }), &[], far), &["a/g", "a/r", "b/s"]),
        (
            document("Filter", "a/f", &json!({ "world": "authorizer", "repository": "b/f" })),
            &["a/f", "b/f"],
        ),
        (grant("security/x"), &["security/*"]),
        // It narrows what runs for its own namespace.
        (grant("a/x"), &["a/*"]),
        (trust("security/x", "k.pub"), &["security/*"]),
        (own_trust("a/x", &["a/*", "a/f"]), &["a/*"]),
        (
            document(
                "UpstreamPolicy",
                "a/p",
                &json!({ "targetRefs": [{ "kind": "Service", "name": "s" }] }),
            ),
            &["a/p", "a/s"],
        ),
        (reference_grant("a/g", "b", "Service", None), &["a/g", "a/*"]),
    ];
    for (document, wanted) in rows {
        let key = document.key.clone();
        assert_eq!(needs(&world, applied([document.clone()])), wanted, "{key}");
        // Removing it needs what it touched.
        let mut there = World::guarded();
        there.append("ada", applied([document]));
        assert_eq!(needs(&there, removed(&key)), wanted, "{key}");
    }
}

#[test]
fn the_old_form_of_a_document_counts_as_much_as_the_new_one() {
    let mut world = World::guarded();
    world.append("ada", applied([attachment("a/x", json!([{ "kind": "Mesh" }]), json!({}))]));
    world.append("ada", applied([service("a/s", 1)]));
    let own = attachment("a/x", json!([{ "kind": "Service", "name": "s" }]), json!({}));
    assert_eq!(needs(&world, applied([own])), ["a/s", "a/x", "Mesh"]);
    world.append("ada", applied([grant("security/x")]));
    assert_eq!(needs(&world, removed("Grant/security/x")), ["security/*"]);
}

#[test]
fn what_is_attached_to_a_document_is_touched_when_the_document_is() {
    let mut world = World::guarded();
    let guard = attachment("a/guard", json!([{ "kind": "HTTPRoute", "name": "r" }]), json!({}));
    let way = route("a/r", json!({ "name": "g" }), &[], json!({ "name": "s" }));
    world.append("ada", applied([way, guard]));
    // The guard stays, and closes all routes of the namespace when it no longer finds its own.
    assert_eq!(needs(&world, removed("HTTPRoute/a/r")), ["a/g", "a/guard", "a/r", "a/s", "a/*"]);
    let both = ["HTTPRoute/a/r", "FilterAttachment/a/guard"].map(str::to_owned).to_vec();
    let both = ApplyRecord { removed: both, ..ApplyRecord::default() };
    assert_eq!(needs(&world, both), ["a/g", "a/guard", "a/r", "a/s"]);
}

/// The same document with annotations.
fn annotated(record: DocumentRecord, annotations: &[(&str, &str)]) -> DocumentRecord {
    let mut text: Value = serde_json::from_str(&record.text).unwrap();
    for (name, value) in annotations {
        text["metadata"]["annotations"][name] = json!(value);
    }
    let text = text.to_string();
    let digest = tamis_trust::Digest::of(text.as_bytes());
    DocumentRecord { text, digest, parsed: ParsedOnce::default(), ..record }
}

fn guard_in(phase: &str, targets: &Value) -> DocumentRecord {
    let spec = json!({ "targetRefs": targets, "filter": "tamis/jwt", "phase": phase, "order": 1 });
    document("FilterAttachment", "a/x", &spec)
}

fn policy_in(mode: &str, targets: &Value) -> DocumentRecord {
    let spec = json!({ "targetRefs": targets, "mode": mode, "allow": [{}] });
    document("AuthorizationPolicy", "a/x", &spec)
}

#[test]
fn whoever_closes_more_than_the_targets_needs_the_rights_to_all_of_it() {
    let mut world = World::guarded();
    let (own, backend) = (json!({ "name": "g" }), json!({ "name": "s" }));
    let broken = json!({
        "parentRefs": [own], "hostnames": ["b.example"],
        "rules": [{ "matches": [{ "path": { "type": "Exact", "value": "/a//b" } }] }],
    });
    let of_service = json!({ "kind": "Service", "name": "s" });
    world.append(
        "ada",
        applied([
            service("a/s", 1),
            gateway("a/g"),
            route("a/r", own, &["a.example"], backend.clone()),
            document("HTTPRoute", "a/broken", &broken),
            route("a/between", of_service, &[], backend),
            document(
                "GRPCRoute",
                "a/r",
                &json!({ "parentRefs": [{ "name": "g" }], "rules": [{}] }),
            ),
        ]),
    );
    let wide = &["a/*"][..];
    let rows: [(Value, &[&str]); 15] = [
        // What is there closes what is named.
        (json!({ "kind": "Gateway", "name": "g" }), &["a/g"]),
        (json!({ "kind": "Service", "name": "s" }), &["a/s"]),
        (json!({ "kind": "HTTPRoute", "name": "r" }), &["a/r"]),
        (json!({ "kind": "GRPCRoute", "name": "r" }), &["a/r"]),
        // A part that is not there closes the whole, which is named.
        (json!({ "kind": "Gateway", "name": "g", "sectionName": "no" }), &["a/g"]),
        (json!({ "kind": "Service", "name": "s", "sectionName": "no" }), &["a/s"]),
        (json!({ "kind": "HTTPRoute", "name": "r", "sectionName": "no" }), &["a/r"]),
        // A guard of a route between services closes the service.
        (json!({ "kind": "HTTPRoute", "name": "between" }), &["a/between", "a/s"]),
        // What is not there, or is not used, may be anything of its kind.
        (json!({ "kind": "HTTPRoute", "name": "broken" }), &["a/broken", "a/*"]),
        (json!({ "kind": "Gateway", "name": "x" }), wide),
        (json!({ "kind": "Service", "name": "x" }), wide),
        (json!({ "kind": "HTTPRoute", "name": "x" }), wide),
        (json!({ "kind": "GRPCRoute", "name": "x" }), wide),
        (json!({ "kind": "Gateway", "name": "x", "sectionName": "no" }), wide),
        (json!({ "kind": "Mesh" }), &["Mesh"]),
    ];
    // Whether such a document closes anything.
    type Made<'a> = Box<dyn Fn(&Value) -> DocumentRecord + 'a>;
    let stub: &[(&str, &str)] = &[("tamis.dev/stands-in", "x")];
    let forms: [(&str, Made<'_>, bool); 8] = [
        ("authn", Box::new(|of| guard_in("authn", of)), true),
        ("authz", Box::new(|of| guard_in("authz", of)), true),
        ("traffic", Box::new(|of| guard_in("traffic", of)), false),
        ("transform", Box::new(|of| guard_in("transform", of)), false),
        ("enforce", Box::new(|of| policy_in("enforce", of)), true),
        ("audit", Box::new(|of| policy_in("audit", of)), false),
        ("stub", Box::new(|of| annotated(guard_in("authn", of), stub)), true),
        ("stub in traffic", Box::new(|of| annotated(guard_in("traffic", of), stub)), true),
    ];
    for (form, make, closes) in &forms {
        for (target, wanted) in &rows {
            let named = target["name"].as_str().map(|name| format!("a/{name}"));
            let mut all: Vec<String> = vec!["a/x".to_owned()];
            all.extend(named.clone());
            let touched = |one: &&&str| *closes || **one == "Mesh" || named.as_deref() == Some(one);
            all.extend(wanted.iter().filter(touched).map(|one| (*one).to_owned()));
            // In the order of needs: places, namespaces, the mesh.
            all.sort_by_key(|one| (one == "Mesh", one.ends_with('*'), one.clone()));
            all.dedup();
            let made = make(&json!([target]));
            assert_eq!(needs(&world, applied([made.clone()])), all, "{form} {target}");
            // Removing it opens all that it closed.
            let key = made.key.clone();
            let mut there = World { state: world.state.clone(), ..World::guarded() };
            there.append("ada", applied([made]));
            assert_eq!(needs(&there, removed(&key)), all, "{form} {target}");
        }
    }
    // What stands in for a guard with unreadable targets closes the namespace, whatever it names besides.
    for phase in ["authn", "authz", "traffic", "transform"] {
        let of = json!([{ "kind": "Service", "name": "s" }]);
        let closing = [("tamis.dev/stands-in", "x"), ("tamis.dev/closes", "namespace")];
        let found = needs(&world, applied([annotated(guard_in(phase, &of), &closing)]));
        assert_eq!(found, ["a/s", "a/x", "a/*"], "{phase}");
        // By itself, the second annotation says nothing.
        let found = needs(&world, applied([annotated(guard_in(phase, &of), &closing[1..])]));
        assert_eq!(found, ["a/s", "a/x"], "{phase}");
    }
    // What it guards may come with it, and need not be there before.
    let of = json!([{ "kind": "Service", "name": "x" }]);
    let both = applied([guard_in("authn", &of), service("a/x", 0)]);
    assert_eq!(needs(&world, both), ["a/x"]);
}

#[test]
fn whoever_takes_from_a_guard_what_it_guards_needs_the_rights_to_what_it_closes_then() {
    let (own, backend) = (json!({ "name": "g" }), json!({ "name": "s" }));
    let held = || {
        let guards = |key: &str, kind: &str, name: &str| {
            attachment(key, json!([{ "kind": kind, "name": name }]), json!({}))
        };
        applied([
            service("a/s", 1),
            gateway("a/g"),
            route("a/r", own.clone(), &["a.example"], backend.clone()),
            guards("a/of-s", "Service", "s"),
            guards("a/of-g", "Gateway", "g"),
            guards("a/of-r", "HTTPRoute", "r"),
        ])
    };
    let of = |changed: ApplyRecord| {
        let mut world = World::guarded();
        world.append("ada", held());
        needs(&world, changed).contains(&"a/*".to_owned())
    };
    let matching = |value: &str| {
        let rule = json!({ "matches": [{ "path": { "type": "Exact", "value": value } }], "backendRefs": [backend] });
        let spec = json!({ "parentRefs": [own], "hostnames": ["a.example"], "rules": [rule] });
        document("HTTPRoute", "a/r", &spec)
    };
    let stub = [("tamis.dev/stands-in", "x")];
    for (what, changed, closes) in [
        ("no service", removed("Service/a/s"), true),
        ("no gateway", removed("Gateway/a/g"), true),
        ("no route", removed("HTTPRoute/a/r"), true),
        ("a route that is not used", applied([matching("/a//b")]), true),
        ("a route that stands in for another", applied([annotated(matching("/a"), &stub)]), true),
        ("another match", applied([matching("/a/b")]), false),
        ("another service", applied([service("a/s", 2)]), false),
        ("the same gateway", applied([gateway("a/g")]), false),
    ] {
        assert_eq!(of(changed), closes, "{what}");
    }
}

#[test]
fn the_first_and_the_last_document_of_a_kind_need_the_rights_to_what_a_stray_guard_closes_without_it()
 {
    let of = |kind: &str| json!([{ "kind": kind, "name": "gone" }]);
    let guard = |kind: &str| guard_in("authn", &of(kind));
    let http = |key: &str| {
        route(key, json!({ "name": "open", "namespace": "infra" }), &[], json!({ "name": "s" }))
    };
    let grpc = |key: &str| {
        let parent = json!({ "name": "open", "namespace": "infra" });
        document("GRPCRoute", key, &json!({ "parentRefs": [parent], "rules": [{}] }))
    };
    let (s, r, g) = (|| service("a/s", 0), || http("a/r"), || gateway("a/g"));
    let stub: &[(&str, &str)] = &[("tamis.dev/stands-in", "x")];
    for (what, guard, held, change, shifts) in [
        ("the first gateway", guard("Gateway"), vec![s(), r()], applied([g()]), true),
        ("the last gateway", guard("Gateway"), vec![s(), r(), g()], removed("Gateway/a/g"), true),
        ("a second gateway", guard("Gateway"), vec![s(), g()], applied([gateway("a/x")]), false),
        (
            "one of two gateways",
            guard("Gateway"),
            vec![s(), g(), gateway("a/x")],
            removed("Gateway/a/x"),
            false,
        ),
        ("of another namespace", guard("Gateway"), vec![s()], applied([gateway("b/g")]), false),
        ("the first of another kind", guard("Gateway"), vec![r()], applied([s()]), false),
        ("the first service", guard("Service"), vec![r()], applied([s()]), true),
        ("the last service", guard("Service"), vec![s(), g()], removed("Service/a/s"), true),
        ("the first route", guard("HTTPRoute"), vec![s()], applied([r()]), true),
        ("the last route", guard("HTTPRoute"), vec![s(), r()], removed("HTTPRoute/a/r"), true),
        ("the first of either kind", guard("HTTPRoute"), vec![s()], applied([grpc("a/x")]), true),
        ("the second kind", guard("HTTPRoute"), vec![grpc("a/x")], applied([r()]), false),
        (
            "one of two kinds",
            guard("GRPCRoute"),
            vec![grpc("a/x"), r()],
            removed("GRPCRoute/a/x"),
            false,
        ),
        ("the last of them", guard("GRPCRoute"), vec![s(), r()], removed("HTTPRoute/a/r"), true),
        // It opens what was closed until it came.
        ("what was missing", guard("Gateway"), vec![s(), g()], applied([gateway("a/gone")]), true),
        ("of a policy", policy_in("enforce", &of("Gateway")), vec![s()], applied([g()]), true),
        ("of what watches", policy_in("audit", &of("Gateway")), vec![s()], applied([g()]), false),
        ("of no guard", guard_in("traffic", &of("Gateway")), vec![s()], applied([g()]), false),
        (
            "of one that stands in",
            annotated(guard_in("traffic", &of("Gateway")), stub),
            vec![s()],
            applied([g()]),
            true,
        ),
        (
            "of the mesh",
            guard_in("authn", &json!([{ "kind": "Mesh" }])),
            vec![s()],
            applied([g()]),
            false,
        ),
    ] {
        let mut world = World::guarded();
        world.append("ada", applied([open_gateway("infra/open")]));
        world.append("ada", applied(held.into_iter().chain([guard])));
        let found = needs(&world, change);
        assert_eq!(found.contains(&"a/*".to_owned()), shifts, "{what}: {found:?}");
    }
}

#[test]
fn whoever_takes_a_filter_from_those_that_run_it_needs_the_rights_to_them() {
    let of = |world: &str| document("Filter", "tamis/jwt", &json!({ "world": world }));
    let mut world = World::guarded();
    let own = json!([{ "kind": "Service", "name": "s" }]);
    let guards = attachment("a/x", own, json!({}));
    world.append("ada", applied([of("authorizer"), service("a/s", 1), guards]));
    let described = json!({ "world": "authorizer", "description": "new" });
    for (what, changed, wanted) in [
        ("removed", removed("Filter/tamis/jwt"), &["a/x", "tamis/jwt"][..]),
        ("another world", applied([of("route-policy")]), &["a/x", "tamis/jwt"]),
        ("the same", applied([of("authorizer")]), &["tamis/jwt"]),
        ("other words", applied([document("Filter", "tamis/jwt", &described)]), &["tamis/jwt"]),
    ] {
        assert_eq!(needs(&world, changed), wanted, "{what}");
    }
    let gone = applied([]);
    let both = ["Filter/tamis/jwt", "FilterAttachment/a/x"].map(str::to_owned).to_vec();
    let both = needs(&world, ApplyRecord { removed: both, ..gone });
    assert_eq!(both, ["a/s", "a/x", "tamis/jwt"]);
}

#[test]
fn the_owner_permits_references_by_a_grant_or_an_open_listener() {
    let far = json!({ "name": "s", "namespace": "b" });
    let asks = || route("a/r", json!({ "name": "g" }), &[], far.clone());
    for (granted, wanted) in [
        (reference_grant("b/x", "a", "Service", None), &["a/g", "a/r"][..]),
        (reference_grant("b/x", "a", "Service", Some("s")), &["a/g", "a/r"]),
        (reference_grant("b/x", "a", "Service", Some("t")), &["a/g", "a/r", "b/s"]),
        (reference_grant("b/x", "c", "Service", None), &["a/g", "a/r", "b/s"]),
        (reference_grant("c/x", "a", "Service", None), &["a/g", "a/r", "b/s"]),
        (reference_grant("b/x", "a", "Gateway", None), &["a/g", "a/r", "b/s"]),
    ] {
        let mut world = World::guarded();
        world.append("ada", applied([granted]));
        assert_eq!(needs(&world, applied([asks()])), wanted);
    }
    let mut world = World::guarded();
    world.append("ada", applied([open_gateway("b/open"), gateway("b/shut")]));
    for (gateway, wanted) in [("open", &["a/r", "a/s"][..]), ("shut", &["a/r", "a/s", "b/shut"])] {
        let parent = json!({ "name": gateway, "namespace": "b" });
        let asks = route("a/r", parent, &[], json!({ "name": "s" }));
        assert_eq!(needs(&world, applied([asks])), wanted, "{gateway}");
    }
}

#[test]
fn hosts_of_a_shared_gateway_identities_and_sidecars_belong_to_whoever_came_first() {
    let mut world = World::guarded();
    let shared = || json!({ "name": "g", "namespace": "infra" });
    let taken = route("b/r", shared(), &["x.example", "*.y.example"], json!({ "name": "s" }));
    let far = document(
        "Service",
        "b/s",
        &json!({
            "ports": [{ "port": 80, "protocol": "http" }], "identity": "spiffe://m/ns/b/s",
            "tls": { "certificate": "c", "key": "k", "ca": "a" },
            "endpoints": [{ "address": "10.0.0.1:80", "sidecar": "10.0.0.1:15006", "admin": "10.0.0.1:15000" }],
        }),
    );
    world.append("ada", applied([open_gateway("infra/g"), taken, far]));
    for (host, others) in
        [("x.example", true), ("a.y.example", true), ("*.y.example", true), ("z.example", false)]
    {
        let asks = route("a/r", shared(), &[host], json!({ "name": "s" }));
        let found = needs(&world, applied([asks]));
        assert_eq!(found.contains(&"b/r".to_owned()), others, "{host}: {found:?}");
    }
    let own = |identity: &str, address: &str| {
        let spec = json!({
            "ports": [{ "port": 80, "protocol": "http" }], "identity": identity,
            "endpoints": [{ "address": address }],
        });
        document("Service", "a/s", &spec)
    };
    for (identity, address, others) in [
        ("spiffe://m/ns/a/s", "10.0.0.2:80", false),
        ("spiffe://m/ns/b/s", "10.0.0.2:80", true),
        ("spiffe://m/ns/a/s", "10.0.0.1:80", true),
        ("spiffe://m/ns/a/s", "[::ffff:10.0.0.1]:15006", true),
        ("spiffe://m/ns/a/s", "10.0.0.1:15000", true),
        ("spiffe://m/ns/a/s", "127.0.0.1:80", false),
    ] {
        let found = needs(&world, applied([own(identity, address)]));
        assert_eq!(found.contains(&"b/s".to_owned()), others, "{identity} {address}: {found:?}");
    }
}

#[test]
fn whoever_claims_an_address_that_a_document_has_needs_the_right_to_that_document() {
    let of = |key: &str, endpoint: Value| {
        let ports = json!([{ "port": 80, "protocol": "http" }, { "port": 81, "protocol": "tcp" }]);
        let id = format!("spiffe://m/ns/{key}");
        document(
            "Service",
            key,
            &json!({ "ports": ports, "identity": id, "endpoints": [endpoint] }),
        )
    };
    let outside = |key: &str, addresses: &[&str]| {
        let ports = json!([{ "port": 443, "protocol": "tcp" }, { "port": 80, "protocol": "http" }]);
        let spec = json!({ "hosts": ["pay.example"], "ports": ports, "addresses": addresses });
        document("ExternalService", key, &spec)
    };
    let held = [
        of(
            "b/bare",
            json!({ "address": "10.9.0.9:80", "ports": [{ "port": 81, "address": "10.9.0.9:81" }] }),
        ),
        of(
            "b/meshed",
            json!({
                "address": "10.9.0.8:80", "sidecar": "10.9.0.8:15006", "ports": [{ "port": 81, "address": "10.9.0.8:81" }],
            }),
        ),
        outside("b/pay", &["203.0.113.5", "2001:db8::5"]),
    ];
    let mut world = World::guarded();
    world.append("ada", applied(held));
    for (address, whose) in [
        ("10.9.0.9:80", Some("b/bare")),
        ("[::ffff:10.9.0.9]:80", Some("b/bare")),
        ("10.9.0.9:81", Some("b/bare")),
        ("10.9.0.9:82", None),
        ("10.9.0.8:80", Some("b/meshed")),
        ("10.9.0.8:81", Some("b/meshed")),
        ("10.9.0.8:15006", Some("b/meshed")),
        ("203.0.113.5:443", Some("b/pay")),
        ("203.0.113.5:80", Some("b/pay")),
        ("[2001:db8::5]:443", Some("b/pay")),
        ("203.0.113.5:8443", None),
        ("203.0.113.6:443", None),
    ] {
        for key in ["a/x", "b/x"] {
            for endpoint in [
                json!({ "address": address }),
                json!({ "address": "127.0.0.1:80", "sidecar": address }),
                json!({ "address": "10.1.1.1:80", "ports": [{ "port": 81, "address": address }] }),
            ] {
                let mut found = needs(&world, applied([of(key, endpoint.clone())]));
                found.retain(|need| need != key);
                let wanted: Vec<String> = whose.into_iter().map(str::to_owned).collect();
                assert_eq!(found, wanted, "{key} {endpoint}");
            }
        }
    }
    // Each namespace says for itself what is outside of the mesh.
    let found = needs(&world, applied([outside("a/pay", &["203.0.113.5", "10.9.0.9"])]));
    assert_eq!(found, ["a/pay", "a/*"]);
}

#[test]
fn an_identity_that_nobody_has_belongs_to_the_namespace_in_its_path_or_to_the_mesh() {
    let world = World::guarded();
    let of = |kind: &str, identity: &str| {
        let spec = match kind {
            "Service" => json!({
                "ports": [{ "port": 80, "protocol": "http" }], "identity": identity,
                "endpoints": [{ "address": "10.0.0.9:80" }],
            }),
            _ => json!({
                "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
                "identity": identity, "tls": { "certificate": "c", "key": "k", "ca": "a" },
            }),
        };
        document(kind, "a/s", &spec)
    };
    for kind in ["Service", "Gateway"] {
        for (identity, beyond) in [
            ("spiffe://m/ns/a/service/s", None),
            ("spiffe://m/ns/a", None),
            ("spiffe://other/ns/a/s", None),
            ("spiffe://m/ns/shop/service/pay", Some("shop/*")),
            ("spiffe://m/ns/aa/s", Some("aa/*")),
            ("spiffe://m/ns/A/s", Some("A/*")),
            ("spiffe://m/ns", Some("Mesh")),
            ("spiffe://m/registry", Some("Mesh")),
            ("spiffe://m/a/s", Some("Mesh")),
            ("spiffe://m/NS/a/s", Some("Mesh")),
            ("spiffe://m/x/ns/a/s", Some("Mesh")),
            ("spiffe://m/gateway/edge", Some("Mesh")),
        ] {
            let mut found = needs(&world, applied([of(kind, identity)]));
            found.retain(|need| need != "a/s");
            let beyond: Vec<String> = beyond.into_iter().map(str::to_owned).collect();
            assert_eq!(found, beyond, "{kind} {identity}");
        }
    }
    // What a document has already is not claimed again, by whoever changes something else in it.
    let mut world = World::guarded();
    world.append("ada", applied([of("Service", "spiffe://m/a/s")]));
    assert_eq!(needs(&world, applied([of("Service", "spiffe://m/a/s")])), ["a/s"]);
    assert_eq!(needs(&world, applied([of("Service", "spiffe://m/a/t")])), ["a/s", "Mesh"]);
}

#[test]
fn an_endpoint_on_the_machine_of_whoever_calls_it_needs_the_mesh() {
    let of = |endpoint: Value| {
        let spec =
            json!({ "ports": [{ "port": 80, "protocol": "http" }], "endpoints": [endpoint] });
        document("Service", "a/s", &spec)
    };
    for (address, own) in [
        ("127.0.0.1:80", true),
        ("127.9.9.9:80", true),
        ("[::1]:80", true),
        ("[::ffff:127.0.0.1]:80", true),
        ("0.0.0.0:80", true),
        ("169.254.169.254:80", true),
        ("[fe80::1]:80", true),
        ("[64:ff9b::7f00:1]:80", true),
        ("[fd00:ec2::254]:80", true),
        ("[fd20:ce::254]:80", true),
        ("100.100.100.200:80", true),
        ("168.63.129.16:80", true),
        ("192.0.0.192:80", true),
        ("[::ffff:100.100.100.200]:80", true),
        ("100.100.100.1:80", false),
        ("0.1.2.3:80", true),
        ("localhost:80", true),
        ("a.localhost:80", true),
        ("unix:/run/a.sock", true),
        ("10.0.0.1:80", false),
        ("a.example:80", false),
        ("localhost.example:80", false),
        ("[2001:db8::1]:80", false),
    ] {
        let mut world = World::guarded();
        let found = needs(&world, applied([of(json!({ "address": address }))]));
        assert_eq!(found.contains(&"Mesh".to_owned()), own, "{address}: {found:?}");
        // Gateways reach the other ports of an application that has no sidecar, too.
        let port =
            of(json!({ "address": "10.0.0.1:80", "ports": [{ "port": 7, "address": address }] }));
        let found = needs(&world, applied([port]));
        assert_eq!(found.contains(&"Mesh".to_owned()), own, "port at {address}: {found:?}");
        // Other proxies reach the sidecar, and only the sidecar reaches the application.
        if address.parse::<std::net::SocketAddr>().is_ok() {
            let ports = json!([{ "port": 7, "address": "127.0.0.1:7" }]);
            let meshed = json!({ "address": "127.0.0.1:80", "ports": ports, "sidecar": address });
            let meshed = of(meshed);
            let found = needs(&world, applied([meshed]));
            assert_eq!(found.contains(&"Mesh".to_owned()), own, "{address}: {found:?}");
        }
        world.append("ada", applied([of(json!({ "address": address }))]));
        let found = needs(&world, applied([of(json!({ "address": address, "weight": 2 }))]));
        assert!(!found.contains(&"Mesh".to_owned()), "it is there already: {address}");
    }
}

#[test]
fn a_gateway_that_orders_certificates_from_its_own_machine_needs_the_mesh() {
    for (directory, own) in [
        ("https://127.0.0.1:14000/dir", true),
        ("https://127.0.0.1/dir", true),
        ("https://[::1]:14000/dir", true),
        ("https://[::1]/dir", true),
        ("https://[::ffff:127.0.0.1]", true),
        ("https://localhost/dir", true),
        ("https://a.localhost:1/dir", true),
        ("https://169.254.169.254/latest", true),
        ("https://acme.example/127.0.0.1", false),
        ("https://acme.example:14000/dir", false),
        ("https://[2001:db8::1]/dir", false),
    ] {
        let of = |directory: &str| {
            let acme = json!({ "directory": directory, "termsOfServiceAgreed": true });
            let listeners = json!([{ "name": "web", "port": 80, "protocol": "HTTP" }]);
            let spec = json!({ "gatewayClassName": "tamis", "listeners": listeners, "acme": acme });
            document("Gateway", "a/edge", &spec)
        };
        let mut world = World::guarded();
        let found = needs(&world, applied([of(directory)]));
        assert_eq!(found.contains(&"Mesh".to_owned()), own, "{directory}: {found:?}");
        world.append("ada", applied([of("https://acme.example/directory")]));
        let found = needs(&world, applied([of(directory)]));
        assert_eq!(found.contains(&"Mesh".to_owned()), own, "changed: {directory}: {found:?}");
    }
}

#[test]
fn a_file_belongs_to_the_documents_that_name_it() {
    let mut world = World::guarded();
    let keys = |path: &str| json!({ "issuers": [{ "jwks": { "file": path } }] });
    let mesh = json!([{ "kind": "Mesh" }]);
    let own = json!([{ "kind": "Service", "name": "s" }]);
    let mut first = applied([
        attachment("a/x", own.clone(), keys("a.json")),
        attachment("b/x", mesh, keys("b.json")),
        trust("security/x", "k.pub"),
        service("a/s", 0),
        service("c/s", 0),
    ]);
    first.files = files(&["a.json", "b.json", "k.pub", "orphan.json"]).files;
    world.append("ada", first);
    for (path, wanted) in [
        ("a.json", &["a/s", "a/x"][..]),
        ("b.json", &["b/x", "Mesh"]),
        ("k.pub", &["security/*"]),
        ("orphan.json", &["*"]),
        ("new.json", &["*"]),
        ("./a.json", &["*"]),
    ] {
        assert_eq!(needs(&world, files(&[path])), wanted, "{path}");
        let gone = ApplyRecord { removed_files: vec![path.to_owned()], ..ApplyRecord::default() };
        assert_eq!(needs(&world, gone), wanted, "{path}");
    }
    // A document that names a file of others can also read it.
    for (path, wanted) in [
        ("a.json", &["a/s", "a/x", "c/s", "c/x"][..]),
        ("b.json", &["b/x", "c/s", "c/x", "Mesh"]),
        ("k.pub", &["c/s", "c/x", "security/*"]),
        ("orphan.json", &["c/s", "c/x", "*"]),
        ("new.json", &["c/s", "c/x"]),
    ] {
        let names = attachment("c/x", own.clone(), keys(path));
        assert_eq!(needs(&world, applied([names])), wanted, "{path}");
    }
    assert_eq!(
        world.state.orphaned(&removed("FilterAttachment/a/x"), Orphans::OfChange),
        ["a.json"]
    );
    let moved = applied([attachment("a/x", own, keys("c.json"))]);
    assert_eq!(world.state.orphaned(&moved, Orphans::OfChange), ["a.json"]);
    assert_eq!(world.state.orphaned(&moved, Orphans::All), ["a.json", "orphan.json"]);
}

#[test]
fn pins_of_all_need_the_mesh() {
    let world = World::mesh();
    for (service, wanted) in
        [("*", RequiredRight::Mesh), ("shop/a", RequiredRight::Place("shop/a".to_owned()))]
    {
        let change = Change::Unpin(unpinned(service, "acme/jwt"));
        let needs = world.state.needs(&change).unwrap();
        assert_eq!(needs.kept(), [wanted]);
    }
}

//! Addresses that two listeners would share, ports that no target has, and services that routes lead to in vain.

use super::*;

fn service(name: &str, endpoints: &str) -> String {
    format!(
        "\n---\n{{ kind: Service, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: {name}, namespace: data }}, spec: {{ \
         identity: \"spiffe://shop.example/ns/data/service/{name}\", ports: [{{ port: 80, protocol: http }}], endpoints: \
         [{endpoints}] }} }}\n"
    )
}

/// An endpoint of these addresses, which are `HOST:PORT`.
fn endpoint(address: &str, sidecar: &str, outbound: &str, admin: &str) -> String {
    format!(
        "{{ address: \"{address}\", sidecar: \"{sidecar}\", outbound: \"{outbound}\", admin: \"{admin}\" }}"
    )
}

fn one() -> String {
    endpoint("127.0.0.1:1", "10.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4")
}

#[test]
fn no_two_sidecars_of_a_machine_share_an_address() {
    // The endpoint of another service beside `one`; the fields of the two that are reported.
    for (other, wanted) in [
        (endpoint("127.0.0.1:5", "10.0.0.1:6", "127.0.0.1:7", "127.0.0.1:8"), &[][..]),
        // Another machine, where everything but the sidecar's own address is the same.
        (endpoint("127.0.0.1:1", "10.0.0.2:2", "127.0.0.1:3", "127.0.0.1:4"), &[]),
        // Two services of one application.
        (endpoint("127.0.0.1:1", "10.0.0.1:6", "127.0.0.1:7", "127.0.0.1:8"), &[]),
        (
            endpoint("127.0.0.1:5", "10.0.0.1:2", "127.0.0.1:7", "127.0.0.1:8"),
            &["sidecar", "sidecar"],
        ),
        (
            endpoint("127.0.0.1:5", "10.0.0.1:6", "127.0.0.1:3", "127.0.0.1:8"),
            &["outbound", "outbound"],
        ),
        (endpoint("127.0.0.1:5", "10.0.0.1:6", "127.0.0.1:7", "127.0.0.1:4"), &["admin", "admin"]),
        (
            endpoint("127.0.0.1:5", "10.0.0.1:6", "127.0.0.1:4", "127.0.0.1:8"),
            &["admin", "outbound"],
        ),
        (
            endpoint("127.0.0.1:3", "10.0.0.1:6", "127.0.0.1:7", "127.0.0.1:8"),
            &["outbound", "address"],
        ),
        // Another form of the same address.
        (
            endpoint("127.0.0.1:5", "[::ffff:10.0.0.1]:2", "127.0.0.1:7", "127.0.0.1:8"),
            &["sidecar", "sidecar"],
        ),
    ] {
        // Two services, and two endpoints of one service.
        let two = service("a", &one()) + &service("b", &other);
        for text in [two, service("a", &format!("{}, {other}", one()))] {
            let folded = folded(&text, "sidecar:data/a/0");
            let found: Vec<_> = folded.problems.iter().map(|one| one.code.as_str()).collect();
            assert_eq!(found, vec!["service.address"; wanted.len()], "{text}");
            for (problem, field) in folded.problems.iter().zip(wanted.iter().rev()) {
                assert!(problem.message.contains(&format!("`{field}`")), "{}", problem.message);
                assert_eq!(problem.also.len(), 1, "the other place");
            }
        }
    }
    // Within one endpoint.
    let text = service("a", &endpoint("127.0.0.1:1", "10.0.0.1:2", "127.0.0.1:3", "127.0.0.1:3"));
    let folded = folded(&text, "sidecar:data/a/0");
    assert_eq!(codes(&folded.problems), ["service.address", "service.address"]);
}

#[test]
fn the_service_longer_in_force_keeps_its_address() {
    let text = service("a", &one()) + &service("b", &one());
    let mut documents = documents(&text);
    for (at, document) in documents.iter_mut().enumerate() {
        document.since = 7 - u64::try_from(at).unwrap();
    }
    let folded = fold(&documents, &"sidecar:data/a/0".parse().unwrap(), &files);
    let of: Vec<_> = folded.problems.iter().map(|one| one.of.as_deref().unwrap()).collect();
    assert_eq!(of, vec!["Service/data/a"; 3], "all addresses that the two would listen at");
}

#[test]
fn a_service_without_endpoints_is_reported_once_where_routes_lead_to_it() {
    let route = |rules: &str| {
        format!(
            "\n---\n{{ kind: HTTPRoute, apiVersion: gateway.networking.k8s.io/v1, metadata: {{ name: r, namespace: shop }}, \
             spec: {{ parentRefs: [{{ kind: Service, group: \"\", name: catalog }}], rules: [{rules}] }} }}\n"
        )
    };
    let to = "{ backendRefs: [{ name: empty, port: 80 }] }";
    let copy = "{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: empty, port: 80 } } }], backendRefs: \
        [{ name: catalog, port: 80 }] }";
    let there = example() + &service("empty", "").replace("namespace: data", "namespace: shop");
    for (routes, reported) in [
        (String::new(), 0),
        (route("{ backendRefs: [{ name: catalog, port: 80 }] }"), 0),
        (route(to), 1),
        (route(&format!("{to}, {copy}")), 1),
        (route(copy), 1),
    ] {
        let folded = folded(&(there.clone() + &routes), "sidecar:shop/storefront/0");
        assert_eq!(codes(&folded.problems), vec!["service.endpoints"; reported], "{routes}");
        assert!(folded.problems.iter().all(|one| one.of.as_deref() == Some("Service/shop/empty")));
        if routes.contains(to) {
            // Its requests get 503, not the 500 of a backend that is not there.
            let config = router(&folded.plan.unwrap(), "outbound").to_string();
            assert!(config.contains("shop/empty:80"), "{config}");
        }
    }
}

#[test]
fn a_rule_for_a_port_that_no_target_has_is_reported_and_closes_nothing() {
    let policy = |targets: &str, rules: &str| {
        format!(
            "{}\n---\n{{ kind: AuthorizationPolicy, apiVersion: tamis.dev/v1alpha1, metadata: {{ name: ports, namespace: \
             shop }}, spec: {{ mode: audit, targetRefs: [{targets}], {rules} }} }}\n",
            example()
        )
    };
    let (payments, catalog) =
        ("{ kind: Service, name: payments }", "{ kind: Service, name: catalog }");
    let both = format!("{payments}, {catalog}");
    let edge = "{ kind: Gateway, name: edge }";
    for (targets, rules, lost) in [
        (payments, "allow: [{ ports: [80] }]", &[][..]),
        (payments, "allow: [{ ports: [81] }]", &["/spec/allow/0/ports/0"]),
        (
            payments,
            "deny: [{ ports: [80, 81, 82] }]",
            &["/spec/deny/0/ports/1", "/spec/deny/0/ports/2"],
        ),
        (payments, "allow: [{ methods: [GET] }, { ports: [81] }]", &["/spec/allow/1/ports/0"]),
        (&both, "allow: [{ ports: [80] }]", &[]),
        (&both, "deny: [{ ports: [81] }]", &["/spec/deny/0/ports/0"]),
        (edge, "deny: [{ ports: [1] }]", &["/spec/deny/0/ports/0"]),
        ("{ kind: Mesh }", "allow: [{ ports: [81] }]", &[]),
        ("{ kind: Service, name: gone }", "allow: [{ ports: [81] }]", &[]),
    ] {
        let text = policy(targets, rules);
        let folded = folded(&text, "sidecar:shop/payments/0");
        let problems = folded.problems.iter().filter(|one| one.code == "authorization.port");
        let places: Vec<_> = problems.map(|one| one.place.start).collect();
        let document = documents(&text).into_iter().find(|one| one.metadata.name == "ports");
        let document = document.unwrap();
        let wanted: Vec<_> = lost.iter().map(|it| document.place(it, "here").start).collect();
        assert_eq!(places, wanted, "{targets} {rules}");
    }
}

#[test]
fn no_application_is_where_a_sidecar_listens_for_its_own() {
    let other = |address: &str, sidecar: &str| match sidecar {
        "" => format!("{{ address: \"{address}\" }}"),
        sidecar => format!("{{ address: \"{address}\", sidecar: \"{sidecar}\" }}"),
    };
    let here = endpoint("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4");
    let wide = endpoint("127.0.0.1:1", "10.0.0.1:2", "0.0.0.0:3", "127.0.0.1:4");
    for (one, address, sidecar, taken) in [
        (&here, "127.0.0.1:3", "", true),
        (&here, "localhost:3", "", true),
        (&here, "[::ffff:127.0.0.1]:3", "", true),
        (&here, "0.0.0.0:3", "", true),
        (&here, "[::]:3", "", true),
        (&here, "127.0.0.1:4", "", true),
        (&here, "127.0.0.1:3", "127.0.0.9:6", true),
        (&one(), "127.0.0.1:3", "", true),
        (&wide, "10.0.0.1:3", "", true),
        (&wide, "127.0.0.1:3", "", true),
        (&wide, "127.0.0.9:3", "", true),
        // Another port, address or machine.
        (&here, "127.0.0.1:5", "", false),
        (&here, "127.0.0.9:3", "", false),
        (&here, "[::1]:3", "", false),
        (&here, "10.0.0.1:3", "", false),
        (&one(), "127.0.0.1:3", "10.0.0.2:6", false),
        (&wide, "10.0.0.2:3", "", false),
        (&here, "app.example:3", "", false),
        (&here, "unix:/run/app:3", "", false),
    ] {
        let text = service("a", one) + &service("b", &other(address, sidecar));
        let node = if sidecar.is_empty() { "sidecar:data/a/0" } else { "sidecar:data/b/0" };
        let folded = folded(&text, node);
        let found: Vec<_> = folded.problems.iter().map(|one| one.code.as_str()).collect();
        assert_eq!(found.contains(&"service.address"), taken, "{address} {sidecar}: {found:?}");
        let plan = folded.plan.unwrap();
        let name = if sidecar.is_empty() { "data/b:80" } else { "local/data/b:80" };
        let reached = plan.services.iter().find(|one| one.name == name).unwrap();
        assert_eq!(reached.endpoints.is_empty(), taken, "{address} {sidecar}: {reached:?}");
    }
}

//! Ways to a guarded service round its guard.

use super::*;

#[test]
fn a_rule_that_leads_to_a_service_behind_the_back_of_its_guard_is_named() {
    let beside = |rule: &str| {
        format!(
            r#""shop/pay-jwt" (tamis/jwt) does not guard rule "shop/shop/{rule}" (to shop/payments) of listener "public", and it guarded every rule that led there"#
        )
    };
    let (shortcut, paying, web) = (beside("short"), beside("paying"), beside("web"));
    let (shortcut, paying, web) = (&[&*shortcut], &[&*paying], &[&*web]);
    told(
        &Mesh::guarded(),
        EDGE,
        &[
            ("a new path", |mesh| mesh.rules().push(rule("short", "/short", "payments")), shortcut),
            (
                "the same path by another name",
                |mesh| {
                    let mut short = rule("short", "/short", "payments");
                    short["filters"] = json!([{ "type": "URLRewrite", "urlRewrite": {
                        "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "/pay" } } }]);
                    mesh.rules().push(short);
                },
                shortcut,
            ),
            (
                "another name and another path",
                |mesh| {
                    mesh.rules()[0] = rule("paying", "/paying", "payments");
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] =
                        json!([section("shop", "admin")]);
                },
                paying,
            ),
            (
                "one more backend of an open rule",
                |mesh| {
                    let more = json!({ "name": "payments", "port": 80, "weight": 1 });
                    mesh.rules()[2]["backendRefs"].as_array_mut().unwrap().push(more);
                },
                web,
            ),
            (
                "the other backend of an open rule",
                |mesh| mesh.rules()[2]["backendRefs"][0]["name"] = json!("payments"),
                web,
            ),
            (
                "copies of requests",
                |mesh| {
                    mesh.rules()[2]["filters"] = json!([{ "type": "RequestMirror", "requestMirror": {
                        "backendRef": { "name": "payments", "port": 80 } } }]);
                },
                web,
            ),
            (
                "another host of another route",
                |mesh| {
                    let parents = mesh.spec("HTTPRoute/shop")["parentRefs"].clone();
                    mesh.route("other", &parents, json!([rule("other", "/x", "payments")]));
                    mesh.spec("HTTPRoute/other")["hostnames"] = json!(["b.example"]);
                },
                &[
                    r#""shop/pay-jwt" (tamis/jwt) does not guard rule "shop/other/other" (to shop/payments) of listener "public", and it guarded every rule that led there"#,
                ],
            ),
            (
                "another path with the guard",
                |mesh| {
                    mesh.rules().push(rule("short", "/short", "payments"));
                    let targets =
                        mesh.spec("FilterAttachment/pay-jwt")["targetRefs"].as_array_mut();
                    targets.unwrap().push(section("shop", "short"));
                },
                &[],
            ),
            (
                "another path of a service that an open rule leads to anyway",
                |mesh| mesh.rules().push(rule("short", "/short", "web")),
                &[],
            ),
            ("fewer backends", |mesh| drop(mesh.rules().remove(0)), &[]),
        ],
    );
}

#[test]
fn another_gateway_that_leads_to_a_guarded_service_is_named() {
    let mut mesh = Mesh::guarded();
    mesh.put(
        "Gateway",
        "second",
        json!({
            "listeners": [{ "name": "http", "port": 8090, "protocol": "HTTP" }],
            "identity": "spiffe://shop.example/second",
        }),
    );
    let second = "gateway:shop/second";
    let ip = r#""shop/edge-ip" (tamis/ip) does not guard rules "shop/shop/admin" (to shop/web), "shop/shop/pay" (to shop/payments), "shop/shop/web" (to shop/web) of listener "http", and it guarded every rule that led there"#;
    let moved: Edit =
        |mesh| mesh.spec("HTTPRoute/shop")["parentRefs"] = json!([{ "name": "second" }]);
    told(&mesh, second, &[("a route moves there", moved, &[ip])]);
    moved(&mut mesh);
    let back: Edit = |mesh| {
        mesh.spec("HTTPRoute/shop")["parentRefs"] =
            json!([{ "name": "edge" }, { "name": "second" }]);
    };
    told(&mesh, EDGE, &[("and back, where it is guarded as well", back, &[])]);
    told(&mesh, second, &[("and back, while it stays", back, &[])]);
}

#[test]
fn connections_that_go_round_the_guards_of_requests_are_named() {
    let mut mesh = Mesh::guarded();
    mesh.spec("Service/payments")["ports"] =
        json!([{ "port": 80, "protocol": "http" }, { "port": 81, "protocol": "tcp" }]);
    mesh.spec("Service/payments")["endpoints"][0]["ports"] =
        json!([{ "port": 81, "address": "127.0.0.1:9001" }]);
    let connect: Edit = |mesh| {
        let raw = json!({ "name": "raw", "port": 8082, "protocol": "TCP" });
        mesh.spec("Gateway/edge")["listeners"].as_array_mut().unwrap().push(raw);
        mesh.put(
            "TCPRoute",
            "raw",
            json!({
                "parentRefs": [{ "name": "edge", "sectionName": "raw" }],
                "rules": [{ "backendRefs": [{ "name": "payments", "port": 81 }] }],
            }),
        );
    };
    let words = lost(&mesh, EDGE, connect);
    let all = words.join("\n");
    for guard in [r#""shop/pay-jwt" (tamis/jwt)"#, r#""shop/edge-ip" (tamis/ip)"#] {
        let named = format!(
            r#"{guard} does not guard rule "shop/raw/" (to shop/payments) of listener "raw", and it guarded every rule that led there"#
        );
        assert!(words.contains(&named), "{all}");
    }
}

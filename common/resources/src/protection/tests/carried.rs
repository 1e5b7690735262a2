//! Rules that take requests from guarded ones, and listeners and gateways that carry guarded rules.

use super::*;

#[test]
fn a_new_rule_that_takes_requests_from_a_guarded_one_is_named() {
    told(
        &Mesh::guarded(),
        EDGE,
        &[
            (
                "a longer prefix",
                |mesh| mesh.rules().push(rule("open", "/pay/x", "payments")),
                &[WITHIN],
            ),
            (
                "an exact path",
                |mesh| {
                    mesh.rules().push(rule("open", "/pay/x", "web"));
                    mesh.rules()[3]["matches"][0]["path"]["type"] = json!("Exact");
                },
                &[WITHIN],
            ),
            (
                "an expression",
                |mesh| {
                    mesh.rules().push(rule("open", "/pa.*", "web"));
                    mesh.rules()[3]["matches"][0]["path"]["type"] = json!("RegularExpression");
                },
                &[&WITHIN.replace("/pay/x", "/pa.*")],
            ),
            (
                "a narrower match of the same path",
                |mesh| {
                    mesh.rules().push(rule("open", "/pay", "payments"));
                    mesh.rules()[3]["matches"][0]["method"] = json!("GET");
                },
                &[&WITHIN.replace("/pay/x", "/pay")],
            ),
            (
                "a second match of a rule without the guard",
                |mesh| {
                    mesh.rules()[2]["matches"]
                        .as_array_mut()
                        .unwrap()
                        .push(json!({ "path": { "type": "PathPrefix", "value": "/pay/x" } }));
                },
                &[&WITHIN.replace("open", "web")],
            ),
            (
                "a route of its own for the same requests",
                |mesh| {
                    let parents = mesh.spec("HTTPRoute/shop")["parentRefs"].clone();
                    mesh.route("more", &parents, json!([rule("open", "/pay/x", "payments")]));
                },
                &[&WITHIN.replace("shop/shop/open", "shop/more/open")],
            ),
            (
                "a narrower host",
                |mesh| {
                    let parents = mesh.spec("HTTPRoute/shop")["parentRefs"].clone();
                    mesh.route("more", &parents, json!([rule("open", "/", "web")]));
                    mesh.spec("HTTPRoute/more")["hostnames"] = json!(["a.example"]);
                },
                &[&WITHIN
                    .replace("shop/shop/open", "shop/more/open")
                    .replace("/pay/x", "a.example/")],
            ),
        ],
    );
}

#[test]
fn a_listener_that_carries_guarded_rules_without_their_guards_is_named() {
    let ip = |listener: &str| {
        let rules = r#""shop/shop/admin", "shop/shop/pay", "shop/shop/web""#;
        format!(
            r#""shop/edge-ip" (tamis/ip) does not guard rules {rules} of listener "{listener}", as it did on every other listener"#
        )
    };
    told(
        &Mesh::guarded(),
        EDGE,
        &[
            (
                "another listener takes the route",
                |mesh| {
                    mesh.spec("HTTPRoute/shop")["parentRefs"]
                        .as_array_mut()
                        .unwrap()
                        .push(json!({ "kind": "Gateway", "name": "edge", "sectionName": "inner" }));
                },
                &[&ip("inner")],
            ),
            (
                "a new listener takes the route",
                |mesh| {
                    mesh.spec("Gateway/edge")["listeners"]
                        .as_array_mut()
                        .unwrap()
                        .push(json!({ "name": "new", "port": 8082, "protocol": "HTTP" }));
                    mesh.spec("HTTPRoute/shop")["parentRefs"]
                        .as_array_mut()
                        .unwrap()
                        .push(json!({ "kind": "Gateway", "name": "edge", "sectionName": "new" }));
                },
                &[&ip("new")],
            ),
            (
                "the guarded listener gets another name, and its guard does not",
                |mesh| {
                    mesh.spec("Gateway/edge")["listeners"][0]["name"] = json!("front");
                    mesh.spec("HTTPRoute/shop")["parentRefs"][0]["sectionName"] = json!("front");
                    mesh.spec("FilterAttachment/edge-ip")["targetRefs"][0]["sectionName"] =
                        json!("inner");
                },
                &[&ip("front")],
            ),
            (
                "all of it gets another name",
                |mesh| {
                    mesh.spec("Gateway/edge")["listeners"][0]["name"] = json!("front");
                    mesh.spec("HTTPRoute/shop")["parentRefs"][0]["sectionName"] = json!("front");
                    mesh.spec("FilterAttachment/edge-ip")["targetRefs"][0]["sectionName"] =
                        json!("front");
                },
                &[],
            ),
        ],
    );
}

#[test]
fn a_new_gateway_that_carries_guarded_rules_without_their_guards_is_named() {
    let added = |edit: Edit| {
        let mesh = Mesh::guarded();
        let mut after = mesh.clone();
        let spec = json!({
            "listeners": [{ "name": "public", "port": 8090, "protocol": "HTTP" }],
            "identity": "spiffe://shop.example/second",
        });
        after.put("Gateway", "second", spec);
        edit(&mut after);
        let new = after.plan("gateway:shop/second");
        let told = unguarded_gateway(&[&mesh.plan(EDGE)], &new);
        told.into_iter().collect::<Vec<_>>()
    };
    let parent: Edit = |mesh| {
        let parent = json!({ "kind": "Gateway", "name": "second" });
        mesh.spec("HTTPRoute/shop")["parentRefs"].as_array_mut().unwrap().push(parent);
    };
    assert_eq!(added(|_| {}), [""; 0], "it has no rules");
    let ip = r#""shop/edge-ip" (tamis/ip) does not guard rules "shop/shop/admin", "shop/shop/pay", "shop/shop/web" of listener "public", as it did on every other listener"#;
    assert_eq!(added(parent), [ip]);
    let guarded = added(|mesh| {
        let parent = json!({ "kind": "Gateway", "name": "second" });
        mesh.spec("HTTPRoute/shop")["parentRefs"].as_array_mut().unwrap().push(parent.clone());
        mesh.spec("FilterAttachment/edge-ip")["targetRefs"].as_array_mut().unwrap().push(parent);
    });
    assert_eq!(guarded, [""; 0]);
}

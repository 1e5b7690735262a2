//! Which requests a guard was asked about: by host, by path, and by the call.

use super::*;

/// Adds a rule without a guard for a host; empty: any.
fn add(mesh: &mut Mesh, host: &str, path: &str) {
    let parents = mesh.spec("HTTPRoute/shop")["parentRefs"].clone();
    mesh.route("more", &parents, json!([rule("open", path, "web")]));
    if !host.is_empty() {
        mesh.spec("HTTPRoute/more")["hostnames"] = json!([host]);
    }
}

#[test]
fn hosts_decide_as_they_do_for_a_router() {
    let mut mesh = Mesh::guarded();
    mesh.spec("HTTPRoute/shop")["hostnames"] = json!(["*.shop.example"]);
    let within =
        |place: &str| WITHIN.replace("shop/shop/open", "shop/more/open").replace("/pay/x", place);
    told(
        &mesh,
        EDGE,
        &[
            (
                "below it",
                |mesh| add(mesh, "a.shop.example", "/pay"),
                &[&within("a.shop.example/pay")],
            ),
            (
                "far below it",
                |mesh| add(mesh, "*.b.shop.example", "/"),
                &[&within("*.b.shop.example/")],
            ),
            (
                "the same",
                |mesh| add(mesh, "*.shop.example", "/pay/x"),
                &[&within("*.shop.example/pay/x")],
            ),
            ("below it, for other paths", |mesh| add(mesh, "a.shop.example", "/x"), &[]),
            ("what a wildcard does not cover", |mesh| add(mesh, "shop.example", "/pay"), &[]),
            ("another one", |mesh| add(mesh, "b.example", "/pay"), &[]),
            ("any other", |mesh| add(mesh, "", "/pay"), &[]),
            (
                "a route has only one of them, and its catch-all takes what lost its guard",
                |mesh| {
                    mesh.spec("HTTPRoute/shop")["hostnames"] = json!(["a.shop.example"]);
                    mesh.rules().remove(0);
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] =
                        json!([section("shop", "admin")]);
                },
                &[&WITHIN.replace("open", "web").replace("/pay/x", "a.shop.example/")],
            ),
            (
                "the rules become those of all hosts",
                |mesh| {
                    drop(mesh.spec("HTTPRoute/shop").as_object_mut().unwrap().remove("hostnames"));
                },
                &[],
            ),
            (
                "the listener has only one of them",
                |mesh| {
                    mesh.spec("Gateway/edge")["listeners"][0]["hostname"] = json!("a.shop.example");
                },
                &[],
            ),
        ],
    );
}

#[test]
fn calls_are_requests_for_their_paths() {
    let mut mesh = Mesh::guarded();
    let parents = mesh.spec("HTTPRoute/shop")["parentRefs"].clone();
    let backends = json!([{ "name": "web", "port": 80 }]);
    let calls = json!([{ "name": "calls", "matches": [{ "method": { "service": "a.B" } }], "backendRefs": backends }]);
    mesh.put("GRPCRoute", "calls", json!({ "parentRefs": parents, "rules": calls }));
    let target = json!([{ "kind": "GRPCRoute", "name": "calls" }]);
    mesh.attach("calls-jwt", "jwt", "authn", target);
    told(
        &mesh,
        EDGE,
        &[
            (
                "a path within",
                |mesh| mesh.rules().push(rule("open", "/a.B/Do", "web")),
                &[&WITHIN.replace("pay-jwt", "calls-jwt").replace("/pay/x", "/a.B/Do")],
            ),
            ("another service", |mesh| mesh.rules().push(rule("open", "/a.Bee", "web")), &[]),
            (
                "its guard goes",
                |mesh| mesh.remove("FilterAttachment/calls-jwt"),
                &[
                    r#""shop/calls-jwt" (tamis/jwt) no longer guards rule "shop/calls/calls" of listener "public""#,
                ],
            ),
        ],
    );
}

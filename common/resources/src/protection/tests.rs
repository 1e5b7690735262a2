//! Every way in which a change takes protection away is named, and no change that keeps it is.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::*;
use crate::{fold, parse};

mod carried;
mod led;
mod requests;

const EDGE: &str = "gateway:shop/edge";
const PAYMENTS: &str = "sidecar:shop/payments/0";

/// Documents by `Kind/name`.
#[derive(Clone)]
struct Mesh(BTreeMap<String, Json>);

impl Mesh {
    /// A gateway with a listener for everybody and one for the operators; `/pay` is guarded by its rule, and everything by a
    /// filter of the gateway's first listener.
    fn guarded() -> Self {
        let mut mesh = Self(BTreeMap::new());
        for (name, world) in
            [("route", "route-policy"), ("jwt", "authorizer"), ("ip", "authorizer")]
        {
            mesh.filter(name, json!({ "world": world }));
        }
        mesh.filter("authz", json!({ "world": "authorizer", "receives": "AuthorizationPolicy" }));
        mesh.put(
            "Gateway",
            "edge",
            json!({
                "listeners": [
                    { "name": "public", "port": 8080, "protocol": "HTTP" },
                    { "name": "inner", "port": 8081, "protocol": "HTTP" },
                ],
                "identity": "spiffe://shop.example/edge",
            }),
        );
        for (name, port) in [("web", 15_001), ("payments", 15_002)] {
            mesh.put("Service", name, json!({
                "ports": [{ "port": 80, "protocol": "http" }],
                "identity": format!("spiffe://shop.example/{name}"),
                "endpoints": [{ "address": "127.0.0.1:9000", "sidecar": format!("127.0.0.1:{port}") }],
            }));
        }
        let public = json!([{ "kind": "Gateway", "name": "edge", "sectionName": "public" }]);
        mesh.route(
            "shop",
            &public,
            json!([
                rule("pay", "/pay", "payments"),
                rule("admin", "/admin", "web"),
                rule("web", "/", "web"),
            ]),
        );
        mesh.attach("route", "route", "traffic", json!([{ "kind": "Mesh" }]));
        mesh.attach(
            "pay-jwt",
            "jwt",
            "authn",
            json!([section("shop", "pay"), section("shop", "admin")]),
        );
        mesh.attach(
            "edge-ip",
            "ip",
            "authz",
            json!([
                { "kind": "Gateway", "name": "edge", "sectionName": "public" },
            ]),
        );
        mesh
    }

    /// The same with a policy that the sidecars enforce.
    fn with_policies() -> Self {
        let mut mesh = Self::guarded();
        mesh.attach("authz", "authz", "authz", json!([{ "kind": "Mesh" }]));
        mesh.policy(
            "payments",
            json!({ "targetRefs": [service("payments")], "allow": [{ "methods": ["GET"] }] }),
        );
        mesh
    }

    fn put(&mut self, kind: &str, name: &str, spec: Json) {
        self.within("shop", kind, name, spec);
    }

    fn within(&mut self, namespace: &str, kind: &str, name: &str, spec: Json) {
        let gateway_api = matches!(kind, "Gateway" | "HTTPRoute" | "GRPCRoute" | "TCPRoute");
        let api = if gateway_api { "gateway.networking.k8s.io/v1" } else { "tamis.dev/v1alpha1" };
        let metadata = json!({ "name": name, "namespace": namespace });
        let one = json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec });
        self.0.insert(format!("{kind}/{name}"), one);
    }

    fn filter(&mut self, name: &str, spec: Json) {
        self.within("tamis", "Filter", name, spec);
        self.within("tamis", "Grant", name, json!({ "filter": format!("tamis/{name}") }));
    }

    fn attach(&mut self, name: &str, filter: &str, phase: &str, targets: Json) {
        self.put(
            "FilterAttachment",
            name,
            json!({
                "targetRefs": targets, "filter": format!("tamis/{filter}"), "phase": phase,
                "order": self.0.len(), "config": { "of": filter },
            }),
        );
    }

    fn policy(&mut self, name: &str, spec: Json) {
        self.put("AuthorizationPolicy", name, spec);
    }

    fn route(&mut self, name: &str, parents: &Json, rules: Json) {
        self.put("HTTPRoute", name, json!({ "parentRefs": parents, "rules": rules }));
    }

    fn spec(&mut self, key: &str) -> &mut Json {
        self.0.get_mut(key).unwrap().get_mut("spec").unwrap()
    }

    fn rules(&mut self) -> &mut Vec<Json> {
        self.spec("HTTPRoute/shop")["rules"].as_array_mut().unwrap()
    }

    fn remove(&mut self, key: &str) {
        self.0.remove(key).unwrap();
    }

    fn gateways(&self) -> Vec<String> {
        let names = self.0.keys().filter_map(|key| key.strip_prefix("Gateway/"));
        names.map(|name| format!("gateway:shop/{name}")).collect()
    }

    fn plan(&self, node: &str) -> NodePlan {
        let pins = ["route", "jwt", "ip", "authz"].map(|name| {
            let digest = format!("sha256:{}", "0".repeat(64));
            json!({ "service": "*", "filter": format!("tamis/{name}"), "version": "0.1.0", "digest": digest })
        });
        let lock =
            json!({ "apiVersion": "tamis.dev/v1alpha1", "kind": "FiltersLock", "filters": pins });
        let texts: Vec<String> = self.0.values().chain([&lock]).map(ToString::to_string).collect();
        let (documents, problems) = parse("mesh.yaml", &texts.join("\n---\n"));
        assert!(problems.is_empty(), "{problems:#?}");
        let files = |_: &str| Err("there is no such file".to_owned());
        fold(&documents, &node.parse().unwrap(), &files).plan.unwrap()
    }
}

fn rule(name: &str, path: &str, backend: &str) -> Json {
    json!({
        "name": name,
        "matches": [{ "path": { "type": "PathPrefix", "value": path } }],
        "backendRefs": [{ "name": backend, "port": 80 }],
    })
}

fn section(route: &str, rule: &str) -> Json {
    json!({ "kind": "HTTPRoute", "name": route, "sectionName": rule })
}

fn service(name: &str) -> Json {
    json!({ "kind": "Service", "name": name })
}

type Edit = fn(&mut Mesh);

/// What the change of a mesh takes away from a proxy.
fn lost(mesh: &Mesh, node: &str, edit: Edit) -> Vec<String> {
    let mut after = mesh.clone();
    edit(&mut after);
    let gateways: Vec<NodePlan> = mesh.gateways().iter().map(|name| mesh.plan(name)).collect();
    let gateways: Vec<&NodePlan> = gateways.iter().collect();
    lost_protection(&mesh.plan(node), &after.plan(node), &gateways).into_iter().collect()
}

/// Each row: what happens, how, and what is told.
fn told(mesh: &Mesh, node: &str, rows: &[(&str, Edit, &[&str])]) {
    for (what, edit, expected) in rows {
        assert_eq!(lost(mesh, node, *edit), *expected, "{what}");
    }
}

const PAY: &str =
    r#""shop/pay-jwt" (tamis/jwt) no longer guards rule "shop/shop/pay" of listener "public""#;
const BOTH: &str = r#""shop/pay-jwt" (tamis/jwt) no longer guards rules "shop/shop/admin", "shop/shop/pay" of listener "public""#;
const IP: &str = r#""shop/edge-ip" (tamis/ip) no longer guards listener "public""#;

#[test]
fn an_attachment_that_no_longer_guards_is_named_with_its_rules() {
    told(
        &Mesh::guarded(),
        EDGE,
        &[
            ("it is deleted", |mesh| mesh.remove("FilterAttachment/pay-jwt"), &[BOTH]),
            (
                "it is no guard any more",
                |mesh| {
                    mesh.spec("FilterAttachment/pay-jwt")["phase"] = json!("transform");
                },
                &[BOTH],
            ),
            (
                "it leaves a rule",
                |mesh| {
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] =
                        json!([section("shop", "admin")]);
                },
                &[PAY],
            ),
            (
                "it goes to another rule",
                |mesh| {
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] =
                        json!([section("shop", "admin"), section("shop", "web")]);
                },
                &[PAY],
            ),
            (
                "another filter takes its place",
                |mesh| {
                    mesh.spec("FilterAttachment/pay-jwt")["filter"] = json!("tamis/ip");
                },
                &[BOTH],
            ),
            (
                "another one with another configuration takes its place",
                |mesh| {
                    mesh.remove("FilterAttachment/pay-jwt");
                    mesh.attach(
                        "other",
                        "jwt",
                        "authn",
                        json!([section("shop", "pay"), section("shop", "admin")]),
                    );
                    mesh.spec("FilterAttachment/other")["config"] = json!({ "required": false });
                },
                &[BOTH],
            ),
            (
                "it goes, and its rule is renamed",
                |mesh| {
                    mesh.remove("FilterAttachment/pay-jwt");
                    mesh.rules()[0]["name"] = json!("paying");
                    mesh.rules().remove(1);
                },
                &[
                    r#""shop/pay-jwt" (tamis/jwt) no longer guards rule "shop/shop/paying" of listener "public""#,
                ],
            ),
            (
                "it goes, and its rule gets another path",
                |mesh| {
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] =
                        json!([section("shop", "admin")]);
                    mesh.rules()[0]["matches"][0]["path"]["value"] = json!("/checkout");
                },
                &[PAY],
            ),
            (
                "the guard of a listener is deleted",
                |mesh| mesh.remove("FilterAttachment/edge-ip"),
                &[IP],
            ),
            (
                "the guard of a listener goes to another listener",
                |mesh| {
                    mesh.spec("FilterAttachment/edge-ip")["targetRefs"][0]["sectionName"] =
                        json!("inner");
                },
                &[IP],
            ),
            (
                "the guard of a listener goes to a rule of it",
                |mesh| {
                    mesh.spec("FilterAttachment/edge-ip")["targetRefs"] =
                        json!([section("shop", "pay"), section("shop", "web")]);
                },
                &[
                    r#""shop/edge-ip" (tamis/ip) no longer guards rule "shop/shop/admin" of listener "public""#,
                ],
            ),
        ],
    );
}

const WITHIN: &str = r#""shop/pay-jwt" (tamis/jwt) does not guard rule "shop/shop/open" (/pay/x) of listener "public", which takes requests that it guarded"#;

#[test]
fn a_change_that_keeps_all_protection_asks_nothing() {
    told(
        &Mesh::guarded(),
        EDGE,
        &[
            ("nothing", |_| {}, &[]),
            (
                "a guard more",
                |mesh| {
                    mesh.attach("more", "ip", "authz", json!([section("shop", "web")]));
                },
                &[],
            ),
            (
                "another name",
                |mesh| {
                    mesh.attach(
                        "renamed",
                        "jwt",
                        "authn",
                        json!([section("shop", "pay"), section("shop", "admin")]),
                    );
                    mesh.remove("FilterAttachment/pay-jwt");
                },
                &[],
            ),
            (
                "two in the place of one",
                |mesh| {
                    mesh.remove("FilterAttachment/pay-jwt");
                    mesh.attach("one", "jwt", "authn", json!([section("shop", "pay")]));
                    mesh.attach("two", "jwt", "authn", json!([section("shop", "admin")]));
                },
                &[],
            ),
            (
                "the whole route in the place of rules",
                |mesh| {
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] =
                        json!([{ "kind": "HTTPRoute", "name": "shop" }]);
                },
                &[],
            ),
            (
                "the whole gateway in the place of rules",
                |mesh| {
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] =
                        json!([{ "kind": "Gateway", "name": "edge" }]);
                },
                &[],
            ),
            (
                "another phase of guards, and another configuration",
                |mesh| {
                    mesh.spec("FilterAttachment/pay-jwt")["phase"] = json!("authz");
                    mesh.spec("FilterAttachment/pay-jwt")["config"] = json!({ "required": false });
                },
                &[],
            ),
            (
                "its target is misspelt, which closes more",
                |mesh| {
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] =
                        json!([section("shop", "apy")]);
                },
                &[],
            ),
            (
                "a rule moves with its guard into another route",
                |mesh| {
                    let parents = mesh.spec("HTTPRoute/shop")["parentRefs"].clone();
                    let pay = mesh.rules().remove(0);
                    mesh.route("paying", &parents, json!([pay]));
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] =
                        json!([section("paying", "pay"), section("shop", "admin")]);
                },
                &[],
            ),
            (
                "a rule gets another name with its guard",
                |mesh| {
                    mesh.rules()[0]["name"] = json!("paying");
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] =
                        json!([section("shop", "paying"), section("shop", "admin")]);
                },
                &[],
            ),
            (
                "a guarded rule goes with its guard",
                |mesh| {
                    mesh.rules().remove(0);
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] =
                        json!([section("shop", "admin")]);
                },
                &[],
            ),
            (
                "a rule elsewhere without a guard",
                |mesh| mesh.rules().push(rule("open", "/open", "web")),
                &[],
            ),
            (
                "a rule whose path only begins alike",
                |mesh| mesh.rules().push(rule("open", "/payroll", "web")),
                &[],
            ),
            (
                "a rule for methods that the guarded one does not take",
                |mesh| {
                    mesh.rules()[0]["matches"][0]["method"] = json!("POST");
                    mesh.rules()[0]["matches"][0]["path"]["value"] = json!("/pay/now");
                },
                &[],
            ),
            (
                "a rule within a guarded one that has the guard",
                |mesh| {
                    mesh.rules().push(rule("refund", "/pay/refund", "payments"));
                    mesh.spec("FilterAttachment/pay-jwt")["targetRefs"] = json!([
                        section("shop", "pay"),
                        section("shop", "admin"),
                        section("shop", "refund")
                    ]);
                },
                &[],
            ),
            (
                "a rule within a guarded one that leads nowhere",
                |mesh| {
                    mesh.rules().push(rule("old", "/pay/old", "payments"));
                    mesh.rules()[3]["backendRefs"] = json!([]);
                    mesh.rules()[3]["filters"] = json!([{ "type": "RequestRedirect", "requestRedirect": { "hostname": "b.example" } }]);
                },
                &[],
            ),
            ("rules in another order", |mesh| mesh.rules().reverse(), &[]),
            (
                "the listener is removed",
                |mesh| {
                    mesh.spec("Gateway/edge")["listeners"].as_array_mut().unwrap().remove(0);
                    mesh.remove("FilterAttachment/edge-ip");
                },
                &[],
            ),
        ],
    );
}

#[test]
fn policies_that_go_narrow_or_only_watch_are_named() {
    let policy = r#"AuthorizationPolicy "shop/payments" no longer guards listener "inbound""#;
    told(
        &Mesh::with_policies(),
        PAYMENTS,
        &[
            ("it is deleted", |mesh| mesh.remove("AuthorizationPolicy/payments"), &[policy]),
            (
                "it only watches",
                |mesh| {
                    mesh.spec("AuthorizationPolicy/payments")["mode"] = json!("audit");
                },
                &[policy],
            ),
            (
                "its filter only watches",
                |mesh| {
                    mesh.spec("FilterAttachment/authz")["config"] = json!({ "mode": "audit" });
                },
                &[policy],
            ),
            (
                "it goes to another service",
                |mesh| {
                    mesh.spec("AuthorizationPolicy/payments")["targetRefs"] =
                        json!([service("web")]);
                },
                &[policy],
            ),
            (
                "it goes with its filter",
                |mesh| {
                    mesh.remove("AuthorizationPolicy/payments");
                    mesh.remove("FilterAttachment/authz");
                },
                &[policy],
            ),
            (
                "it is for the whole mesh",
                |mesh| {
                    mesh.spec("AuthorizationPolicy/payments")["targetRefs"] =
                        json!([{ "kind": "Mesh" }]);
                },
                &[],
            ),
            (
                "it gets another name",
                |mesh| {
                    let spec = mesh.spec("AuthorizationPolicy/payments").clone();
                    mesh.remove("AuthorizationPolicy/payments");
                    mesh.policy("renamed", spec);
                },
                &[],
            ),
            (
                "it gets other rules",
                |mesh| {
                    mesh.spec("AuthorizationPolicy/payments")["allow"] =
                        json!([{ "methods": ["PUT"] }]);
                },
                &[],
            ),
            (
                "a policy more",
                |mesh| {
                    mesh.policy("more", json!({ "targetRefs": [service("payments")], "deny": [{ "methods": ["PUT"] }] }));
                },
                &[],
            ),
            (
                "its filter goes, which closes the service",
                |mesh| mesh.remove("FilterAttachment/authz"),
                &[],
            ),
            (
                "its filter gets another name",
                |mesh| {
                    mesh.remove("FilterAttachment/authz");
                    mesh.attach("renamed", "authz", "authz", json!([{ "kind": "Mesh" }]));
                },
                &[],
            ),
        ],
    );
    let receiver = r#""shop/authz" (tamis/authz) no longer guards listener "inbound""#;
    told(
        &Mesh::with_policies(),
        "sidecar:shop/web/0",
        &[
            (
                "without a policy, the filter refuses everything",
                |mesh| mesh.remove("FilterAttachment/authz"),
                &[receiver],
            ),
            (
                "a policy that only watches lets everything pass",
                |mesh| {
                    mesh.policy(
                        "web",
                        json!({ "targetRefs": [service("web")], "mode": "audit", "allow": [{}] }),
                    );
                },
                &[receiver],
            ),
            (
                "a first policy",
                |mesh| {
                    mesh.policy("web", json!({ "targetRefs": [service("web")], "allow": [{ "methods": ["GET"] }] }));
                },
                &[],
            ),
        ],
    );
}

#[test]
fn a_handshake_that_asks_for_no_certificate_any_more_is_named() {
    let mut mesh = Mesh::guarded();
    let files = json!({ "certificate": "c.crt", "key": "c.key", "clientCa": "clients.pem" });
    for one in mesh.spec("Gateway/edge")["listeners"].as_array_mut().unwrap() {
        one["protocol"] = json!("HTTPS");
        one["tls"] = files.clone();
    }
    fn listeners(mesh: &mut Mesh) -> &mut Vec<Json> {
        mesh.spec("Gateway/edge")["listeners"].as_array_mut().unwrap()
    }
    let gone =
        r#"the demand for client certificates (tls.clientCa) no longer guards listener "public""#;
    told(
        &mesh,
        EDGE,
        &[
            (
                "it is taken out",
                |mesh| drop(listeners(mesh)[0]["tls"].as_object_mut().unwrap().remove("clientCa")),
                &[gone],
            ),
            (
                "without TLS",
                |mesh| {
                    listeners(mesh)[0]["protocol"] = json!("HTTP");
                    drop(listeners(mesh)[0].as_object_mut().unwrap().remove("tls"));
                },
                &[gone],
            ),
            (
                "certificates of another authority",
                |mesh| listeners(mesh)[0]["tls"]["clientCa"] = json!("others.pem"),
                &[],
            ),
            (
                "another certificate of its own",
                |mesh| listeners(mesh)[0]["tls"]["certificate"] = json!("d.crt"),
                &[],
            ),
        ],
    );
    let third: Edit = |mesh| {
        let third = json!({ "name": "third", "port": 8083, "protocol": "HTTP" });
        listeners(mesh).push(third);
        mesh.spec("HTTPRoute/shop")["parentRefs"] = json!([{ "name": "edge" }]);
    };
    let words = lost(&mesh, EDGE, third).join("\n");
    assert!(
        words.contains("the demand for client certificates (tls.clientCa) does not guard rules"),
        "{words}"
    );
}

#[test]
fn another_filter_that_receives_the_policies_is_another_guard() {
    let mesh = Mesh::with_policies();
    let swapped: Edit = |mesh| {
        mesh.filter("ip", json!({ "world": "authorizer", "receives": "AuthorizationPolicy" }));
        mesh.remove("FilterAttachment/edge-ip");
        mesh.remove("FilterAttachment/authz");
        mesh.attach("authz", "ip", "authz", json!([{ "kind": "Mesh" }]));
    };
    let words = lost(&mesh, PAYMENTS, swapped);
    assert_eq!(words, [r#""shop/authz" (tamis/authz) no longer guards listener "inbound""#]);
}

#[test]
fn who_may_connect_is_protection_too() {
    let mut mesh = Mesh::with_policies();
    mesh.put(
        "Service",
        "stock",
        json!({
            "ports": [{ "port": 700, "protocol": "tcp" }],
            "identity": "spiffe://shop.example/stock",
            "endpoints": [{ "address": "127.0.0.1:9003", "sidecar": "127.0.0.1:15003" }],
        }),
    );
    mesh.policy(
        "stock",
        json!({ "targetRefs": [service("stock")], "allow": [{ "ports": [700] }] }),
    );
    let listener = mesh.plan("sidecar:shop/stock/0").listeners[0].name.clone();
    let lost =
        format!("AuthorizationPolicy \"shop/stock\" no longer guards listener \"{listener}\"");
    told(
        &mesh,
        "sidecar:shop/stock/0",
        &[
            ("it is deleted", |mesh| mesh.remove("AuthorizationPolicy/stock"), &[&lost]),
            (
                "it only watches",
                |mesh| {
                    mesh.spec("AuthorizationPolicy/stock")["mode"] = json!("audit");
                },
                &[&lost],
            ),
            (
                "more may connect",
                |mesh| {
                    mesh.spec("AuthorizationPolicy/stock")["allow"] =
                        json!([{ "ports": [700], "identities": ["spiffe://x/y"] }]);
                },
                &[],
            ),
            (
                "its filter goes, which closes the port",
                |mesh| mesh.remove("FilterAttachment/authz"),
                &[],
            ),
        ],
    );
}

#[test]
fn the_guards_of_a_sidecar_are_those_of_all_that_arrives() {
    let guards =
        |mesh: &Mesh, node| inbound_guards(&mesh.plan(node)).into_iter().collect::<Vec<_>>();
    let all = [r#""shop/authz" (tamis/authz)"#, r#"AuthorizationPolicy "shop/payments""#];
    assert_eq!(guards(&Mesh::with_policies(), PAYMENTS), all);
    assert_eq!(guards(&Mesh::guarded(), PAYMENTS), [""; 0]);
    assert_eq!(guards(&Mesh::with_policies(), EDGE), [""; 0]);
}

/// What costs nothing must stay so: rules that nothing guards are not read one by one, and ten thousand that are compared take
/// one pass.
#[test]
fn ten_thousand_guarded_rules_lose_three_names_and_a_number() {
    let mut mesh = Mesh::guarded();
    let rule = |at: usize| rule(&format!("r{at}"), &format!("/r/{at}"), "web");
    let parents = mesh.spec("HTTPRoute/shop")["parentRefs"].clone();
    for route in 0..100 {
        let rules: Vec<Json> = (0..100).map(|at| rule(route * 100 + at)).collect();
        mesh.route(&format!("many{route}"), &parents, Json::Array(rules));
    }
    let targets: Vec<Json> =
        (0..100).map(|at| json!({ "kind": "HTTPRoute", "name": format!("many{at}") })).collect();
    mesh.attach("many", "jwt", "authn", Json::Array(targets));
    let found = lost(&mesh, EDGE, |mesh| {
        let targets = mesh.spec("FilterAttachment/many")["targetRefs"].as_array_mut().unwrap();
        targets.truncate(1);
    });
    let [words] = &found[..] else { panic!("{found:?}") };
    assert!(words.contains("and 9897 more of listener"), "{words}");
}

//! Whatever is wrong with a guard, requests that it should guard are refused; a contradicting document does
//! not win by a name, a file or a date.

use serde_json::json;

use super::codes;
use crate::plan::{FilterPlan, NodePlan};
use crate::{Document, FoldResult, Resource, fold, read};

const NODE: &str = "gateway:f/edge";

const MESH: &str = "
kind: Gateway
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: edge, namespace: f }
spec: { listeners: [{ name: http, port: 8080, protocol: HTTP, allowedRoutes: { namespaces: { from: All } } }] }
---
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: app, namespace: f }
spec: { ports: [{ port: 80, protocol: http }], endpoints: [{ address: 127.0.0.1:9000 }] }
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: tamis }
spec: { world: route-policy }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: security }
spec: { filter: tamis/route }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: route, namespace: f }
spec: { targetRefs: [{ kind: Mesh }], filter: tamis/route, phase: traffic, order: 10 }
---
kind: FiltersLock
apiVersion: tamis.dev/v1alpha1
filters:
  - { service: '*', filter: tamis/jwt, version: 1.0.0, digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000' }
  - { service: '*', filter: tamis/route, version: 1.0.0, digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000001' }
";

const ROUTE: &str = "
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: r, namespace: f }
spec:
  parentRefs: [{ name: edge }]
  rules:
    - { name: admin, matches: [{ path: { value: /admin } }], backendRefs: [{ name: app, port: 80 }] }
    - { name: all, backendRefs: [{ name: app, port: 80 }] }
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: wide, namespace: f }
spec: { parentRefs: [{ name: edge }], rules: [{ backendRefs: [{ name: app, port: 80 }] }] }
";

const GUARD: &str = "
---
kind: Filter
apiVersion: tamis.dev/v1alpha1
metadata: { name: jwt, namespace: tamis }
spec: { world: authorizer }
---
kind: Grant
apiVersion: tamis.dev/v1alpha1
metadata: { name: jwt, namespace: security }
spec: { filter: tamis/jwt }
---
kind: FilterAttachment
apiVersion: tamis.dev/v1alpha1
metadata: { name: guard, namespace: f }
spec:
  targetRefs: [{ kind: HTTPRoute, name: r, sectionName: admin }]
  filter: tamis/jwt
  phase: authn
  order: 10
  config: { issuers: [{ jwks: { file: keys.json } }] }
";

/// The result of a text at a cold start; `None`: the proxy does not start.
fn cold(text: &str) -> Option<FoldResult> {
    let parsed = read("mesh.yaml", text);
    if parsed.lost {
        return None;
    }
    let mut documents = parsed.documents;
    documents.extend(parsed.stubs);
    Some(folded(&documents))
}

/// What a registry makes of a text that is sent to it by whoever reads a folder while everything runs: documents that
/// can be used, and in one line each what stands in for the others; none: nobody knows what was in it.
fn sent(text: &str) -> Option<FoldResult> {
    let parsed = read("mesh.yaml", text);
    if parsed.lost {
        return None;
    }
    let mut documents = parsed.documents;
    for stub in &parsed.stubs {
        let Some(text) = stub.stand_in() else { continue };
        assert!(!text.contains('\n'), "{text}");
        let (mut again, problems) = crate::parse("mesh.yaml", &text);
        assert!(problems.is_empty() && again.len() == 1, "{text}: {problems:#?}");
        documents.append(&mut again);
    }
    Some(folded(&documents))
}

fn folded(documents: &[Document]) -> FoldResult {
    let files = |path: &str| match path {
        "keys.json" => Ok(b"{}".to_vec()),
        _ => Err("there is no such file".to_owned()),
    };
    fold(documents, &NODE.parse().unwrap(), &files)
}

fn covers(filter: &FilterPlan, rule: &str) -> bool {
    filter.scope.as_ref().is_none_or(|scope| {
        scope.iter().any(|entry| {
            if entry.ends_with('/') { rule.starts_with(entry.as_str()) } else { entry == rule }
        })
    })
}

/// Whether something refuses the exchanges of a rule on the gateway's listener.
fn is_closed(plan: &NodePlan, rule: &str) -> bool {
    let members = plan.listeners.iter().flat_map(|one| &one.chain.attachments);
    members
        .map(|at| &plan.filters[*at])
        .any(|filter| filter.refused.is_some() && covers(filter, rule))
}

/// The rule that takes `/admin`, if any does that has a backend.
fn admin(plan: &NodePlan) -> Option<&'static str> {
    let serves = |route: &str| {
        let routes = plan.filters.iter().filter_map(|one| one.config["routes"].as_array());
        let of = routes.flatten().filter(|one| one["name"] == route);
        let mut rules = of.filter_map(|one| one["rules"].as_array()).flatten();
        rules.any(|rule| rule["backendRefs"].as_array().is_some_and(|all| !all.is_empty()))
    };
    match (serves("f/r"), serves("f/wide")) {
        (true, _) => Some("f/r/admin"),
        (false, true) => Some("f/wide/0"),
        (false, false) => None,
    }
}

#[test]
fn the_guard_runs_when_nothing_is_wrong() {
    let folded = cold(&[MESH, ROUTE, GUARD].concat()).unwrap();
    assert_eq!(codes(&folded.problems), [""; 0], "{:#?}", folded.problems);
    let plan = folded.plan.unwrap();
    let guard = plan.filters.iter().find(|one| one.attachment == "f/guard").unwrap();
    assert_eq!(guard.scope.as_deref(), Some(&["f/r/admin".to_owned()][..]));
    assert!(guard.refused.is_none() && !is_closed(&plan, "f/r/admin"));
}

#[test]
fn whatever_is_wrong_with_a_guard_what_it_was_to_guard_is_refused() {
    let guard = "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: guard, namespace: f }";
    let rows: &[(&str, &str, &str)] = &[
        // The attachment.
        ("an unclosed list", "phase: authn", "phase: [authn"),
        ("a tab", "  phase: authn", "\tphase: authn"),
        ("a key twice", "phase: authn", "phase: authn\n  phase: authz"),
        ("an anchor", "phase: authn", "phase: &a authn"),
        ("a phase that is none", "phase: authn", "phase: auth"),
        ("a phase of another type", "phase: authn", "phase: 3"),
        ("no phase", "  phase: authn\n", ""),
        ("a misspelt phase key", "phase: authn", "phse: authn"),
        ("an order in words", "order: 10\n  config", "order: ten\n  config"),
        ("an order out of range", "order: 10\n  config", "order: 99999999999\n  config"),
        ("no order", "  order: 10\n  config", "  config"),
        ("a misspelt onFailure", "order: 10\n  config", "order: 10\n  onFailur: closed\n  config"),
        (
            "an onFailure that is none",
            "order: 10\n  config",
            "order: 10\n  onFailure: shut\n  config",
        ),
        (
            "an onFailure that guards may not have",
            "order: 10\n  config",
            "order: 10\n  onFailure: open\n  config",
        ),
        ("an unknown field", "order: 10\n  config", "order: 10\n  colour: red\n  config"),
        ("a misspelt isolation", "order: 10\n  config", "order: 10\n  isolation: reqest\n  config"),
        (
            "a direction that is none",
            "order: 10\n  config",
            "order: 10\n  direction: sideways\n  config",
        ),
        // Its target.
        ("a route that is not there", "name: r, sectionName", "name: rr, sectionName"),
        ("a rule that is not there", "sectionName: admin", "sectionName: admn"),
        ("a section of another type", "sectionName: admin", "sectionName: 7"),
        ("a misspelt section key", "sectionName: admin", "sectionNam: admin"),
        ("a kind that is none", "kind: HTTPRoute, name: r, s", "kind: HTTPRout, name: r, s"),
        ("another kind", "kind: HTTPRoute, name: r, s", "kind: GRPCRoute, name: r, s"),
        ("no kind", "kind: HTTPRoute, name: r, s", "name: r, s"),
        ("no name", "name: r, sectionName", "sectionName"),
        (
            "no targets",
            "targetRefs: [{ kind: HTTPRoute, name: r, sectionName: admin }]",
            "targetRefs: []",
        ),
        (
            "targets of another type",
            "targetRefs: [{ kind: HTTPRoute, name: r, sectionName: admin }]",
            "targetRefs: all",
        ),
        (
            "a misspelt key of targets",
            "targetRefs: [{ kind: HTTPRoute",
            "targetRef: [{ kind: HTTPRoute",
        ),
        // Its metadata and kind.
        ("a misspelt kind", guard, &guard.replace("FilterAttachment", "FilterAtachment")),
        ("another version", guard, &guard.replace("v1alpha1", "v1alpha2")),
        ("no version", guard, &guard.replace("apiVersion: tamis.dev/v1alpha1\n", "")),
        ("no kind at all", guard, &guard.replace("kind: FilterAttachment\n", "")),
        ("a name that is none", guard, &guard.replace("name: guard", "name: Guard!")),
        ("no name", guard, &guard.replace("name: guard, ", "")),
        ("a misspelt namespace key", guard, &guard.replace("namespace: f", "namespac: f")),
        ("a namespace that is none", guard, &guard.replace("namespace: f", "namespace: [f]")),
        (
            "no metadata",
            guard,
            &guard.replace("metadata: { name: guard, namespace: f }", "metadata:"),
        ),
        // Its filter.
        ("a filter that is not there", "filter: tamis/jwt\n  phase", "filter: tamis/jtw\n  phase"),
        ("a filter without namespace", "filter: tamis/jwt\n  phase", "filter: jwt\n  phase"),
        ("no filter", "  filter: tamis/jwt\n  phase", "  phase"),
        (
            "a Filter that cannot be used",
            "spec: { world: authorizer }",
            "spec: { wrld: authorizer }",
        ),
        ("a Filter of no world", "spec: { world: authorizer }", "spec: { world: authoriser }"),
        ("a router of a filter", "spec: { world: authorizer }", "spec: { world: route-policy }"),
        // Its grant, its pin, its configuration.
        (
            "a Grant that cannot be used",
            "spec: { filter: tamis/jwt }",
            "spec: { filtr: tamis/jwt }",
        ),
        ("a Grant of another filter", "spec: { filter: tamis/jwt }", "spec: { filter: tamis/jwx }"),
        (
            "a Grant that is there twice",
            "spec: { filter: tamis/jwt }",
            "spec: { filter: tamis/jwt }\n---\nkind: Grant\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: aaa, namespace: security }\nspec: { filter: tamis/jwt, limits: { time: 9s } }",
        ),
        ("a pin of another filter", "filter: tamis/jwt, version", "filter: tamis/jws, version"),
        (
            "a digest that is none",
            "version: 1.0.0, digest: 'sha256:00",
            "version: 1.0.0, digest: 'sha256:0",
        ),
        ("a lock that cannot be used", "kind: FiltersLock", "kind: FiltersLok"),
        (
            "two pins that contradict each other",
            "filters:\n",
            "filters:\n  - { service: '*', filter: tamis/jwt, version: 0.9.0, digest: 'sha256:1111111111111111111111111111111111111111111111111111111111111111' }\n",
        ),
        ("a file that is not there", "file: keys.json", "file: gone.json"),
        // The attachment twice.
        (
            "the attachment twice",
            guard,
            &format!(
                "{guard}\nspec: {{ targetRefs: [{{ kind: HTTPRoute, name: wide }}], filter: tamis/jwt, phase: authn, order: 11 }}\n---\n{guard}"
            ),
        ),
        // Another attachment in its place.
        (
            "a tie",
            guard,
            &format!(
                "{}\nspec: {{ targetRefs: [{{ kind: HTTPRoute, name: r, sectionName: admin }}], filter: tamis/jwt, phase: authn, order: 10 }}\n---\n{guard}",
                guard.replace("name: guard", "name: aaa")
            ),
        ),
        // Its route.
        (
            "a route that cannot be used",
            "metadata: { name: r, namespace: f }\nspec:",
            "metadata: { name: r, namespace: f }\nspc:",
        ),
        (
            "a rule with an unknown field",
            "name: admin, matches",
            "name: admin, colour: red, matches",
        ),
        (
            "a match that is none",
            "matches: [{ path: { value: /admin } }]",
            "matches: [{ path: { type: Suffix, value: /admin } }]",
        ),
        ("a path that no request has", "value: /admin", "value: admin"),
        ("a rule that is renamed", "{ name: admin, matches", "{ name: admins, matches"),
        (
            "a route that is there twice",
            "\n---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: wide, namespace: f }",
            "\n---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: r, namespace: f }\nspec: { parentRefs: [{ name: edge }], rules: [{ backendRefs: [{ name: app, port: 80 }] }] }\n---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: { name: wide, namespace: f }",
        ),
        // Its router.
        (
            "a second router",
            "order: 10 }\n---\nkind: FiltersLock",
            "order: 10 }\n---\nkind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: other, namespace: f }\nspec: { targetRefs: [{ kind: Mesh }], filter: tamis/route, phase: traffic, order: 11 }\n---\nkind: FiltersLock",
        ),
        (
            "a router that cannot be used",
            "filter: tamis/route, phase: traffic, order: 10 }",
            "filter: tamis/route, phase: trafic, order: 10 }",
        ),
    ];
    let text = [MESH, ROUTE, GUARD].concat();
    let mut open = Vec::new();
    for (name, from, to) in rows {
        assert!(text.contains(from), "{name}: {from:?}");
        let text = text.replacen(from, to, 1);
        let columns = [("at a cold start", cold(&text)), ("added while `up` runs", sent(&text))];
        for (when, folded) in columns {
            let Some(folded) = folded else { continue };
            let plan = folded.plan.unwrap();
            if let Some(rule) = admin(&plan).filter(|rule| !is_closed(&plan, rule)) {
                open.push(format!("{name}, {when}: {rule}"));
            }
        }
    }
    assert!(open.is_empty(), "left open:\n{}", open.join("\n"));
}

#[test]
fn a_guard_of_a_route_that_is_not_there_closes_the_routes_of_its_own_namespace_alone() {
    let other = ROUTE
        .replace("namespace: f", "namespace: g")
        .replace("name: edge", "name: edge, namespace: f");
    let text = [MESH, ROUTE, &other, &GUARD.replace("name: r, s", "name: rr, s")].concat();
    let plan = cold(&text).unwrap().plan.unwrap();
    assert!(is_closed(&plan, "f/r/all") && is_closed(&plan, "f/wide/0"));
    assert!(!is_closed(&plan, "g/r/all"), "one owner's mistake is theirs alone");
}

#[test]
fn a_guard_of_calls_between_services_is_refused_and_the_callee_with_it() {
    let mesh = "
---
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: callee, namespace: f }
spec:
  ports: [{ port: 80, protocol: http }]
  identity: spiffe://test.example/callee
  tls: { certificate: c, key: k, ca: ca }
  endpoints: [{ address: 127.0.0.1:9000, sidecar: 127.0.0.1:9001 }]
---
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
metadata: { name: calls, namespace: f }
spec: { parentRefs: [{ kind: Service, name: callee }], rules: [{ name: admin, backendRefs: [{ name: callee, port: 80 }] }] }
";
    let text = [MESH, mesh, &GUARD.replace("name: r, s", "name: calls, s")].concat();
    let (documents, problems) = crate::parse("mesh.yaml", &text);
    assert!(problems.is_empty(), "{problems:#?}");
    let files = |_: &str| Ok(b"{}".to_vec());
    let folded = fold(&documents, &"sidecar:f/callee/0".parse().unwrap(), &files);
    assert!(codes(&folded.problems).contains(&"attachment.target"), "{:#?}", folded.problems);
    let plan = folded.plan.unwrap();
    let inbound = plan.listeners.iter().find(|one| one.name == "inbound").unwrap();
    let guard = inbound.chain.attachments.iter().map(|at| &plan.filters[*at]);
    let guard = guard.into_iter().find(|one| one.attachment == "f/guard").unwrap();
    assert!(guard.refused.is_some() && guard.scope.is_none());
}

/// A document of each kind that contradicts another: its text twice, with the difference.
fn contradictions() -> Vec<(&'static str, String, String, &'static str)> {
    let document = |kind: &str, name: &str, spec: serde_json::Value| {
        let api = match kind {
            "Gateway" | "HTTPRoute" => "gateway.networking.k8s.io/v1",
            _ => "tamis.dev/v1alpha1",
        };
        let (space, name) = name.split_once('/').unwrap();
        let metadata = json!({ "name": name, "namespace": space });
        json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec }).to_string()
    };
    let service = |port: u16| json!({ "ports": [{ "port": port, "protocol": "http" }] });
    let grant = |time: &str| json!({ "filter": "x/y", "limits": { "time": time } });
    let trust = |key: &str| json!({ "namespaces": ["x/*"], "threshold": 1, "keys": [{ "name": key, "publicKey": key }] });
    let policy = |time: &str| json!({ "targetRefs": [{ "kind": "Service", "name": "app" }], "slowCall": time });
    let attach = |order: i32, filter: &str| json!({ "targetRefs": [{ "kind": "Mesh" }], "filter": filter, "phase": "traffic", "order": order });
    let route = |port: u16| {
        json!({ "parentRefs": [{ "name": "edge", "namespace": "f" }], "hostnames": ["a.example"],
                "rules": [{ "matches": [{ "path": { "value": "/x" } }], "filters": [{ "type": "RequestRedirect", "requestRedirect": { "port": port } }] }] })
    };
    vec![
        (
            "one name",
            document("Service", "f/s", service(1)),
            document("Service", "f/s", service(2)),
            "document.duplicate",
        ),
        (
            "one filter",
            document("Grant", "a/g", grant("1s")),
            document("Grant", "b/g", grant("2s")),
            "grant.conflict",
        ),
        (
            "one pattern",
            document("TrustPolicy", "a/t", trust("k")),
            document("TrustPolicy", "b/t", trust("l")),
            "trust.conflict",
        ),
        (
            "one service",
            document("UpstreamPolicy", "f/p", policy("1s")),
            document("UpstreamPolicy", "f/q", policy("2s")),
            "policy.conflict",
        ),
        (
            "one order",
            document("FilterAttachment", "f/i", attach(5, "x/y")),
            document("FilterAttachment", "f/j", attach(5, "x/y")),
            "attachment.tie",
        ),
        (
            "one router",
            document("FilterAttachment", "f/i", attach(5, "tamis/route")),
            document("FilterAttachment", "f/route", attach(10, "tamis/route")),
            "attachment.second",
        ),
        (
            "one request",
            document("HTTPRoute", "g/r", route(1)),
            document("HTTPRoute", "h/r", route(2)),
            "route.conflict",
        ),
    ]
}

#[test]
fn of_what_contradicts_itself_the_one_in_force_stays_and_else_none_counts() {
    for (name, one, other, code) in contradictions() {
        let base = if name == "one router" {
            MESH.replace(
                "order: 10 }\n---\nkind: FiltersLock",
                "order: 99 }\n---\nkind: FiltersLock",
            )
        } else {
            MESH.to_owned()
        };
        let base = if name == "one router" {
            base.replacen(
                "metadata: { name: route, namespace: f }",
                "metadata: { name: rout, namespace: nowhere }",
                1,
            )
        } else {
            base
        };
        let base = if name == "one router" {
            base.replace(
                "filter: tamis/route, phase: traffic",
                "filter: tamis/none, phase: traffic",
            )
        } else {
            base
        };
        let mut plans = Vec::new();
        for since in [(0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX), (0, 0)] {
            for swapped in [false, true] {
                // Another order of files, other names of files.
                let files = if swapped { ["b.yaml", "a.yaml"] } else { ["a.yaml", "b.yaml"] };
                let mut documents = read("mesh.yaml", &base).documents;
                let (mut first, mut second) =
                    (read(files[0], &one).documents, read(files[1], &other).documents);
                first[0].since = since.0;
                second[0].since = since.1;
                if swapped {
                    documents.splice(0..0, second);
                    documents.extend(first);
                } else {
                    documents.extend(first);
                    documents.extend(second);
                }
                let folded = folded(&documents);
                let found: Vec<_> = folded.problems.iter().filter(|one| one.code == code).collect();
                assert!(!found.is_empty(), "{name}: {:#?}", folded.problems);
                assert!(found.iter().all(|one| !one.also.is_empty()), "{name}: both places");
                let wrong = |file: &str| found.iter().any(|one| one.place.source == file);
                let (a, b) = (wrong(files[0]), wrong(files[1]));
                let expected = (since.0 >= since.1, since.1 >= since.0);
                assert_eq!((a, b), expected, "{name} {since:?} swapped {swapped}: {found:#?}");
                plans.push((since, serde_json::to_string(&folded.plan).unwrap()));
            }
        }
        for pair in plans.chunks(2) {
            assert_eq!(pair[0], pair[1], "{name}: files and their order decide nothing");
        }
    }
}

#[test]
fn no_date_that_an_author_writes_decides_between_namespaces() {
    let route = |space: &str, date: &str| {
        format!(
            "\n---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\n\
             metadata: {{ name: r, namespace: {space}{date} }}\nspec:\n  parentRefs: [{{ name: edge, namespace: f }}]\n\
             \x20 hostnames: [a.example]\n  rules: [{{ filters: [{{ type: RequestRedirect, requestRedirect: {{ port: 1 }} }}] }}]\n"
        )
    };
    let old = ", creationTimestamp: '1970-01-01T00:00:00Z'";
    let text = [MESH, &route("mine", ""), &route("thief", old)].concat();
    let mut documents = read("mesh.yaml", &text).documents;
    let at =
        |space: &str| documents.iter().position(|one| one.metadata.namespace == space).unwrap();
    let (mine, thief) = (at("mine"), at("thief"));
    let served = |documents: &[Document]| {
        let plan = folded(documents).plan.unwrap();
        let router = plan.filters.iter().find(|one| one.filter == "tamis/route").unwrap();
        let routes = router.config["routes"].as_array().unwrap().clone();
        let rules = |route: &serde_json::Value| !route["rules"].as_array().unwrap().is_empty();
        let names = routes
            .iter()
            .filter(|route| rules(route))
            .map(|route| route["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(served(&documents), ["contested:"], "nobody has it: it is answered with 500");
    documents[mine].since = 3;
    documents[thief].since = 9;
    assert_eq!(served(&documents), ["mine/r"]);
}

#[test]
fn no_expression_takes_what_another_namespace_asked_for_before() {
    let route = |space: &str, kind: &str, value: &str| {
        format!(
            "\n---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\n\
             metadata: {{ name: r, namespace: {space} }}\nspec:\n  parentRefs: [{{ name: edge, namespace: f }}]\n\
             \x20 hostnames: [a.example]\n  rules: [{{ matches: [{{ path: {{ type: {kind}, value: '{value}' }} }}], \
             filters: [{{ type: RequestRedirect, requestRedirect: {{ port: 1 }} }}] }}]\n"
        )
    };
    let served = |one: (&str, &str), other: (&str, &str), since: [u64; 2]| {
        let text = [MESH, &route("one", one.0, one.1), &route("two", other.0, other.1)].concat();
        let mut documents = read("mesh.yaml", &text).documents;
        for (space, since) in ["one", "two"].into_iter().zip(since) {
            let of = documents.iter_mut().filter(|document| document.metadata.namespace == space);
            of.for_each(|document| document.since = since);
        }
        let plan = folded(&documents).plan.unwrap();
        let router = plan.filters.iter().find(|one| one.filter == "tamis/route").unwrap();
        let routes = router.config["routes"].as_array().unwrap().clone();
        let rules = routes.iter().filter(|route| !route["rules"].as_array().unwrap().is_empty());
        let mut names: Vec<String> =
            rules.map(|route| route["name"].as_str().unwrap().replace("/r", "")).collect();
        names.sort();
        names.join(" ")
    };
    let (expression, prefix, exact) = ("RegularExpression", "PathPrefix", "Exact");
    for (one, other, first, unknown) in [
        // The longer one would have them, and neither has.
        (
            (expression, "/a/.*"),
            (expression, "(/.*|/aaaaaaaaaaaaaaaaaaaaa)"),
            "one",
            "contested: contested:",
        ),
        ((expression, "/a/.*"), (expression, "/a/[0-9]+"), "one", "contested: contested:"),
        ((expression, "/ab*c"), (expression, "/ac+"), "one", "contested: contested:"),
        ((expression, "/(?i)x"), (expression, "/y"), "one", "contested: contested:"),
        ((prefix, "/a"), (expression, "/.*"), "one", "one two"),
        ((prefix, "/"), (expression, "/b/.*"), "one", "one two"),
        ((prefix, "/a/"), (expression, "/a"), "one", "one two"),
        // An expression that is there already comes before a prefix, as it does within a namespace.
        ((expression, "/.*"), (prefix, "/a"), "one two", "one two"),
        ((exact, "/a"), (expression, "/.*"), "one two", "one two"),
        ((expression, "/a/.*"), (expression, "/b/.*"), "one two", "one two"),
        ((prefix, "/a"), (expression, "/b/.*"), "one two", "one two"),
    ] {
        assert_eq!(served(one, other, [3, 9]), first, "{one:?} {other:?}");
        assert_eq!(served(one, other, [crate::NEW; 2]), unknown, "{one:?} {other:?}");
    }
}

#[test]
fn no_condition_on_calls_takes_what_another_namespace_asked_for_before() {
    let route = |space: &str, kind: &str, wanted: &str| {
        let rest = match kind {
            "GRPCRoute" => format!("matches: [{{ method: {wanted} }}]"),
            _ => format!("matches: [{{ path: {wanted} }}]"),
        };
        format!(
            "\n---\nkind: {kind}\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: r, namespace: {space} }}\n\
             spec:\n  parentRefs: [{{ name: edge, namespace: f }}]\n  hostnames: [a.example]\n  rules: [{{ {rest} }}]\n"
        )
    };
    let served = |one: (&str, &str), other: (&str, &str), since: [u64; 2]| {
        let text = [MESH, &route("one", one.0, one.1), &route("two", other.0, other.1)].concat();
        let mut documents = read("mesh.yaml", &text).documents;
        for (space, since) in ["one", "two"].into_iter().zip(since) {
            let of = documents.iter_mut().filter(|document| document.metadata.namespace == space);
            of.for_each(|document| document.since = since);
        }
        let plan = folded(&documents).plan.unwrap();
        let router = plan.filters.iter().find(|one| one.filter == "tamis/route").unwrap();
        let routes = router.config["routes"].as_array().unwrap().clone();
        let rules = routes.iter().filter(|route| !route["rules"].as_array().unwrap().is_empty());
        let mut names: Vec<String> =
            rules.map(|route| route["name"].as_str().unwrap().replace("/r", "")).collect();
        names.sort();
        names.dedup();
        names.join(" ")
    };
    let (calls, requests) = ("GRPCRoute", "HTTPRoute");
    let cart = (calls, "{ service: shop.Cart }");
    let any = (calls, "{ type: RegularExpression, service: '.*' }");
    let carts = (calls, "{ type: RegularExpression, service: 'shop[.]C.*' }");
    let adds = (calls, "{ method: Add }");
    let all_adds = (calls, "{ type: RegularExpression, method: 'Add|Del' }");
    let prefix = (requests, "{ value: /shop.Cart }");
    let exact = (requests, "{ type: Exact, value: /shop.Cart/Add }");
    let expression = (requests, "{ type: RegularExpression, value: '/shop[.].*' }");
    let everything = (requests, "{ value: / }");
    for (one, other, first, unknown) in [
        // Expressions over services come before prefixes, so they do not take what was asked for before.
        (cart, any, "one", "one two"),
        (prefix, any, "one", "one two"),
        (prefix, carts, "one", "one two"),
        (everything, any, "one", "one two"),
        (any, carts, "one", "contested:"),
        (expression, carts, "one", "contested:"),
        (carts, expression, "one", "contested:"),
        ((calls, "{ type: RegularExpression, service: 'a|b' }"), carts, "one", "contested:"),
        (any, cart, "one two", "one two"),
        // The same requests, written in two ways.
        (cart, prefix, "one", "contested:"),
        (prefix, cart, "one", "contested:"),
        (exact, (calls, "{ service: shop.Cart, method: Add }"), "one", "contested:"),
        // Methods of any service come behind prefixes, and before a prefix of everything.
        (everything, adds, "one", "one two"),
        (everything, all_adds, "one", "one two"),
        (adds, all_adds, "one", "contested:"),
        (adds, adds, "one", "contested:"),
        // What comes behind keeps its place, behind what nobody gets.
        (adds, any, "one", "contested: one"),
        (cart, adds, "one two", "one two"),
        (exact, any, "one two", "one two"),
        (any, adds, "one two", "contested: two"),
        // Others begin with other words.
        ((calls, "{ service: a.B }"), carts, "one two", "one two"),
        ((requests, "{ value: /b }"), carts, "one two", "one two"),
    ] {
        assert_eq!(served(one, other, [3, 9]), first, "{one:?} {other:?}");
        assert_eq!(served(one, other, [crate::NEW; 2]), unknown, "{one:?} {other:?}");
    }
}

#[test]
fn rules_across_fields_of_a_route_are_refused_and_its_other_rules_serve() {
    let rows: &[(&str, &str)] = &[
        // Faults in matches: the whole route responds 500.
        ("matches: [{ path: { value: foo } }]", "path/value"),
        ("matches: [{ path: { value: //a } }]", "path/value"),
        ("matches: [{ path: { type: Exact, value: /a//b } }]", "path/value"),
        ("matches: [{ path: { value: /a/../b } }]", "path/value"),
        ("matches: [{ path: { value: /a/. } }]", "path/value"),
        ("matches: [{ path: { value: /a%2fb } }]", "path/value"),
        ("matches: [{ path: { value: /a%2Fb } }]", "path/value"),
        ("matches: [{ path: { value: '/a?b' } }]", "path/value"),
        ("matches: [{ path: { value: '/a#b' } }]", "path/value"),
        ("matches: [{ path: { value: '/a b' } }]", "path/value"),
        // Other spellings of what a request has when it is matched: such a rule would guard nothing.
        ("matches: [{ path: { value: /%61dmin } }]", "path/value"),
        ("matches: [{ path: { type: Exact, value: /a/%2e%2e/b } }]", "path/value"),
        ("matches: [{ path: { value: /caf%c3%a9 } }]", "path/value"),
        ("matches: [{ path: { value: /café } }]", "path/value"),
        ("matches: [{ path: { value: '/a|b' } }]", "path/value"),
        ("matches: [{ path: { value: '/a[0]' } }]", "path/value"),
        ("matches: [{ path: { value: '/a\\b' } }]", "path/value"),
        ("matches: [{ path: { value: /a%5Cb } }]", "path/value"),
        ("matches: [{ path: { value: /a%00 } }]", "path/value"),
        ("matches: [{ path: { value: /a% } }]", "path/value"),
        ("matches: [{ path: { value: /a%4 } }]", "path/value"),
        ("matches: [{ path: { value: /%zz } }]", "path/value"),
        ("matches: [{ headers: [{ name: X-A, value: a }, { name: x-a, value: b }] }]", "headers/1"),
        ("matches: [{ headers: [{ name: 'x a', value: a }] }]", "headers/0"),
        (
            "matches: [{ queryParams: [{ name: a, value: a }, { name: a, value: b }] }]",
            "queryParams/1",
        ),
        // Faults in actions: only that rule responds 500.
        (
            "matches: [{ path: { type: Exact, value: /a } }], filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /b } } }], B",
            "path/type",
        ),
        (
            "matches: [{ path: { type: RegularExpression, value: '/a.*' } }], filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /b } } }]",
            "path/type",
        ),
        ("filters: [{ type: RequestRedirect, requestRedirect: { port: 1 } }], B", "backendRefs"),
        (
            "filters: [{ type: RequestRedirect, requestRedirect: { port: 1 } }, { type: URLRewrite, urlRewrite: { hostname: a.b } }]",
            "filters/1",
        ),
        (
            "filters: [{ type: RequestRedirect, requestRedirect: { statusCode: 200 } }]",
            "statusCode",
        ),
        ("filters: [{ type: RequestRedirect, requestRedirect: { scheme: ftp } }]", "scheme"),
        (
            "filters: [{ type: RequestRedirect, requestRedirect: { hostname: '*.a.b' } }]",
            "hostname",
        ),
        (
            "filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplaceFullPath, replaceFullPath: new } } }]",
            "replaceFullPath",
        ),
        ("filters: [{ type: RequestRedirect }]", "filters/0"),
        ("filters: [{ type: RequestHeaderModifier }], B", "filters/0"),
        (
            "filters: [{ type: RequestHeaderModifier, requestHeaderModifier: {} }], B",
            "requestHeaderModifier",
        ),
        (
            "filters: [{ type: RequestHeaderModifier, urlRewrite: { hostname: a.b } }], B",
            "urlRewrite",
        ),
        (
            "filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: a, value: b }] } }, { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: c, value: d }] } }], B",
            "filters/1",
        ),
        (
            "filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: a, value: b }], add: [{ name: A, value: c }] } }], B",
            "add/0",
        ),
        (
            "filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: host, value: b }] } }], B",
            "set/0",
        ),
        (
            "filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { remove: [Connection] } }], B",
            "remove/0",
        ),
        (
            "filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { add: [{ name: 'x a', value: b }] } }], B",
            "add/0",
        ),
        (
            r#"filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: a, value: "b\nc: d" }] } }], B"#,
            "set/0",
        ),
        ("filters: [{ type: URLRewrite, urlRewrite: {} }], B", "urlRewrite"),
        (
            "filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: app, port: 80 }, percent: 1, fraction: { numerator: 1 } } }], B",
            "percent",
        ),
        (
            "filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: app, port: 80 }, fraction: { numerator: 3, denominator: 2 } } }], B",
            "fraction",
        ),
        ("timeouts: { request: 1s, backendRequest: 2s }, B", "backendRequest"),
        (
            "backendRefs: [{ name: app, port: 80, filters: [{ type: RequestRedirect, requestRedirect: { port: 1 } }] }]",
            "type",
        ),
        ("backendRefs: [{ name: app, port: 80, weight: 1000001 }]", "weight"),
    ];
    for (rule, place) in rows {
        let rule = rule.replace(", B", ", backendRefs: [{ name: app, port: 80 }]");
        let text = format!(
            "{MESH}\n---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: bad, namespace: f }}\n\
             spec:\n  parentRefs: [{{ name: edge }}]\n  hostnames: [bad.example]\n  rules:\n    - {{ name: bad, {rule} }}\n    - {{ name: good, backendRefs: [{{ name: app, port: 80 }}] }}\n{}",
            ROUTE.replace("rules:\n", "hostnames: [good.example]\n  rules:\n")
        );
        let folded = cold(&text).unwrap_or_else(|| panic!("{rule} is YAML"));
        let problem = folded.problems.iter().find(|one| one.code == "route.invalid");
        let problem = problem.unwrap_or_else(|| panic!("{rule}: {:#?}", folded.problems));
        assert!(problem.help.is_some(), "{rule}: the way out");
        let plan = folded.plan.unwrap();
        let router = plan.filters.iter().find(|one| one.filter == "tamis/route").unwrap();
        let routes = router.config["routes"].as_array().unwrap();
        let of = |name: &str| routes.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(of("f/r")["rules"][0]["backendRefs"][0]["service"], "f/app:80", "{rule}");
        let bad = of("f/bad");
        assert_eq!(bad["hostnames"], json!(["bad.example"]), "{rule}");
        assert_eq!(bad["rules"][0]["backendRefs"], json!([]), "{rule}: 500");
        assert_eq!(bad["rules"][0]["filters"], json!([]), "{rule}: 500");
        let matches = place.contains("path/value")
            || place.contains("headers")
            || place.contains("queryParams");
        let neighbour = bad["rules"][1]["backendRefs"] != json!([]);
        assert_eq!(neighbour, !matches, "{rule}: what is not known to be matched closes the route");
        let document = read("mesh.yaml", &text).documents;
        let document = document.iter().find(|one| one.key() == "f/bad").unwrap();
        let places: Vec<_> = pointers(document, place)
            .iter()
            .map(|pointer| document.problem("", pointer, "").place)
            .map(|place| place.start..=place.end)
            .collect();
        let of_routes = folded.problems.iter().filter(|one| one.code == "route.invalid");
        let at: Vec<usize> = of_routes.map(|one| one.place.start).collect();
        let there = places.iter().any(|place| at.iter().any(|at| place.contains(at)));
        assert!(there, "{rule}: {place} is at {at:?} and not in one of {places:?}");
    }
}

/// Every pointer into the first rule of a route that ends with this.
fn pointers(document: &Document, end: &str) -> Vec<String> {
    fn walk(value: &serde_json::Value, pointer: &str, found: &mut Vec<String>) {
        found.push(pointer.to_owned());
        match value {
            serde_json::Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(at, item)| walk(item, &format!("{pointer}/{at}"), found)),
            serde_json::Value::Object(map) => {
                map.iter().for_each(|(name, item)| walk(item, &format!("{pointer}/{name}"), found));
            }
            _ => {}
        }
    }
    let Resource::HTTPRoute(spec) = &document.resource else { panic!("{}", document.kind()) };
    let mut found = Vec::new();
    walk(&serde_json::to_value(&spec.rules[0]).unwrap(), "/spec/rules/0", &mut found);
    found.retain(|pointer| pointer.ends_with(&format!("/{end}")));
    assert!(!found.is_empty(), "{end} is in no rule");
    found
}

#[test]
fn how_an_attachment_is_misused_is_told_at_the_field_that_does_it() {
    let route = |more: &str| {
        format!(
            "{MESH}{ROUTE}\n---\nkind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: own, namespace: f }}\n\
             spec: {{ targetRefs: [{{ kind: Gateway, name: edge }}], filter: tamis/route, phase: traffic, order: 40, {more} }}\n"
        )
    };
    for (config, code) in [
        ("config: [strict]", Some("attachment.config")),
        ("config: strict", Some("attachment.config")),
        ("config: {}", None),
        ("onFailure: closed", None),
    ] {
        let folded = cold(&route(config)).unwrap();
        let found = folded.problems.iter().find(|one| one.code == "attachment.config");
        assert_eq!(found.map(|one| one.code.as_str()), code, "{config}: {:#?}", folded.problems);
        let Some(problem) = found else { continue };
        assert!(problem.message.contains("are an object"), "{}", problem.message);
        let text = route(config);
        let place = &text[problem.place.start..];
        let at = ["config", "strict", "[strict]"].iter().any(|it| place.starts_with(it));
        assert!(at, "{config}: {:?}", problem.place);
        // The router that was there routes on.
        let plan = folded.plan.unwrap();
        let routers =
            plan.filters.iter().filter(|one| one.filter == "tamis/route" && one.refused.is_none());
        assert_eq!(routers.count(), 1, "{config}");
    }
}

#[test]
fn a_router_receives_its_settings_and_what_it_must_cover_beside_its_routes() {
    let of = |text: &str| {
        let plan = folded(&read("mesh.yaml", text).documents).plan.unwrap();
        plan.filters.iter().find(|one| one.filter == "tamis/route").unwrap().clone()
    };
    let settings = "phase: traffic, order: 10, config: { canary: { share: 5 } }";
    for (text, config, covers) in [
        (format!("{MESH}{ROUTE}"), serde_json::Value::Null, &[][..]),
        (format!("{MESH}{ROUTE}{GUARD}"), serde_json::Value::Null, &["f/r/admin"]),
        (
            format!("{MESH}{ROUTE}{GUARD}").replace("phase: traffic, order: 10", settings),
            serde_json::json!({ "canary": { "share": 5 } }),
            &["f/r/admin"],
        ),
        (
            format!("{MESH}{ROUTE}{GUARD}").replace(", sectionName: admin", ""),
            serde_json::Value::Null,
            &["f/r/"],
        ),
    ] {
        let router = of(&text);
        assert!(router.refused.is_none(), "{:?}", router.refused);
        assert_eq!(router.config["routes"].as_array().unwrap().len(), 2);
        assert_eq!(router.config.get("config").cloned().unwrap_or_default(), config);
        assert_eq!(router.covers, covers);
        for (pointer, place) in [
            ("/config/canary/share", "/spec/config/canary/share"),
            ("/config", "/spec/config"),
            ("/routes/0/name", "/spec/filter"),
        ] {
            assert_eq!(router.config_place(pointer), place);
        }
    }
}

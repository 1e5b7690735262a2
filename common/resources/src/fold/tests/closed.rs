//! Whatever is wrong with a guard, requests that it should guard are refused; a contradicting document does
//! not win by a name, a file or a date.

mod attachments;
mod contradictions;
mod nothing;
mod priority;
mod reach;
mod routes;

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
        (
            "nothing behind the direction",
            "order: 10\n  config",
            "order: 10\n  direction:\n  config",
        ),
        ("nothing behind onFailure", "order: 10\n  config", "order: 10\n  onFailure:\n  config"),
        ("nothing behind the phase", "phase: authn", "phase:"),
        ("nothing behind the namespace", guard, &guard.replace("namespace: f", "namespace:")),
        (
            "nothing behind the labels",
            guard,
            &guard.replace("namespace: f", "namespace: f, labels:"),
        ),
        ("nothing behind the section", "sectionName: admin", "sectionName:"),
        (
            "nothing behind the group",
            "{ kind: HTTPRoute, name: r, s",
            "{ group: , kind: HTTPRoute, name: r, s",
        ),
        (
            "nothing behind signedBy",
            "spec: { filter: tamis/jwt }",
            "spec: { filter: tamis/jwt, signedBy: }",
        ),
        ("nothing behind the name of a rule", "{ name: admin, matches", "{ name: , matches"),
        ("nothing behind a path", "path: { value: /admin }", "path:"),
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
fn a_guard_of_a_kind_that_its_namespace_has_not_closes_everything_in_it_and_nothing_of_others() {
    let service = "
---
kind: Service
apiVersion: tamis.dev/v1alpha1
metadata: { name: own, namespace: g }
spec:
  ports: [{ port: 80, protocol: http }]
  identity: spiffe://test.example/own
  tls: { certificate: c, key: k, ca: ca }
  endpoints: [{ address: 127.0.0.1:9000, sidecar: 127.0.0.1:9001 }]
";
    let refused = |text: &str, node: &str| {
        let (documents, problems) = crate::parse("mesh.yaml", text);
        assert!(problems.is_empty(), "{problems:#?}");
        let folded = fold(&documents, &node.parse().unwrap(), &|_| Ok(b"{}".to_vec()));
        let plan = folded.plan.unwrap();
        let guard = plan.filters.iter().find(|one| one.attachment.starts_with("g/guard"));
        guard.is_some_and(|one| one.refused.is_some())
    };
    let attachment = GUARD.replace("guard, namespace: f", "guard, namespace: g");
    let policy = "\n---\nkind: AuthorizationPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: guard, namespace: g }\nspec: { targetRefs: [{ kind: HTTPRoute, name: r, sectionName: admin }], deny: [{}] }\n";
    for guard in [attachment.as_str(), policy] {
        for target in [
            "HTTPRoute, name: r,",
            "HTTPRoute, name: no,",
            "GRPCRoute, name: r,",
            "Gateway, name: edge,",
        ] {
            let text =
                [MESH, ROUTE, service, &guard.replace("HTTPRoute, name: r,", target)].concat();
            assert!(refused(&text, "sidecar:g/own/0"), "{target}: what is of its owner is closed");
            assert!(!refused(&text, "gateway:f/edge"), "{target}: of others nothing is");
        }
    }
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

#[test]
fn a_guard_that_is_no_document_of_its_own_or_of_a_wrong_kind_is_lost_and_not_left_out() {
    let guard = "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: guard, namespace: f }\nspec:\n  targetRefs: [{ kind: HTTPRoute, name: r }]\n  filter: tamis/jwt\n  phase: authn\n  order: 10\n";
    let policy = "kind: AuthorizationPolicy\napiVersion: tamis.dev/v1alpha1\nmetadata: { name: guard, namespace: f }\nspec:\n  targetRefs: [{ kind: HTTPRoute, name: r }]\n  deny: [{}]\n";
    for (guard, own) in [(guard, "FilterAttachment"), (policy, "AuthorizationPolicy")] {
        let deeper = guard.replace('\n', "\n  ");
        let mut rows = vec![
            ("a List", format!("kind: List\napiVersion: v1\nitems:\n- {deeper}\n")),
            ("items alone", format!("items:\n- {deeper}\n")),
            ("a sequence", format!("- {deeper}\n")),
            ("a level too deep", format!("guard:\n  {deeper}\n")),
            ("a block of text", format!("|\n  {deeper}\n")),
            ("a text", format!("\"{own}\"\n")),
            ("a number", "7\n".to_owned()),
            (
                "a list of its kind",
                format!("kind: {own}List\napiVersion: v1\nitems:\n- {deeper}\n"),
            ),
            (
                "in a ConfigMap",
                format!(
                    "kind: ConfigMap\napiVersion: v1\ndata:\n  a: |\n    {}\n",
                    guard.replace('\n', "\n    ")
                ),
            ),
        ];
        for kind in [
            "HTTPRoute",
            "GRPCRoute",
            "Grant",
            "Rollout",
            "FiltersLock",
            "Gateway",
            "Service",
            "Filter",
            "UpstreamPolicy",
            "ReferenceGrant",
        ] {
            rows.push((kind, guard.replacen(own, kind, 1)));
        }
        for (name, text) in rows {
            let read = read("guard.yaml", &text);
            assert!(read.lost && read.stubs.is_empty(), "{own}, {name}: {read:#?}");
            assert!(
                read.problems.iter().all(|one| one.help.is_some() || name != "a List"),
                "{name}"
            );
        }
        for kind in
            ["AuthPolicy", "EnvoyFilter", "ConfigMap", "filterattachment", "AuthorizationPolicies"]
        {
            let read = read("guard.yaml", &guard.replacen(own, kind, 1));
            assert!(read.lost || !read.stubs.is_empty(), "{own} as {kind}");
        }
    }
}

#[test]
fn the_description_of_a_filter_in_the_folder_closes_nothing_and_what_is_near_it_does() {
    let description =
        "name: acme/a\nversion: 0.1.0\nworld: authorizer\nconfig: { schema: schema.json }\n";
    for (text, closes) in [
        (description.to_owned(), false),
        (format!("{description}kind: FilterAttachment\n"), true),
        (format!("{description}spec: {{ targetRefs: [] }}\n"), true),
        (description.replace("world", "word"), true),
        (
            "config: { blocked: [a] }\ncases:\n  - { name: a, request: { path: / } }\n".to_owned(),
            false,
        ),
        ("cases: []\nmetadata: { name: a }\n".to_owned(), true),
        ("cases:\n  - { kind: FilterAttachment, spec: { phase: authn } }\n".to_owned(), true),
        ("cases: FilterAttachment\n".to_owned(), true),
        ("name: acme/a\n".to_owned(), true),
    ] {
        let read = read("filter.yaml", &text);
        assert_eq!(read.lost || !read.stubs.is_empty(), closes, "{text}");
    }
}

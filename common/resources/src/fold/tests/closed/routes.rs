//! Rules across fields of a route: the faulty rule is refused, the others serve.

use super::*;
use crate::{Security, fold_under};

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
        ("matches: [{ path: { value: /%40me } }]", "path/value"),
        ("matches: [{ path: { type: Exact, value: /a%2Bb } }]", "path/value"),
        ("matches: [{ path: { value: \"/%3A\" } }]", "path/value"),
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

#[test]
fn a_path_with_an_escape_is_right_where_no_listener_decodes_it() {
    for (paths, path, refused) in [
        ("", "/%40me", true),
        (", paths: { escapes: Segment }", "/%40me", true),
        (", paths: { escapes: Unreserved }", "/%40me", false),
        (", paths: { escapes: Unreserved }", "/a%2Bb", false),
        (", paths: { escapes: Unreserved }", "/%61dmin", true),
        (", paths: { escapes: Unreserved }", "/%3a", true),
        ("", "/@me", false),
        ("", "/%3B", false),
    ] {
        let listener = "protocol: HTTP,";
        assert!(MESH.contains(listener), "{MESH}");
        let mesh = MESH.replace(listener, &format!("protocol: HTTP{paths},"));
        let text = format!(
            "{mesh}\n---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: r, namespace: f }}\n\
             spec:\n  parentRefs: [{{ name: edge }}]\n  rules:\n    - {{ matches: [{{ path: {{ value: \"{path}\" }} }}], backendRefs: [{{ name: app, port: 80 }}] }}\n"
        );
        let folded = cold(&text).unwrap();
        let found = folded.problems.iter().any(|one| one.code == "route.invalid");
        assert_eq!(found, refused, "{paths} {path}: {:#?}", folded.problems);
    }
}

/// The hosts and the backends of a route at the gateway, beside a route of another owner for all hosts.
fn routed(spec: &str, security: Security<'_>) -> Option<(serde_json::Value, usize)> {
    let route = |name: &str, namespace: &str, spec: &str| {
        format!(
            "\n---\nkind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n{spec}\n"
        )
    };
    let rules = "  rules: [{ backendRefs: [{ name: app, port: 80 }] }]";
    let rest =
        route("rest", "open", &format!("  parentRefs: [{{ name: edge, namespace: f }}]\n{rules}"));
    let text = [MESH, &rest, &route("b", "front", &format!("{spec}\n{rules}"))].concat();
    let read = read("mesh.yaml", &text);
    let all: Vec<Document> = read.documents.into_iter().chain(read.stubs).collect();
    let plan = fold_under(&all, &NODE.parse().unwrap(), &|_| Ok(Vec::new()), security).plan?;
    let router = plan.filters.iter().find(|one| one.filter == "tamis/route").unwrap();
    let routes = router.config["routes"].as_array().unwrap();
    let own: Vec<_> = routes.iter().filter(|one| one["name"] == "front/b").collect();
    assert!(own.len() < 2, "one route, once at a gateway");
    let own = own.first()?;
    let rules = own["rules"].as_array().unwrap();
    let backends = rules.iter().filter_map(|one| one["backendRefs"].as_array()).flatten().count();
    Some((own["hostnames"].clone(), backends))
}

#[test]
fn a_route_that_cannot_be_used_keeps_the_hosts_that_can_be_read_from_the_routes_of_others() {
    let parent = "  parentRefs: [{ name: edge, namespace: f }]\n";
    let hosts = "\n  hostnames: [b.example]";
    for spec in [
        // Hosts.
        format!("{parent}  hostnames: b.example"),
        format!("{parent}  hostnames: [B.example]"),
        format!("{parent}  hostnames: [b.Example.]"),
        format!("{parent}  hostnames: [\"b.example:80\"]"),
        format!("{parent}  hostnames: [b.example, \"c_d.example\"]"),
        format!("{parent}  hostnames: [[x], b.example, 7]"),
        format!("{parent}  hostnames: [b.example]\n  hostname: x"),
        // Parents, in a document that is broken elsewhere, and in one that is not.
        format!("  parentRefs: edge{hosts}"),
        format!("  parentRefs: {{ name: edge, namespace: f }}{hosts}"),
        format!("  parentRefs: [edge]{hosts}"),
        format!("  parentRefs: [{{ name: Edge, namespace: f }}]{hosts}"),
        format!("  parentRefs: [{{ kind: Gatway, name: edge, namespace: f }}]{hosts}"),
        format!("  parentRefs: [{{ name: edgy, namespace: f }}]{hosts}"),
        format!("  parentRefs: [{{ name: edge, namespace: ff }}]{hosts}"),
        format!("  parentRefs: [{{ name: edge }}]{hosts}"),
        format!("  parentRefs: [{{ name: edge, namespace: f, sectionName: https }}]{hosts}"),
        format!("  parentRefs: [{{ name: edge, namespace: f, port: 81 }}]{hosts}"),
    ] {
        let found = routed(&spec, Security::Everybody);
        assert_eq!(found, Some((json!(["b.example"]), 0)), "{spec}");
    }
    // Sound, it serves, and a second parent that is not there takes nothing from it.
    for spec in [
        format!("{parent}{}", hosts.trim_start_matches('\n')),
        format!(
            "  parentRefs: [{{ name: edge, namespace: f }}, {{ name: edgy, namespace: f }}]{hosts}"
        ),
    ] {
        let (found, _) = routed(&spec, Security::Everybody).unwrap();
        assert_eq!(found, json!(["b.example"]), "{spec}");
    }
    // Without a host that can be read, nothing says what is to be kept from others. Among owners, nobody takes a host at a
    // gateway that they do not name.
    assert_eq!(
        routed(&format!("{parent}  hostnames: [\"c_d.example\"]"), Security::Everybody),
        None
    );
    let astray = format!("  parentRefs: [{{ name: edgy, namespace: f }}]{hosts}");
    assert_eq!(routed(&astray, Security::Namespaces(&[])), None);
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

use proptest::prelude::*;
use tamis_sdk::view::packed;

use super::*;
use crate::config::{Kind, Match, PathMatchKind, RouteSettings};
use crate::pattern::WorkBudget;
use tamis_sdk::View;

/// One match as text, and its parts for the reference.
#[derive(Clone, Debug)]
struct Plain {
    hosts: Vec<String>,
    path: String,
    kind: PathMatchKind,
    method: bool,
    headers: usize,
    query: usize,
}

/// Paths, prefixes and expressions that overlap in many ways.
fn path() -> impl Strategy<Value = (PathMatchKind, &'static str)> {
    let plain = prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c"]);
    let expression = prop::sample::select(vec![
        "/a/.*",
        "/a/b",
        "/a?b?",
        "/(a|ab)/?.*",
        "/a|/ab",
        "/[ab]+",
        "(?i)/A.*",
        ".*/c",
        "/a/b/?c?",
        "",
    ]);
    prop_oneof![
        (prop::sample::select(vec![PathMatchKind::Exact, PathMatchKind::PathPrefix]), plain),
        (Just(PathMatchKind::RegularExpression), expression),
    ]
}

fn plain() -> impl Strategy<Value = Plain> {
    let host = prop::sample::select(vec!["a.x", "b.a.x", "*.x", "*.a.x", "A.x"]);
    (prop::collection::vec(host.prop_map(str::to_owned), 0..3), path(), any::<bool>())
        .prop_flat_map(|(hosts, (kind, path), method)| {
            (0..3_usize, 0..2_usize).prop_map(move |(headers, query)| Plain {
                hosts: hosts.clone(),
                path: path.to_owned(),
                kind,
                method,
                headers,
                query,
            })
        })
}

fn condition(plain: &Plain) -> RouteCondition {
    let value = |names: &[&str], count: usize| -> Vec<serde_json::Value> {
        names.iter().take(count).map(|n| serde_json::json!({"name": n, "value": "1"})).collect()
    };
    let mut json = serde_json::json!({
        "path": {"type": format!("{:?}", plain.kind), "value": plain.path},
        "headers": value(&["x-a", "X-B"], plain.headers),
        "queryParams": value(&["q"], plain.query),
    });
    if plain.method {
        json["method"] = "POST".into();
    }
    let wanted: Match = serde_json::from_value(json).unwrap();
    RouteCondition::new(Kind::Http, &wanted, "").unwrap()
}

/// The specification, implemented literally: everything that matches, then the comparisons in its order.
fn reference(
    all: &[Plain],
    host: &str,
    path: &str,
    post: bool,
    headers: usize,
    query: bool,
) -> Option<usize> {
    let host_rank = |plain: &Plain| -> Option<(usize, usize)> {
        if plain.hosts.is_empty() {
            return Some((0, 0));
        }
        let ranks = plain.hosts.iter().filter_map(|wanted| {
            let wanted = wanted.to_lowercase();
            match wanted.strip_prefix('*') {
                Some(suffix) => host.ends_with(suffix).then_some((0, suffix.len())),
                None => (wanted == host).then_some((wanted.len(), wanted.len())),
            }
        });
        ranks.max()
    };
    let path_rank = |plain: &Plain| -> Option<(u8, usize)> {
        match plain.kind {
            PathMatchKind::Exact => (plain.path == path).then_some((2, 0)),
            PathMatchKind::RegularExpression => {
                let expression = crate::pattern::Expression::new(&plain.path, "").unwrap();
                expression
                    .matches(path, &WorkBudget::default())
                    .unwrap()
                    .then_some((1, plain.path.len()))
            }
            PathMatchKind::PathPrefix => {
                let parts = |text: &str| -> Vec<String> {
                    text.split('/').skip(1).map(str::to_owned).collect()
                };
                let prefix: Vec<_> =
                    parts(&plain.path).into_iter().filter(|part| !part.is_empty()).collect();
                parts(path).starts_with(&prefix).then(|| (0, prefix.join("/").len()))
            }
        }
    };
    let mut best = None;
    for (index, plain) in all.iter().enumerate() {
        let fits =
            (!plain.method || post) && plain.headers <= headers && (plain.query == 0 || query);
        let (Some(host), Some(path), true) = (host_rank(plain), path_rank(plain), fits) else {
            continue;
        };
        let rank = (host, path, plain.method, plain.headers, plain.query);
        if best.as_ref().is_none_or(|(known, _)| rank > *known) {
            best = Some((rank, index));
        }
    }
    best.map(|(_, index)| index)
}

proptest! {
    #[test]
    fn precedence_is_that_of_the_gateway_api(
        all in prop::collection::vec(plain(), 0..16),
        host in prop::sample::select(vec!["a.x", "b.a.x", "c.b.a.x", "x", "other", "z.x"]),
        path in prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/ab", "/abc", "/a/b/c/d", "/a/b/c", "/b", "/a//b"]),
        post in any::<bool>(),
        headers in 0..3_usize,
        query in any::<bool>(),
    ) {
        let mut table = RouteTable::default();
        for (index, plain) in all.iter().enumerate() {
            table.insert(&plain.hosts, condition(plain), index);
        }
        table.finish();
        let reads = ["x-a".to_owned(), "x-b".to_owned()];
        let sent: Vec<(&str, &[u8])> =
            [("x-a", &b"1"[..]), ("x-b", b"1")].into_iter().take(headers).collect();
        let mut raw = packed(&reads, &sent);
        if post {
            raw.method = tamis_sdk::Method::Post;
        }
        let (query_text, view) = (if query { "q=1" } else { "" }, View::new(&raw, &reads));
        let asked = RoutedRequest { path, query: query_text, view, work: WorkBudget::default() };
        let found = table.find(&format!("{host}:8443"), &asked).unwrap().map(|found| found.rule);
        prop_assert_eq!(found, reference(&all, host, path, post, headers, query));
    }
}

fn found(routes: &str, authority: &str, path: &str) -> Option<usize> {
    let settings: RouteSettings = serde_json::from_str(routes).unwrap();
    let mut table = RouteTable::default();
    for (index, route) in settings.routes.iter().enumerate() {
        for wanted in route.rules.iter().flat_map(|rule| &rule.matches) {
            table.insert(
                &route.hostnames,
                RouteCondition::new(route.kind, wanted, "").unwrap(),
                index,
            );
        }
    }
    table.finish();
    let raw = packed(&[], &[]);
    let view = View::new(&raw, &[]);
    let asked = RoutedRequest { path, query: "", view, work: WorkBudget::default() };
    table.find(authority, &asked).unwrap().map(|found| found.rule)
}

#[test]
fn a_grpc_call_goes_by_service_then_method() {
    let routes = r#"{"routes":[
        {"name":"a","kind":"GRPCRoute","rules":[{"matches":[{"method":{"method":"Get"}}]}]},
        {"name":"b","kind":"GRPCRoute","rules":[{"matches":[{"method":{"service":"p.S"}}]}]},
        {"name":"c","kind":"GRPCRoute","rules":[{"matches":[{"method":{"service":"p.S","method":"Get"}}]}]},
        {"name":"d","kind":"GRPCRoute","rules":[{"matches":[{"method":{"type":"RegularExpression","service":"q\\..*"}}]}]},
        {"name":"e","kind":"GRPCRoute","rules":[{"matches":[{}]}]}]}"#;
    for (path, route) in
        [("/p.S/Get", 2), ("/p.S/Put", 1), ("/r.T/Get", 0), ("/q.T/Get", 3), ("/r.T/Put", 4)]
    {
        assert_eq!(found(routes, "h", path), Some(route), "{path}");
    }
}

#[test]
fn an_expression_stands_between_equal_paths_and_prefixes() {
    let routes = r#"{"routes":[
        {"name":"a","rules":[{"matches":[{"path":{"value":"/a/b"}}]}]},
        {"name":"b","rules":[{"matches":[{"path":{"type":"RegularExpression","value":"/a/.*"}}]}]},
        {"name":"c","rules":[{"matches":[{"path":{"type":"Exact","value":"/a/c"}}]}]}]}"#;
    assert_eq!(found(routes, "h", "/a/b"), Some(1));
    assert_eq!(found(routes, "h", "/a/c"), Some(2));
    assert_eq!(found(routes, "h", "/b/a/b"), None);
}

/// A table of 10,000 rules evaluates as few conditions for a request as a table of 10.
#[test]
fn what_a_path_does_not_reach_is_not_tried() {
    let mut rules = String::new();
    for n in 0..2_500 {
        rules += &format!(
            r#"{{"matches":[{{"path":{{"type":"Exact","value":"/e/{n}"}}}},
                {{"path":{{"value":"/p/{n}"}}}},
                {{"path":{{"type":"RegularExpression","value":"/r/{n}/[0-9]+"}}}},
                {{"path":{{"type":"RegularExpression","value":"/s/[a-z]+/{n}"}}}}]}},"#
        );
    }
    let rules = rules.trim_end_matches(',');
    let settings: RouteSettings =
        serde_json::from_str(&format!(r#"{{"routes":[{{"name":"a","rules":[{rules}]}}]}}"#))
            .unwrap();
    let mut table = RouteTable::default();
    for (rule, one) in settings.routes[0].rules.iter().enumerate() {
        for wanted in &one.matches {
            table.insert(&[], RouteCondition::new(Kind::Http, wanted, "").unwrap(), rule);
        }
    }
    table.finish();
    let tried = |path: &str| {
        let ways = table.any_host.ways(path);
        let suffixes = ways.patterns.iter().map(|at| &table.any_host.patterns[*at].suffix);
        let fitting = suffixes.filter(|suffix| path.ends_with(suffix.as_str())).count();
        (ways.exact.len(), fitting, ways.longest.len(), ways.shorter.len())
    };
    assert_eq!(tried("/e/2499"), (1, 0, 0, 0));
    assert_eq!(tried("/p/77/x"), (0, 0, 1, 0));
    assert_eq!(tried("/r/2499/5"), (0, 1, 0, 0));
    assert_eq!(tried("/s/abc/2417"), (0, 1, 0, 0));
    assert_eq!(tried("/other"), (0, 0, 0, 0));
}

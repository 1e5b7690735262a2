use proptest::prelude::*;
use tamis_sdk::view::packed;

use super::*;
use crate::config::{Kind, Match, Settings};
use tamis_sdk::View;

/// One match as text, and its parts for the reference.
#[derive(Clone, Debug)]
struct Plain {
    hosts: Vec<String>,
    path: String,
    exact: bool,
    method: bool,
    headers: usize,
    query: usize,
}

fn plain() -> impl Strategy<Value = Plain> {
    let host = prop::sample::select(vec!["a.x", "b.a.x", "*.x", "*.a.x", "A.x"]);
    let path = prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c"]);
    (prop::collection::vec(host.prop_map(str::to_owned), 0..3), path, any::<bool>(), any::<bool>())
        .prop_flat_map(|(hosts, path, exact, method)| {
            (0..3_usize, 0..2_usize).prop_map(move |(headers, query)| Plain {
                hosts: hosts.clone(),
                path: path.to_owned(),
                exact,
                method,
                headers,
                query,
            })
        })
}

fn condition(plain: &Plain) -> Condition {
    let value = |names: &[&str], count: usize| -> Vec<serde_json::Value> {
        names.iter().take(count).map(|n| serde_json::json!({"name": n, "value": "1"})).collect()
    };
    let mut json = serde_json::json!({
        "path": {"type": if plain.exact { "Exact" } else { "PathPrefix" }, "value": plain.path},
        "headers": value(&["x-a", "X-B"], plain.headers),
        "queryParams": value(&["q"], plain.query),
    });
    if plain.method {
        json["method"] = "POST".into();
    }
    let wanted: Match = serde_json::from_value(json).unwrap();
    Condition::new(Kind::Http, &wanted, "").unwrap()
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
    let path_rank = |plain: &Plain| -> Option<(bool, usize)> {
        if plain.exact {
            return (plain.path == path).then_some((true, 0));
        }
        let prefix: Vec<&str> = plain.path.split('/').filter(|part| !part.is_empty()).collect();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        parts.starts_with(&prefix).then(|| (false, prefix.join("/").len()))
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
        all in prop::collection::vec(plain(), 0..12),
        host in prop::sample::select(vec!["a.x", "b.a.x", "c.b.a.x", "x", "other", "z.x"]),
        path in prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/ab", "/abc", "/a/b/c/d", "/a//b"]),
        post in any::<bool>(),
        headers in 0..3_usize,
        query in any::<bool>(),
    ) {
        let mut table = Table::default();
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
        let asked =
            Asked { path, query: if query { "q=1" } else { "" }, view: View::new(&raw, &reads) };
        let found = table.find(&format!("{host}:8443"), &asked).map(|found| found.rule);
        prop_assert_eq!(found, reference(&all, host, path, post, headers, query));
    }
}

fn found(routes: &str, authority: &str, path: &str) -> Option<usize> {
    let settings: Settings = serde_json::from_str(routes).unwrap();
    let mut table = Table::default();
    for (index, route) in settings.routes.iter().enumerate() {
        for wanted in route.rules.iter().flat_map(|rule| &rule.matches) {
            table.insert(&route.hostnames, Condition::new(route.kind, wanted, "").unwrap(), index);
        }
    }
    table.finish();
    let raw = packed(&[], &[]);
    let asked = Asked { path, query: "", view: View::new(&raw, &[]) };
    table.find(authority, &asked).map(|found| found.rule)
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

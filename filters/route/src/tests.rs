use tamis_sdk::Config;
use tamis_sdk::view::packed;

use super::*;

fn compile(text: &str) -> Result<(RoutePolicy, Interest), Vec<ConfigError>> {
    RoutePolicy::compile(&Config::parse(text)?)
}

#[test]
fn only_what_the_routes_look_at_is_read() {
    let (_, interest) =
        compile(r#"{"routes":[{"name":"a/b","rules":[{"backendRefs":[{"service":"a/b:80"}]}]}]}"#)
            .unwrap();
    assert!(interest.reads.is_empty() && interest.writes.is_empty());
    let (_, interest) = compile(
        r#"{"routes":[{"name":"a/b","hostnames":["h"],"rules":[{"matches":[
            {"headers":[{"name":"X-A","value":"1"}],"method":"PURGE","path":{"value":"/a"}}],
            "filters":[{"type":"URLRewrite","urlRewrite":{"path":{"type":"ReplaceFullPath","replaceFullPath":"/"}}}],
            "backendRefs":[{"service":"a/b:80"}]}]}]}"#,
    )
    .unwrap();
    assert_eq!(interest.reads, [":authority", ":path", "x-a", ":method"]);
    assert_eq!(interest.writes, [":path"]);
}

#[test]
fn a_request_walks_from_view_to_choice() {
    let (mut policy, interest) = compile(
        r#"{"routes":[{"name":"shop/pay","hostnames":["*.shop"],"rules":[
            {"name":"api","matches":[{"path":{"value":"/api"}}],"filters":[{"type":"URLRewrite",
             "urlRewrite":{"path":{"type":"ReplacePrefixMatch","replacePrefixMatch":"/"}}}],
             "backendRefs":[{"service":"shop/api:80"}]},
            {"backendRefs":[{"service":"shop/web:80"}]}]}]}"#,
    )
    .unwrap();
    assert_eq!(policy.rules(), ["shop/pay/api", "shop/pay/1"]);
    assert_eq!(policy.backends(), ["shop/api:80", "shop/web:80"]);
    let mut ask = |authority: &str, path: &str| {
        let fields = [(":authority", authority.as_bytes()), (":path", path.as_bytes())];
        let raw = packed(&interest.reads, &fields);
        policy.on_route(View::new(&raw, &interest.reads))
    };
    let router::Choice::Forward(api) = ask("eu.shop:443", "/api/x?y=1") else { panic!() };
    assert_eq!((api.rule, api.backend), (0, 0));
    assert_eq!(api.request_edits, [tamis_sdk::Edit::path("/x?y=1")]);
    let router::Choice::Forward(web) = ask("eu.shop", "/apis") else { panic!() };
    assert_eq!((web.rule, web.backend), (1, 1));
    assert_eq!(ask("shop", "/"), router::Choice::Unmatched);
}

#[test]
fn all_errors_come_at_once_with_their_places() {
    let errors = compile(
        r#"{"routes":[{"name":"a","hostnames":["*"],"rules":[{"matches":[{"path":{"value":"x"}},
            {"method":{"service":"s"}},{"headers":[{"type":"RegularExpression","name":"a","value":"("}]}]}]}]}"#,
    )
    .unwrap_err();
    let places: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(
        places,
        [
            "/routes/0/hostnames/0",
            "/routes/0/rules/0/matches/0/path/value",
            "/routes/0/rules/0/matches/1/method",
            "/routes/0/rules/0/matches/2/headers/0/value",
        ]
    );
    let errors = compile(r#"{"routes":[{"name":"a","rules":[{"retries":1}]}]}"#).unwrap_err();
    assert_eq!(errors[0].pointer, "/routes/0/rules/0/retries");
}

#[test]
fn a_value_too_long_for_an_expression_is_refused_where_the_rule_may_match_and_nowhere_else() {
    let (mut policy, interest) = compile(
        r#"{"routes":[
            {"name":"t/costly","hostnames":["costly"],"rules":[
                {"matches":[{"path":{"value":"/h"},"headers":[{"type":"RegularExpression","name":"x-a","value":".*a[ab]{200}c?"}]}]},
                {"matches":[{"path":{"value":"/q"},"queryParams":[{"type":"RegularExpression","name":"q","value":"(a*)*"}]}]},
                {"matches":[{"path":{"type":"RegularExpression","value":"/p/(a*)*b?"}}]},
                {"matches":[{"method":"PUT","path":{"value":"/put"},"headers":[{"type":"RegularExpression","name":"x-a","value":"(a*)*"}]}]},
                {"matches":[{"path":{"value":"/two"},"headers":[{"type":"RegularExpression","name":"x-a","value":"(a*)*"},
                    {"name":"x-b","value":"1"}]}]},
                {}]},
            {"name":"t/other","hostnames":["other"],"rules":[{}]}]}"#,
    )
    .unwrap();
    let long = "a".repeat(60_000);
    let mut ask = |host: &str, path: &str, value: &str| {
        let fields = [
            (":authority", host.as_bytes()),
            (":path", path.as_bytes()),
            ("x-a", value.as_bytes()),
        ];
        let raw = packed(&interest.reads, &fields);
        policy.on_route(View::new(&raw, &interest.reads))
    };
    let status = |choice: router::Choice| match choice {
        router::Choice::Answer(reply) => reply.status,
        other => panic!("{other:?}"),
    };
    let (query, path) = (format!("/q?q={long}"), format!("/p/{long}"));
    for (host, path, value, wanted) in [
        ("costly", "/h", &*long, 431),
        ("costly", "/h/x", &long, 431),
        ("costly", &*query, "", 414),
        ("costly", &path, "", 414),
        // The rules without backends answer 500: they were reached.
        ("costly", "/h", &long[..201], 500),
        ("costly", "/elsewhere", &long, 500),
        ("costly", "/put", &long, 500),
        ("costly", "/two", &long, 500),
        ("costly", "/q?q=1", &long, 500),
        ("other", "/h", &long, 500),
        ("other", &path, &long, 500),
    ] {
        assert_eq!(
            status(ask(host, path, value)),
            wanted,
            "{host} {}",
            &path[..path.len().min(20)]
        );
    }
}

#[test]
fn the_schema_is_json() {
    let schema: serde_json::Value = serde_json::from_str(RoutePolicy::SCHEMA).unwrap();
    assert_eq!(schema["additionalProperties"], false);
}

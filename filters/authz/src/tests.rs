//! Compilation, decisions, and their equality with what Cedar says directly.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::str::FromStr as _;
use tamis_sdk::{Config, view::packed};

use super::*;

fn authz(config: &Value) -> Authz {
    Authz::configure(Config::parse(&config.to_string()).unwrap()).unwrap().0
}

fn with(policies: &Value) -> Value {
    json!({ "policies": policies, "guarded": { "kind": "Service", "name": "shop/pay" }, "ports": { "inbound": 80 } })
}

fn ask(policy: &mut Authz, fields: &[(&str, &str)]) -> (bool, String, Option<String>) {
    let reads = policy.interest().reads;
    let fields: Vec<(&str, &[u8])> =
        fields.iter().map(|(name, it)| (*name, it.as_bytes())).collect();
    let raw = packed(&reads, &fields);
    let decided = policy.decide(View::new(&raw, &reads));
    (decided.ruling.passes, decided.ruling.reason.clone(), decided.line)
}

const STORE: &str = "spiffe://shop.example/ns/shop/service/storefront";

#[test]
fn rules_become_this_cedar() {
    let policy = authz(&with(&json!([{
        "name": "shop/pay",
        "allow": [
            { "identities": [STORE, "spiffe://shop.example/ns/ops/*"], "methods": ["GET", "POST"],
              "paths": [{ "type": "PathPrefix", "value": "/pay" }, { "type": "Exact", "value": "/a*\"" },
                        { "type": "Template", "value": "/users/{id}" }],
              "ports": [80], "addresses": ["10.0.0.0/8", "unix"],
              "headers": [{ "name": "x-a", "values": ["1"] }], "claims": [{ "name": "roles", "values": ["ä"] }] },
            { "name": "any", "identities": ["*"] },
        ],
        "deny": [{ "headers": [{ "name": "x-a", "values": ["2"] }] }, {}],
    }])));
    let expected = r#"permit (principal, action == Action::"request", resource)
when {
  (principal is Identity && (principal.id == "spiffe://shop.example/ns/shop/service/storefront" || principal.id like "spiffe://shop.example/ns/ops/*")) &&
  ((context has address && context.address.isInRange(ip("10.0.0.0/8"))) || context.unix) &&
  ["GET", "POST"].contains(context.method) &&
  (context.path == "/pay" || context.path like "/pay/*" || context.path == "/a*\"" || context.templates.contains("/users/{id}")) &&
  (context has port && [80].contains(context.port)) &&
  (context.headers has "x-a" && (["1"].containsAll(context.headers["x-a"]) || ["1"].containsAll(context.members["x-a"]))) &&
  (context.claims has "roles" && ["\u{e4}"].containsAny(context.claims["roles"]))
};"#;
    let text = policy.judge().text();
    let first = text.split_inclusive("};").next().unwrap();
    assert_eq!(first, expected);
    assert!(text.contains("when {\n  principal is Identity\n};"), "{text}");
    assert!(text.contains("[\"2\"].containsAny(context.members[\"x-a\"])"), "{text}");
    assert!(
        text.trim_end().ends_with("forbid (principal, action == Action::\"request\", resource);"),
        "{text}"
    );
}

#[test]
fn what_no_rule_allows_is_refused_with_the_line_to_add() {
    let mut policy = authz(&with(&json!([])));
    let (passes, reason, line) =
        ask(&mut policy, &[("@peer.spiffe-id", STORE), (":path", "/pay/\"7\"?card=secret")]);
    assert_eq!((passes, reason.as_str()), (false, "authz.no-rule"));
    let line = line.unwrap();
    assert!(line.contains(&format!(
        "- {{ identities: [\"{STORE}\"], methods: [\"GET\"], paths: [{{ type: Exact, value: \"/pay/\\\"7\\\"\" }}] }}"
    )), "{line}");
    assert!(line.contains("Service shop/pay") && !line.contains("secret"), "{line}");
}

#[test]
fn rules_decide_as_their_words_say() {
    let mut policy = authz(&with(&json!([{
        "name": "shop/pay",
        "allow": [
            { "identities": [STORE], "paths": [{ "type": "PathPrefix", "value": "/pay" }] },
            { "name": "users", "paths": [{ "type": "Template", "value": "/users/{id}/orders" }],
              "headers": [{ "name": "x-a", "values": ["1", "2"] }] },
            { "name": "admins", "paths": [{ "type": "Exact", "value": "/admin" }], "claims": [{ "name": "roles", "values": ["admin"] }] },
            { "name": "near", "paths": [{ "type": "Exact", "value": "/near" }], "addresses": ["10.0.0.0/8"], "ports": [80] },
        ],
        "deny": [{ "name": "blocked", "headers": [{ "name": "x-a", "values": ["3"] }] }],
    }])));
    let id = ("@peer.spiffe-id", STORE);
    let near = ("@source.address", "10.1.1.1");
    let inbound = ("@listener.name", "inbound");
    for (fields, expected) in [
        (vec![id, (":path", "/pay")], "authz.allowed.shop.pay.allow.0"),
        (vec![id, (":path", "/pay/x?y=/z")], "authz.allowed.shop.pay.allow.0"),
        (vec![id, (":path", "/payments")], "authz.no-rule"),
        (vec![("x-peer.spiffe-id", STORE), (":path", "/pay")], "authz.no-rule"),
        (
            vec![
                ("@peer.spiffe-id", "spiffe://shop.example/ns/shop/service/storefront2"),
                (":path", "/pay"),
            ],
            "authz.no-rule",
        ),
        (vec![(":path", "/users/7/orders"), ("x-a", "1")], "authz.allowed.shop.pay.allow.users"),
        (
            vec![(":path", "/users/7/orders"), ("x-a", "1"), ("x-a", "2")],
            "authz.allowed.shop.pay.allow.users",
        ),
        (vec![(":path", "/users/7/orders"), ("x-a", "1"), ("x-a", "9")], "authz.no-rule"),
        (
            vec![(":path", "/users/7/orders"), ("x-a", "1"), ("x-a", "3")],
            "authz.denied.shop.pay.deny.blocked",
        ),
        (vec![(":path", "/users//orders"), ("x-a", "1")], "authz.no-rule"),
        (vec![(":path", "/users/7/8/orders"), ("x-a", "1")], "authz.no-rule"),
        (
            vec![(":path", "/admin"), ("@jwt.claims", r#"{"roles":["user","admin"]}"#)],
            "authz.allowed.shop.pay.allow.admins",
        ),
        (vec![(":path", "/admin"), ("@jwt.claims", r#"{"roles":"user admin"}"#)], "authz.no-rule"),
        (vec![(":path", "/admin"), ("jwt.claims", r#"{"roles":["admin"]}"#)], "authz.no-rule"),
        (vec![(":path", "/near"), near, inbound], "authz.allowed.shop.pay.allow.near"),
        (
            vec![(":path", "/near"), ("@source.address", "::ffff:10.1.1.1"), inbound],
            "authz.allowed.shop.pay.allow.near",
        ),
        (vec![(":path", "/near"), near], "authz.no-rule"),
        (vec![(":path", "/near"), ("@source.address", "11.1.1.1"), inbound], "authz.no-rule"),
        (vec![], "authz.no-rule"),
    ] {
        // Once fresh and once remembered.
        for _ in 0..2 {
            let (passes, reason, _) = ask(&mut policy, &fields);
            assert_eq!(
                (passes, reason.as_str()),
                (expected.starts_with("authz.allowed"), expected),
                "{fields:?}"
            );
        }
    }
}

#[test]
fn a_list_is_read_as_a_list_on_one_line_and_on_several() {
    let policies = |allow: &[&str], deny: &[&str]| {
        let mut rule = json!([{ "name": "shop/pay", "allow": [{}] }]);
        if !allow.is_empty() {
            rule[0]["allow"][0]["headers"] = json!([{ "name": "x-a", "values": allow }]);
        }
        if !deny.is_empty() {
            rule[0]["deny"] = json!([{ "headers": [{ "name": "x-a", "values": deny }] }]);
        }
        authz(&with(&rule))
    };
    let denied: &[&[&str]] = &[
        &["bad"],
        &["bad, ok"],
        &["ok, bad"],
        &["ok,bad,ok"],
        &["ok ,\tbad\t, ok"],
        &["ok", "bad"],
        &["bad", "ok"],
        &["ok", "ok, bad"],
        &["", "bad"],
        &[",bad,"],
        &["worse"],
    ];
    let fine: &[&[&str]] =
        &[&[], &["ok"], &["badly"], &["ok, not bad"], &["ok", "BAD"], &["bad;q=1"]];
    let mut deny = policies(&[], &["bad", "worse"]);
    for (lines, passes) in
        denied.iter().map(|it| (it, false)).chain(fine.iter().map(|it| (it, true)))
    {
        let fields: Vec<_> = lines.iter().map(|line| ("x-a", *line)).collect();
        for _ in 0..2 {
            assert_eq!(ask(&mut deny, &fields).0, passes, "{lines:?}");
        }
    }
    // A value with commas: the whole of it, in whatever form.
    let mut deny = policies(&[], &["a, b"]);
    for (lines, passes) in [
        (&["a, b"][..], false),
        (&["a,b"], false),
        (&["a", "b"], false),
        (&["a,x", "b"], false),
        (&["a"], true),
        (&["b"], true),
    ] {
        let fields: Vec<_> = lines.iter().map(|line| ("x-a", *line)).collect();
        assert_eq!(ask(&mut deny, &fields).0, passes, "{lines:?}");
    }
    let mut allow = policies(&["1", "2", "a, b"], &[]);
    for (lines, passes) in [
        (&["1"][..], true),
        (&["1", "2"], true),
        (&["1, 2"], true),
        (&["2,1 , 2"], true),
        (&["a, b"], true),
        (&["a, b", "1"], true),
        (&["1, 9"], false),
        (&["1", "9"], false),
        (&["1", "2, 9"], false),
        (&["1,"], false),
        (&["a"], false),
        (&["a, b, 1"], false),
        (&[""], false),
        (&[], false),
    ] {
        let fields: Vec<_> = lines.iter().map(|line| ("x-a", *line)).collect();
        assert_eq!(ask(&mut allow, &fields).0, passes, "{lines:?}");
    }
}

#[test]
fn a_member_is_found_in_every_reading_that_a_server_may_have_of_the_line() {
    let rules = |name: &str, values: &[&str]| {
        json!([{ "name": "shop/pay", "allow": [{}],
            "deny": [{ "headers": [{ "name": name, "values": values }] }] }])
    };
    let mut list = authz(&with(&rules("x-a", &["bad", "b, c"])));
    let mut cookie = authz(&with(&rules("cookie", &["bad=1", "a=2; b=2"])));
    let mut token = authz(&with(&rules("authorization", &["Bearer bad"])));
    for (name, lines, passes) in [
        ("x-a", &[&br#""bad""#[..]][..], false),
        ("x-a", &[br#""x, bad""#], false),
        ("x-a", &[br#""x,bad,y""#], false),
        ("x-a", &[br#"x, "bad", y"#], false),
        ("x-a", &[br#""b\ad""#], false),
        ("x-a", &[br#"b"ad"#], false),
        ("x-a", &[br#" "bad "#], false),
        ("x-a", &[b"x", br#""bad""#], false),
        ("x-a", &[b"bad\xa0"], false),
        ("x-a", &[b"\x85bad, x"], false),
        ("x-a", &[br#""b, c""#], false),
        ("x-a", &[br#""x, y""#], true),
        ("x-a", &[br#""not bad""#], true),
        ("x-a", &[br#"""#], true),
        ("x-a", &[br#""\"#], true),
        ("x-a", &[b"b; bad"], true),
        ("cookie", &[b"bad=1"], false),
        ("cookie", &[b"a=1; bad=1"], false),
        ("cookie", &[b"a=1;bad=1 ;c=3"], false),
        ("cookie", &[b"a=1", b"bad=1"], false),
        ("cookie", &[b"b=2; x=1; a=2"], false),
        // Some servers end a cookie at a comma, and read escapes in it.
        ("cookie", &[b"bad=1,2"], false),
        ("cookie", &[b"x=1, bad=1"], false),
        ("cookie", &[b"bad =1"], false),
        ("cookie", &[b"bad= 1; c=3"], false),
        ("cookie", &[b"c=3", b"bad\t=1"], false),
        ("cookie", &[br#"bad="\061""#], false),
        ("cookie", &[b"bad=%31"], false),
        ("cookie", &[br#"c="x; y"; bad="%31""#], false),
        ("cookie", &[b"c=%3Bbad=1"], true),
        ("cookie", &[b"bad=%32"], true),
        ("authorization", &[b"Bearer bad"], false),
        ("authorization", &[b"bearer bad"], false),
        ("authorization", &[b"BEARER  bad"], false),
        ("authorization", &[b"Bearer\tbad"], false),
        ("authorization", &[b"Bearer good", b"bearer bad"], false),
        ("authorization", &[b"Bearer BAD"], true),
        ("authorization", &[b"Bearer bad2"], true),
        ("cookie", &[b"a=2; b=3"], true),
        ("cookie", &[b"notbad=1"], true),
    ] {
        let policy = match name {
            "cookie" => &mut cookie,
            "authorization" => &mut token,
            _ => &mut list,
        };
        let reads = policy.interest().reads;
        let fields: Vec<(&str, &[u8])> = lines.iter().map(|line| (name, *line)).collect();
        let raw = packed(&reads, &fields);
        let ruled = policy.decide(View::new(&raw, &reads)).ruling.passes;
        let shown: Vec<_> = lines.iter().map(|line| line.escape_ascii().to_string()).collect();
        assert_eq!(ruled, passes, "{name}: {shown:?}");
    }
    // Quotes let nothing through that is not allowed as it stands.
    let allow = json!([{ "name": "shop/pay", "allow": [{ "headers": [{ "name": "x-a", "values": ["ok"] }] }] }]);
    let mut allow = authz(&with(&allow));
    for (line, passes) in
        [("ok", true), (r#""ok""#, false), (r#"ok, "ok""#, false), (r#""ok, x""#, false)]
    {
        assert_eq!(ask(&mut allow, &[("x-a", line)]).0, passes, "{line}");
    }
    // What is allowed is allowed as it stands.
    for (name, value) in [("authorization", "Bearer ok"), ("cookie", "a=%31"), ("cookie", "a=1")] {
        let allow = json!([{ "name": "shop/pay", "allow": [{ "headers": [{ "name": name, "values": [value] }] }] }]);
        let mut allow = authz(&with(&allow));
        assert!(ask(&mut allow, &[(name, value)]).0, "{value}");
        assert!(!ask(&mut allow, &[(name, "other")]).0, "{value}");
    }
}

#[test]
fn a_list_hides_nothing_behind_octets_or_in_its_length() {
    let rules = json!([{ "name": "shop/pay", "allow": [{}],
        "deny": [{ "headers": [{ "name": "x-a", "values": ["bad"] }] }] }]);
    let mut policy = authz(&with(&rules));
    let reads = policy.interest().reads;
    let mut passes = |value: &[u8]| {
        let raw = packed(&reads, &[("x-a", value)]);
        policy.decide(View::new(&raw, &reads)).ruling.passes
    };
    assert!(!passes(b"\xff, bad") && !passes(b"bad, \xff") && passes(b"\xff, ok"));
    let many = |count: usize, last: &str| [vec!["ok"; count].join(","), last.to_owned()].join(",");
    assert!(passes(many(255, "ok").as_bytes()) && !passes(many(255, "bad").as_bytes()));
    assert!(!passes(many(256, "ok").as_bytes()), "what is not looked at whole is refused");
    assert!(!passes(many(30_000, "bad").as_bytes()));
}

#[test]
fn cedar_sees_the_members_of_a_list_beside_its_lines() {
    let text = r#"permit (principal, action, resource);
        forbid (principal, action, resource) when { context.members has "x-a" && context.members["x-a"].contains("bad") };"#;
    let cedar = json!([{ "name": "a/c", "cedar": { "policies": text, "headers": ["x-a"] } }]);
    let mut policy = authz(&with(&cedar));
    for (value, passes) in [("ok", true), ("bad", false), ("ok, bad", false), ("ok, good", true)] {
        assert_eq!(ask(&mut policy, &[("x-a", value)]).0, passes, "{value}");
    }
}

#[test]
fn audit_passes_and_reports_exactly_what_enforcement_would_refuse() {
    let rules = |mode: &str| {
        json!([
            { "name": "shop/a", "mode": mode, "allow": [{ "identities": [STORE] }] },
            { "name": "shop/b", "mode": mode, "deny": [{ "methods": ["GET"], "paths": [{ "type": "PathPrefix", "value": "/x" }] }] },
        ])
    };
    let mut enforced = authz(&with(&rules("enforce")));
    let mut audited = authz(&with(&rules("audit")));
    let mut attached = with(&rules("enforce"));
    attached["config"] = json!({ "mode": "audit" });
    let mut attached = authz(&attached);
    for fields in [
        vec![],
        vec![("@peer.spiffe-id", STORE)],
        vec![("@peer.spiffe-id", STORE), (":path", "/x")],
    ] {
        let (passes, reason, _) = ask(&mut enforced, &fields);
        for audit in [&mut audited, &mut attached] {
            let (always, report, line) = ask(audit, &fields);
            assert!(always);
            assert_eq!(
                report,
                if passes { reason.clone() } else { reason.replace("authz.", "authz.audit.") }
            );
            assert_eq!(line.is_some(), !passes);
        }
    }
    // Beside an enforced policy, a policy in audit mode refuses nothing and opens nothing.
    let mut both = rules("enforce");
    both[1]["mode"] = json!("audit");
    let mut both = authz(&with(&both));
    assert_eq!(ask(&mut both, &[]).1, "authz.no-rule");
    let (passes, reason, _) = ask(&mut both, &[("@peer.spiffe-id", STORE), (":path", "/x")]);
    assert_eq!((passes, reason.as_str()), (true, "authz.audit.denied.shop.b.deny.0"));
}

#[test]
fn cedar_is_validated_and_a_policy_that_fails_refuses() {
    for (text, part) in [
        ("permit (principal, action, resource", "end of input"),
        ("permit (principal, action, resource) when { context.nothing == 1 };", "nothing"),
        ("permit (principal == ?principal, action, resource);", "template"),
        ("permit (principal, action, resource) when { context.port == 80 };", "port"),
    ] {
        let config =
            with(&json!([{ "name": "a/b" }, { "name": "a/c", "cedar": { "policies": text } }]));
        let errors = Authz::configure(Config::parse(&config.to_string()).unwrap()).unwrap_err();
        assert_eq!(errors[0].pointer, "/policies/1/cedar/policies", "{errors:?}");
        assert!(errors[0].message.to_lowercase().contains(part), "{errors:?}");
    }
    let text = r#"@id("big") permit (principal, action, resource) when { principal is Identity && principal.domain == "shop.example" };
        forbid (principal, action, resource) when { context has port && context.port * 9223372036854775807 > 0 };"#;
    let mut policy = authz(&with(&json!([{ "name": "a/c", "cedar": { "policies": text } }])));
    let id = ("@peer.spiffe-id", STORE);
    assert_eq!(ask(&mut policy, &[id]).1, "authz.allowed.a.c.cedar.big");
    assert_eq!(ask(&mut policy, &[id, ("@listener.name", "inbound")]).1, "authz.fault");
}

#[test]
fn a_list_without_entries_is_no_condition_and_is_refused_at_its_place() {
    let lists = ["identities", "addresses", "methods", "paths", "ports", "headers", "claims"];
    let rule = |list: &str, value: Value| json!({ list: value });
    let mut rows: Vec<(String, Value)> = Vec::new();
    for list in lists {
        rows.push((format!("/{list}"), rule(list, json!([]))));
        rows.push((format!("/{list}"), rule(list, json!(null))));
    }
    for list in ["headers", "claims"] {
        for values in [json!([]), json!(null)] {
            let value = json!([{ "name": "a", "values": values }]);
            rows.push((format!("/{list}/0/values"), rule(list, value)));
        }
    }
    for (place, rule) in &rows {
        for side in ["allow", "deny"] {
            let config = with(&json!([{ "name": "a/b" }, { "name": "a/c", side: [{}, rule] }]));
            let errors = Config::parse::<AuthzSettings>(&config.to_string()).unwrap_err();
            assert_eq!(errors[0].pointer, format!("/policies/1/{side}/1{place}"), "{errors:?}");
            let null = rule.to_string().contains("null");
            assert!(null || errors[0].message.contains("remove it"), "{errors:?}");
        }
    }
    // Nor does a scope without routes become one of all routes.
    let config = with(&json!([{ "name": "a/b", "scope": [], "deny": [{}] }]));
    assert!(Authz::configure(Config::parse(&config.to_string()).unwrap()).is_err());
}

#[test]
fn memory_is_bounded_and_does_not_grow_with_paths() {
    let mut policy = authz(&with(
        &json!([{ "name": "a/b", "allow": [{ "paths": [{ "type": "PathPrefix", "value": "/a" }] }] }]),
    ));
    for n in 0..1000 {
        let path = format!("/a/{n}");
        assert!(ask(&mut policy, &[(":path", &path)]).0);
    }
    assert_eq!(policy.memory.len(), 1);
    let mut config = with(
        &json!([{ "name": "a/b", "cedar": { "policies": "permit (principal, action, resource);" } }]),
    );
    config["config"] = json!({ "remember": 16 });
    let mut free = authz(&config);
    for n in 0..1000 {
        let path = format!("/a/{n}");
        assert!(ask(&mut free, &[(":path", &path)]).0);
    }
    assert!(free.memory.len() <= 16);
}

#[test]
fn cedar_that_looks_at_the_route_is_shown_it_and_its_decisions_are_not_mixed() {
    let cedar = |text: &str| {
        let text = format!(
            "permit (principal, action, resource); forbid (principal, action, resource) when {{ {text} }};"
        );
        authz(&with(&json!([{ "name": "a/b", "cedar": { "policies": text } }])))
    };
    for text in [
        "context has route && context.route == \"shop/open/0\"",
        "context has \"\\u{72}oute\" && context[\"route\"] == \"shop/open/0\"",
    ] {
        let mut policy = cedar(text);
        assert!(policy.interest().reads.iter().any(|one| one == ROUTE), "{text}");
        for (route, passes) in
            [("shop/open/0", false), ("shop/other/0", true), ("shop/open/0", false), ("", true)]
        {
            let fields = [(":method", "GET"), (":path", "/a"), (ROUTE, route)];
            let fields = if route.is_empty() { &fields[..2] } else { &fields[..] };
            assert_eq!(ask(&mut policy, fields).0, passes, "{text} {route}");
        }
    }
    let policy = cedar("context.path == \"/a\"");
    assert!(policy.interest().reads.iter().all(|one| one != ROUTE));
}

/// Random rules over a small vocabulary, so that rules and requests meet.
fn rule() -> impl Strategy<Value = Value> {
    use prop::sample::subsequence;
    let texts = |all: &'static [&'static str]| subsequence(all.to_vec(), 0..=2);
    let paths = [
        json!({"type":"Exact","value":"/a"}),
        json!({"type":"PathPrefix","value":"/a"}),
        json!({"type":"PathPrefix","value":"/"}),
        json!({"type":"Template","value":"/a/{x}"}),
        json!({"type":"Exact","value":"/a*"}),
        json!({"type":"PathPrefix","value":"/a/b/"}),
    ];
    let values = |name: &'static str| {
        subsequence(vec!["1", "2", "3", "1, 2", "2,4"], 1..=2)
            .prop_map(move |values| json!([{ "name": name, "values": values }]))
    };
    (
        texts(&["*", "spiffe://a.b/c", "spiffe://a.b/*", "spiffe://a.b/c/*", "spiffe://a.b/c/d"]),
        texts(&["10.0.0.0/8", "10.1.0.1", "::1", "unix", "2001:db8::/32", "0.0.0.0/0"]),
        texts(&["GET", "POST"]),
        subsequence(paths.to_vec(), 0..=2),
        subsequence(vec![80, 81], 0..=1),
        prop_oneof![3 => Just(json!([])), 1 => values("x-a"), 1 => values("x-b")],
        prop_oneof![3 => Just(json!([])), 1 => values("roles"), 1 => values("scope")],
    )
        .prop_map(|(identities, addresses, methods, paths, ports, headers, claims)| {
            let all = json!({ "identities": identities, "addresses": addresses, "methods": methods, "paths": paths,
                              "ports": ports, "headers": headers, "claims": claims });
            let Value::Object(all) = all else { unreachable!() };
            // A list without entries is refused: a rule without a condition has no such list.
            all.into_iter().filter(|(_, list)| list != &json!([])).collect::<Value>()
        })
}

fn policies() -> impl Strategy<Value = Value> {
    let rules = || prop::collection::vec(rule(), 0..3);
    let one = (rules(), rules(), prop::bool::weighted(0.2));
    prop::collection::vec(one, 0..4).prop_map(|all| {
        let one = |(at, (allow, deny, audit)): (usize, (Vec<Value>, Vec<Value>, bool))| {
            let mode = if audit { "audit" } else { "enforce" };
            json!({ "name": format!("shop/p{at}"), "mode": mode, "allow": allow, "deny": deny })
        };
        Value::Array(all.into_iter().enumerate().map(one).collect())
    })
}

type Fields = Vec<(&'static str, &'static str)>;

fn request() -> impl Strategy<Value = Fields> {
    use prop::sample::select;
    let maybe = |name: &'static str, all: &'static [&'static str]| {
        prop::option::weighted(0.8, select(all)).prop_map(move |it| it.map(|it| (name, it)))
    };
    (
        maybe(
            "@peer.spiffe-id",
            &["spiffe://a.b/c", "spiffe://a.b/c/d", "spiffe://a.bc/d", "spiffe://a.b/cc"],
        ),
        maybe(
            "@source.address",
            &["10.1.0.1", "10.2.0.1", "::1", "unix", "2001:db8::7", "::ffff:10.1.0.1", "bad"],
        ),
        maybe(":path", &["/", "/a", "/a/", "/a/b", "/a/b/c", "/a*", "/ab", "/a?x=/a/b", "/a//"]),
        maybe("@listener.name", &["inbound", "other"]),
        maybe("x-a", &["1", "2", "3", "4", "1, 2", "2,4", "3,", "1 ,3"]),
        maybe("x-b", &["1", "2", "4", "1,2,3", "4 ,\t1"]),
        maybe(
            "@jwt.claims",
            &[
                r#"{"roles":["1","4"],"scope":"2 3"}"#,
                r#"{"roles":2}"#,
                r#"{"scope":"1","roles":[]}"#,
                "no",
            ],
        ),
        prop::option::weighted(0.2, Just(("x-a", "2"))),
    )
        .prop_map(|(a, b, c, d, e, f, g, h)| {
            [a, b, c, d, e, f, g, h].into_iter().flatten().collect()
        })
}

/// The request as JSON for Cedar, made from the fields by other code than the filter's.
fn direct(policy: &Authz, fields: &Fields) -> (Value, String) {
    let one = |name: &str| fields.iter().find(|(of, _)| *of == name).map(|(_, it)| *it);
    let path = one(":path")
        .unwrap_or("")
        .split_once('?')
        .map_or(one(":path").unwrap_or(""), |(path, _)| path);
    let mut context = json!({ "method": "GET", "path": path, "unix": one("@source.address") == Some("unix"), "headers": {}, "members": {}, "claims": {} });
    let parts: Vec<&str> = path.split('/').collect();
    let instance =
        parts.len() == 3 && parts[0].is_empty() && parts[1] == "a" && !parts[2].is_empty();
    context["templates"] = if instance { json!(["/a/{x}"]) } else { json!([]) };
    let looks = policy.judge().looks();
    let known = policy.interest().reads;
    let address = one("@source.address").filter(|_| known.iter().any(|it| it == "@source.address"));
    context["unix"] = json!(address == Some("unix"));
    if let Some(ip) =
        address.map(|it| it.trim_start_matches("::ffff:")).and_then(|it| IpAddr::from_str(it).ok())
    {
        context["address"] = json!({ "__extn": { "fn": "ip", "arg": ip.to_string() } });
    }
    if one("@listener.name") == Some("inbound") && known.iter().any(|it| it == "@listener.name") {
        context["port"] = json!(80);
    }
    for name in &looks.headers {
        let values: Vec<&str> =
            fields.iter().filter(|(of, _)| of == name).map(|(_, it)| *it).collect();
        if !values.is_empty() {
            let members: Vec<&str> =
                values.iter().flat_map(|it| it.split(',')).map(str::trim).collect();
            context["headers"][name] = json!(values);
            context["members"][name] = json!(members);
        }
    }
    let claims: Value =
        serde_json::from_str(one("@jwt.claims").unwrap_or("{}")).unwrap_or(json!({}));
    for name in &looks.claims {
        let values: Vec<String> = match &claims[name] {
            Value::Array(all) => all.iter().map(|it| it.as_str().unwrap().to_owned()).collect(),
            Value::String(text) if name == "scope" => text.split(' ').map(str::to_owned).collect(),
            Value::String(text) => vec![text.clone()],
            Value::Number(number) => vec![number.to_string()],
            _ => vec![],
        };
        if !values.is_empty() {
            context["claims"][name] = json!(values);
        }
    }
    let principal = one("@peer.spiffe-id")
        .map_or("Anonymous::\"\"".to_owned(), |id| format!("Identity::\"{id}\""));
    (context, principal)
}

fn entities(principal: &str) -> Value {
    let Some(id) = principal.strip_prefix("Identity::\"").map(|it| it.trim_end_matches('"')) else {
        return json!([{ "uid": { "type": "Anonymous", "id": "" }, "attrs": {}, "parents": [] }]);
    };
    let domain = id.split('/').nth(2).unwrap();
    json!([{ "uid": { "type": "Identity", "id": id }, "attrs": { "id": id, "domain": domain }, "parents": [] }])
}

/// What Cedar says, from texts alone.
fn cedar(text: &str, context: &Value, principal: &str) -> bool {
    use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request};
    let uid = |text: &str| EntityUid::from_str(text).unwrap();
    let context = Context::from_json_value(context.clone(), None).unwrap();
    let request = Request::new(
        uid(principal),
        uid("Action::\"request\""),
        uid("Service::\"shop/pay\""),
        context,
        None,
    )
    .unwrap();
    let set = PolicySet::from_str(text).unwrap();
    let entities = Entities::from_json_value(entities(principal), None).unwrap();
    Authorizer::new().is_authorized(&request, &set, &entities).decision() == Decision::Allow
}

/// The policies of a mode, as Cedar.
fn enforced(policies: &Value, modes: &[&str]) -> String {
    let chosen: Vec<&Value> = policies
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| modes.contains(&one["mode"].as_str().unwrap()))
        .collect();
    let one = |policy: &Value| -> String {
        let policy: config::AuthzPolicy = serde_json::from_value(policy.clone()).unwrap();
        compile::rules(&policy, None).into_iter().map(|rule| rule.request + "\n").collect()
    };
    chosen.into_iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn decisions_equal_those_of_cedar(policies in policies(), requests in prop::collection::vec(request(), 1..20)) {
        let mut policy = authz(&with(&policies));
        let modes = |mode: &str| policies.as_array().unwrap().iter().any(|one| one["mode"] == mode);
        let (audits, enforces) = (modes("audit"), modes("enforce"));
        let own = enforced(&policies, &["enforce"]);
        let whole = enforced(&policies, &["enforce", "audit"]);
        for fields in requests {
            let (context, principal) = direct(&policy, &fields);
            let passes = (audits && !enforces) || cedar(&own, &context, &principal);
            let reported = passes && !cedar(&whole, &context, &principal);
            let (decided, reason, _) = ask(&mut policy, &fields);
            prop_assert_eq!((decided, reason.starts_with("authz.audit.")), (passes, reported), "{:?} {}", fields, context);
        }
    }
}

/// Pairs of a set of policies and requests, with our decisions, for a comparison with another implementation of Cedar:
/// `tests/cedarpy.py` reads them. It says how to write more of them, to a file that stays.
#[test]
fn pairs_are_written_for_another_implementation() {
    use proptest::strategy::ValueTree as _;
    let count: usize =
        std::env::var("TAMIS_CEDAR_COUNT").map_or(400, |count| count.parse().unwrap());
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut lines, mut written, mut allowed) = (String::new(), 0, 0);
    while written < count {
        let policies = policies().new_tree(&mut runner).unwrap().current();
        let mut policy = authz(&with(&policies));
        let audits = policies.as_array().unwrap().iter().all(|one| one["mode"] == "audit")
            && policies != json!([]);
        if audits {
            continue;
        }
        let text = enforced(&policies, &["enforce"]);
        let mut requests = Vec::new();
        for _ in 0..20.min(count - written) {
            let fields = request().new_tree(&mut runner).unwrap().current();
            let (context, principal) = direct(&policy, &fields);
            let passes = ask(&mut policy, &fields).0;
            assert_eq!(passes, cedar(&text, &context, &principal), "{text} {context}");
            requests.push(json!({ "context": context, "principal": principal, "entities": entities(&principal), "allow": passes }));
            written += 1;
            allowed += usize::from(passes);
        }
        lines += &json!({ "policies": text, "requests": requests }).to_string();
        lines.push('\n');
    }
    assert!(allowed > 0 && allowed < written, "{allowed} of {written}: both decisions occur");
    if let Ok(path) = std::env::var("TAMIS_CEDAR_PAIRS") {
        std::fs::write(path, lines).unwrap();
    }
}

/// Who passes a rule in a mesh of `shop.example` that recognises others, and in one that recognises nobody else.
#[test]
fn rules_that_name_nobody_or_everybody_are_about_members_of_the_own_domain() {
    const HOME: &str = "spiffe://shop.example/ns/shop/cart";
    const OTHER: &str = "spiffe://partner.example/ns/bank/ledger";
    let near = "spiffe://shop.example.org/a";
    for (allow, deny, passes) in [
        // With an id of the own domain, of another one, of one that begins alike, and without one.
        (json!([{ "identities": ["*"] }]), json!([]), [true, false, false, false]),
        (
            json!([{ "paths": [{ "type": "PathPrefix", "value": "/" }] }]),
            json!([]),
            [true, false, false, true],
        ),
        (json!([{ "identities": [OTHER] }]), json!([]), [false, true, false, false]),
        (
            json!([{ "identities": ["spiffe://partner.example/*"] }]),
            json!([]),
            [false, true, false, false],
        ),
        (json!([{ "identities": ["*", OTHER] }]), json!([]), [true, true, false, false]),
        (json!([{ "identities": ["*", OTHER] }]), json!([{ "identities": ["*"] }]), [false; 4]),
        (
            json!([{ "identities": ["*", OTHER] }]),
            json!([{ "paths": [{ "type": "Exact", "value": "/x" }] }]),
            [false; 4],
        ),
        (json!([]), json!([]), [false; 4]),
    ] {
        let policy = json!({ "name": "shop/p", "mode": "enforce", "allow": allow, "deny": deny });
        let mut settings = with(&json!([policy]));
        settings["home"] = json!("shop.example");
        let mut judged = authz(&settings);
        let callers = [Some(HOME), Some(OTHER), Some(near), None];
        for (caller, passes) in callers.into_iter().zip(passes) {
            let mut fields = vec![(":method", "GET"), (":path", "/x")];
            fields.extend(caller.map(|id| ("@peer.spiffe-id", id)));
            assert_eq!(ask(&mut judged, &fields).0, passes, "{caller:?} {policy}");
        }
    }
}

fn connect(policy: &mut Authz, fields: &[(&str, &str)]) -> (bool, String, Option<String>) {
    let reads = policy.interest().reads;
    let fields: Vec<(&str, &[u8])> =
        fields.iter().map(|(name, it)| (*name, it.as_bytes())).collect();
    let raw = packed(&reads, &fields);
    let decided = policy.decide_connection(View::new(&raw, &reads));
    (decided.ruling.passes, decided.ruling.reason.clone(), decided.line)
}

fn of_connections(policies: &Value) -> Value {
    json!({
        "policies": policies, "guarded": { "kind": "Service", "name": "shop/db" }, "connections": true,
        "ports": { "inbound:5432": 5432, "inbound:6379": 6379 },
    })
}

#[test]
fn a_rule_covers_connections_as_its_conditions_say_and_one_about_requests_opens_none() {
    const OTHER: &str = "spiffe://shop.example/ns/shop/service/other";
    let port = |number: u16| json!({ "identities": [STORE], "ports": [number] });
    let with_one = |field: &str, value: Value| {
        let mut rule = port(5432);
        rule[field] = value;
        rule
    };
    let allowed = "authz.allowed.shop.db.allow.0";
    let cedar = |text: &str| json!({ "name": "shop/db", "cedar": { "policies": text } });
    let allow = |rule: Value| json!({ "name": "shop/db", "allow": [rule] });
    let both = |deny: Value| json!({ "name": "shop/db", "allow": [port(5432)], "deny": [deny] });
    for (policy, who, listener, wanted) in [
        (allow(port(5432)), STORE, "inbound:5432", allowed),
        (allow(port(5432)), STORE, "inbound:6379", "authz.no-rule"),
        (allow(port(5432)), OTHER, "inbound:5432", "authz.no-rule"),
        (allow(port(5432)), STORE, "inbound:1", "authz.no-rule"),
        (allow(json!({ "ports": [5432] })), OTHER, "inbound:5432", allowed),
        // Only a rule that names the port opens it.
        (allow(json!({})), STORE, "inbound:5432", "authz.no-rule"),
        (allow(json!({ "identities": [STORE] })), STORE, "inbound:5432", "authz.no-rule"),
        // Of octets that nobody reads no condition on a request holds.
        (allow(with_one("methods", json!(["GET"]))), STORE, "inbound:5432", "authz.no-rule"),
        (
            allow(with_one("paths", json!([{ "type": "PathPrefix", "value": "/" }]))),
            STORE,
            "inbound:5432",
            "authz.no-rule",
        ),
        (
            allow(with_one("headers", json!([{ "name": "x-a", "values": ["1"] }]))),
            STORE,
            "inbound:5432",
            "authz.no-rule",
        ),
        (
            allow(with_one("claims", json!([{ "name": "roles", "values": ["a"] }]))),
            STORE,
            "inbound:5432",
            "authz.no-rule",
        ),
        (both(json!({})), STORE, "inbound:5432", "authz.denied.shop.db.deny.0"),
        (
            both(json!({ "identities": ["*"] })),
            STORE,
            "inbound:5432",
            "authz.denied.shop.db.deny.0",
        ),
        (both(json!({ "ports": [6379] })), STORE, "inbound:5432", allowed),
        (both(json!({ "methods": ["GET"] })), STORE, "inbound:5432", allowed),
        // Free Cedar opens a port only where it names connections, and closes it with every `forbid` that holds.
        (cedar("permit (principal, action, resource);"), STORE, "inbound:5432", "authz.no-rule"),
        (
            cedar("permit (principal, action == Action::\"request\", resource);"),
            STORE,
            "inbound:5432",
            "authz.no-rule",
        ),
        (
            cedar("permit (principal, action == Action::\"connect\", resource);"),
            STORE,
            "inbound:5432",
            "authz.allowed.shop.db.cedar.0",
        ),
        (
            cedar(
                "permit (principal, action in [Action::\"connect\", Action::\"request\"], resource) \
                 when { context has port && context.port == 5432 };",
            ),
            STORE,
            "inbound:5432",
            "authz.allowed.shop.db.cedar.0",
        ),
        (
            cedar(
                "permit (principal, action == Action::\"connect\", resource); \
                 forbid (principal, action, resource) unless { context.path like \"/x*\" };",
            ),
            STORE,
            "inbound:5432",
            "authz.denied.shop.db.cedar.1",
        ),
    ] {
        let mut authz = authz(&of_connections(&json!([policy])));
        for _ in 0..2 {
            let seen = [("@peer.spiffe-id", who), ("@listener.name", listener)];
            let (passes, reason, _) = connect(&mut authz, &seen);
            assert_eq!(reason, wanted, "{policy} {who} {listener}");
            assert_eq!(passes, wanted.starts_with("authz.allowed"), "{policy}");
        }
    }
}

#[test]
fn a_connection_and_a_request_are_two_things_and_a_refused_one_has_its_line_to_add() {
    let mut policy = authz(&of_connections(&json!([
        { "name": "shop/db", "allow": [{ "ports": [5432], "methods": ["GET"] }] },
    ])));
    let seen = [("@peer.spiffe-id", STORE), ("@listener.name", "inbound:5432"), (":path", "/")];
    assert!(ask(&mut policy, &seen).0, "the rule covers a request");
    let (passes, reason, line) = connect(&mut policy, &seen);
    assert_eq!((passes, reason.as_str()), (false, "authz.no-rule"));
    let line = line.unwrap();
    assert!(line.contains(&format!("- {{ identities: [\"{STORE}\"], ports: [5432] }}")), "{line}");
    let mut audit = of_connections(&json!([]));
    audit["config"] = json!({ "mode": "audit" });
    let (passes, reason, _) = connect(&mut authz(&audit), &seen);
    assert_eq!((passes, reason.as_str()), (true, "authz.audit.no-rule"));
}

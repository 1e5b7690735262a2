use super::*;

fn action(rule: &str) -> Result<(Action, Vec<String>), Vec<ConfigError>> {
    let rule: RouteRule = serde_json::from_str(rule).unwrap();
    let mut services = Services::default();
    Action::new(&rule, &mut services, "/r").map(|action| (action, services.into_names()))
}

fn choose(rule: &str, target: &RequestTarget<'_>) -> router::Choice {
    action(rule).unwrap().0.choose(7, target)
}

fn forwarded(rule: &str, target: &RequestTarget<'_>) -> router::Selection {
    match choose(rule, target) {
        router::Choice::Forward(selection) => selection,
        other => panic!("{other:?}"),
    }
}

fn location(redirect: &str, authority: &str) -> String {
    let rule =
        format!(r#"{{"filters":[{{"type":"RequestRedirect","requestRedirect":{redirect}}}]}}"#);
    let target = RequestTarget {
        scheme: "http",
        authority,
        path: "/foo/bar",
        query: "q",
        prefix: Some("/foo"),
        ..RequestTarget::default()
    };
    match choose(&rule, &target) {
        router::Choice::Answer(reply) => String::from_utf8(reply.headers[0].value.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_prefix_is_replaced_as_the_gateway_api_tabulates() {
    for (path, prefix, new, out) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/a", "", "/v1", "/v1/a"),
    ] {
        let modifier = PathChange {
            kind: PathChangeKind::ReplacePrefixMatch,
            replace_full_path: None,
            replace_prefix_match: Some(new.to_owned()),
        };
        let target = RequestTarget { path, prefix: Some(prefix), ..RequestTarget::default() };
        assert_eq!(rewritten(&modifier, &target), out, "{path} {prefix} {new}");
    }
}

#[test]
fn a_redirect_keeps_what_it_does_not_name() {
    assert_eq!(location("{}", "h:8080"), "http://h:8080/foo/bar?q");
    assert_eq!(location(r#"{"scheme":"https"}"#, "h:8080"), "https://h/foo/bar?q");
    assert_eq!(location(r#"{"hostname":"g","port":80}"#, "h"), "http://g/foo/bar?q");
    assert_eq!(location(r#"{"scheme":"https","port":8443}"#, "h"), "https://h:8443/foo/bar?q");
    let path = r#"{"path":{"type":"ReplacePrefixMatch","replacePrefixMatch":"/x"}}"#;
    assert_eq!(location(path, "[::1]:81"), "http://[::1]:81/x/bar?q");
    let path = r#"{"path":{"type":"ReplaceFullPath","replaceFullPath":"/x"}}"#;
    assert_eq!(location(path, "h"), "http://h/x?q");
}

#[test]
fn a_redirect_without_a_host_to_name_is_a_path() {
    let path = r#"{"path":{"type":"ReplaceFullPath","replaceFullPath":"/new"}}"#;
    assert_eq!(location(path, ""), "/new?q");
    assert_eq!(location(r#"{"port":8080}"#, ""), "/foo/bar?q");
    assert_eq!(location(r#"{"hostname":"g"}"#, ""), "http://g/foo/bar?q");
}

#[test]
fn weights_share_and_zero_takes_none() {
    let rule = r#"{"backendRefs":[{"service":"a/a:1","weight":90},{"service":"a/b:1","weight":0},
        {"service":"a/c:1","weight":10}]}"#;
    let (action, services) = action(rule).unwrap();
    let mut taken = [0_u32; 3];
    for exchange in 0..10_000 {
        let target = RequestTarget { exchange, ..RequestTarget::default() };
        let router::Choice::Forward(selection) = action.choose(0, &target) else { panic!() };
        taken[selection.backend as usize] += 1;
    }
    assert_eq!(services, ["a/a:1", "a/b:1", "a/c:1"]);
    assert!(taken[0].abs_diff(9000) < 200 && taken[1] == 0, "{taken:?}");
}

#[test]
fn no_backend_to_take_is_a_500() {
    for rule in ["{}", r#"{"backendRefs":[{"service":"a/a:1","weight":0}]}"#] {
        let choice = choose(rule, &RequestTarget::default());
        assert_eq!(choice, router::Choice::Answer(no_backend()), "{rule}");
        let answer = no_backend();
        let reason = answer.headers.iter().find(|field| field.name == "x-tamis-reason").unwrap();
        assert_eq!(reason.value, b"route.no-backend");
        assert!(answer.body.starts_with(b"Internal Server Error (route.no-backend)"));
    }
}

#[test]
fn filters_of_rule_and_backend_become_edits_in_order() {
    let rule = r#"{"timeouts":{"request":"2s","backendRequest":"500ms"},"filters":[
        {"type":"RequestHeaderModifier","requestHeaderModifier":
            {"set":[{"name":"X-A","value":"1"}],"add":[{"name":"x-b","value":"2"}],"remove":["X-C"]}},
        {"type":"ResponseHeaderModifier","responseHeaderModifier":{"remove":["server"]}},
        {"type":"URLRewrite","urlRewrite":{"hostname":"in.ner"}},
        {"type":"RequestMirror","requestMirror":{"backendRef":{"service":"a/m:1"},"percent":25}}],
        "backendRefs":[{"service":"a/a:1","filters":[
            {"type":"RequestHeaderModifier","requestHeaderModifier":{"set":[{"name":"x-a","value":"3"}]}}]}]}"#;
    let selection = forwarded(rule, &RequestTarget { path: "/", ..RequestTarget::default() });
    assert_eq!(
        selection.request_edits,
        [
            Edit::set("x-a", "1"),
            Edit::add("x-b", "2"),
            Edit::remove("x-c"),
            Edit::authority("in.ner"),
            Edit::set("x-a", "3"),
        ]
    );
    assert_eq!(selection.response_edits, [Edit::remove("server")]);
    assert_eq!(selection.mirrors, [router::Mirror { backend: 0, share_permille: 250 }]);
    assert_eq!((selection.backend, selection.rule), (1, 7));
    assert_eq!((selection.request_timeout_ms, selection.attempt_timeout_ms), (2000, 500));
}

#[test]
fn an_incomplete_filter_is_refused_at_its_place() {
    for (rule, pointer) in [
        (r#"{"filters":[{"type":"URLRewrite"}]}"#, "/r/filters/0"),
        (
            r#"{"filters":[{"type":"RequestRedirect","requestRedirect":{"statusCode":200}}]}"#,
            "/r/filters/0/requestRedirect/statusCode",
        ),
        (
            r#"{"filters":[{"type":"RequestMirror","requestMirror":
                {"backendRef":{"service":"a/a:1"},"fraction":{"numerator":1,"denominator":0}}}]}"#,
            "/r/filters/0/requestMirror/fraction",
        ),
        (
            r#"{"backendRefs":[{"service":"a/a:1","filters":[{"type":"RequestRedirect"}]}]}"#,
            "/r/backendRefs/0/filters/0",
        ),
    ] {
        assert_eq!(action(rule).unwrap_err()[0].pointer, pointer, "{rule}");
    }
}

#[test]
fn what_a_client_makes_too_long_is_answered_and_no_edit_of_it_is_a_fault() {
    let rewrite = |new: &str| {
        format!(
            r#"{{"filters":[{{"type":"URLRewrite","urlRewrite":{{"path":{{"type":"ReplacePrefixMatch","replacePrefixMatch":"{new}"}}}}}}],"backendRefs":[{{"service":"a/b:80"}}]}}"#
        )
    };
    let redirect =
        r#"{"filters":[{"type":"RequestRedirect","requestRedirect":{"scheme":"https"}}]}"#;
    let long = |octets: usize| format!("/a{}", "b".repeat(octets - 2));
    for (rule, path, query, passes) in [
        (rewrite("/x"), long(100), "", true),
        (rewrite("/x"), long(65_534), "", true),
        (rewrite("/longer"), long(65_529), "", true),
        (rewrite("/longer"), long(65_530), "", false),
        (rewrite("/x"), long(65_534), "q", false),
        (redirect.to_owned(), long(63 * 1024 - "https://h".len()), "", true),
        (redirect.to_owned(), long(63 * 1024), "", false),
        (redirect.to_owned(), long(100), &"q".repeat(65_000), false),
    ] {
        let target = RequestTarget {
            scheme: "http",
            authority: "h",
            path: &path,
            query,
            prefix: Some("/a"),
            ..RequestTarget::default()
        };
        let answer = match choose(&rule, &target) {
            router::Choice::Forward(_) => None,
            router::Choice::Answer(reply) => Some(reply.status),
            other => panic!("{other:?}"),
        };
        let what = format!("{rule} {} {}", path.len(), query.len());
        assert_eq!(answer.is_none_or(|status| status == 302), passes, "{what}: {answer:?}");
        assert!(passes || answer == Some(414), "{what}: {answer:?}");
    }
}

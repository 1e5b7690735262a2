//! Responses that are written in the proxy, and the filters that see them.

use super::live::LiveProxy;
use super::*;

const CLOSED: OnFailure = OnFailure::Closed;

fn named(name: &str, config: &Value) -> Attachment {
    Attachment { name: format!("test/{name}"), ..attached(config, None, CLOSED) }
}

fn routes(timeout_ms: u32) -> Attachment {
    let rules = json!([["/a", "ns/a/0"]]);
    named("router", &json!({ "reads": [":path"], "rules": rules, "timeout_ms": timeout_ms }))
}

/// Sets `x-seen`, and `x-by` to who wrote the response, where it sees one.
fn observer(responses: &str) -> Value {
    json!({
        "reads": ["@tamis.answered-by"], "writes": ["x-seen", "x-by"], "responses": responses,
        "response_set": [["x-seen", "1"]],
    })
}

/// A way in which a response comes about, its status and who writes it.
struct Row {
    what: &'static str,
    /// Filters after the observer.
    others: Vec<Value>,
    path: &'static str,
    lines: &'static [(&'static str, &'static str)],
    body: &'static str,
    status: u16,
    by: &'static str,
}

fn rows() -> Vec<Row> {
    let row = |what, others, path, status, by| {
        let (lines, body) = (&[][..], "");
        Row { what, others, path, lines, body, status, by }
    };
    vec![
        row("the upstream answers", vec![], "/a", 200, "upstream"),
        Row {
            lines: &[("x-status", "503")],
            ..row("the upstream fails", vec![], "/a", 503, "upstream")
        },
        row("the request hook answers", vec![json!({ "answer": 401 })], "/a", 401, "filter"),
        Row {
            body: "hello",
            ..row(
                "the hook of whole bodies answers",
                vec![json!({ "body": "answer", "whole_up_to": 100 })],
                "/a",
                418,
                "filter",
            )
        },
        Row {
            body: "hello",
            ..row(
                "the hook of chunks answers",
                vec![json!({ "body": "answer" })],
                "/a",
                418,
                "filter",
            )
        },
        row("the response hook answers", vec![json!({ "page_for": 200 })], "/a", 200, "filter"),
        row("no rule matches", vec![], "/b", 404, "host"),
        row("a path is malformed", vec![], "/%zz", 400, "host"),
        row("the request hook fails", vec![json!({ "trap": true })], "/a", 503, "host"),
        Row {
            body: "a body that is longer than the proxy takes",
            ..row("the body is too long", vec![], "/a", 413, "host")
        },
        Row {
            lines: &[("x-hang", "1")],
            ..row("the upstream takes too long", vec![], "/a", 504, "host")
        },
    ]
}

#[test]
fn a_filter_sees_the_responses_that_it_declared_whoever_wrote_them() {
    for responses in ["upstream", "local", "all"] {
        for row in rows() {
            let mut filters = vec![named("observer", &observer(responses))];
            let others = row.others.iter().enumerate();
            filters.extend(others.map(|(n, config)| named(&format!("other-{n}"), config)));
            filters.push(routes(if row.status == 504 { 50 } else { 0 }));
            let options = ProxyOptions { max_body_bytes: Some(20), ..ProxyOptions::default() };
            let live = LiveProxy::start(filters, options);
            let (status, head, _) = live.client().post(row.path, row.lines, row.body);
            let what = format!("{responses}, {}: {head}", row.what);
            assert_eq!(status, row.status, "{what}");
            let sees = match row.by {
                "upstream" => responses != "local",
                _ => responses != "upstream",
            };
            assert_eq!(head.contains("x-seen: 1\r\n"), sees, "{what}");
            // Who only sees responses of upstreams need not be told.
            let by = format!("x-by: {}\r\n", row.by);
            assert_eq!(head.contains(&by), sees && responses != "upstream", "{what}");
        }
    }
}

#[test]
fn a_filter_of_a_route_sees_what_happens_once_the_route_is_known() {
    let scoped =
        Attachment { scope: Some(vec!["ns/a/".to_owned()]), ..named("observer", &observer("all")) };
    let failing = Attachment {
        scope: Some(vec!["ns/a/".to_owned()]),
        ..named("failing", &json!({ "deny_with": "x-deny", "reads": ["x-deny"] }))
    };
    let live = LiveProxy::start(vec![scoped, failing, routes(0)], ProxyOptions::default());
    for (path, lines, status, sees) in
        [("/a", &[][..], 200, true), ("/a", &[("x-deny", "1")], 403, true), ("/b", &[], 404, false)]
    {
        let (found, head, _) = live.client().ask(path, lines);
        assert_eq!((found, head.contains("x-seen: 1\r\n")), (status, sees), "{path}: {head}");
    }
}

#[test]
fn an_error_page_replaces_what_is_shown_and_not_why() {
    let page = json!({ "responses": "local", "page_for": 404 });
    let after = observer("all");
    // Hooks on responses run in the opposite order: the page is made first, then seen.
    let filters = vec![named("after", &after), named("page", &page), routes(0)];
    let live = LiveProxy::start(filters, ProxyOptions::default());
    let (status, head, body) = live.client().ask("/b", &[]);
    assert_eq!((status, body.as_str()), (404, "a page"), "{head}");
    assert!(head.contains("x-tamis-reason: route.unmatched\r\n"), "{head}");
    assert!(head.contains("x-seen: 1\r\n"), "{head}");
    assert_eq!(live.client().ask("/a", &[]).0, 200);
}

#[test]
fn a_filter_never_sees_its_own_reply() {
    let own = json!({
        "responses": "all", "answer": 401, "writes": ["x-seen"], "response_set": [["x-seen", "1"]],
    });
    let live = LiveProxy::start(vec![named("own", &own), routes(0)], ProxyOptions::default());
    let (status, head, _) = live.client().ask("/a", &[]);
    assert_eq!((status, head.contains("x-seen")), (401, false), "{head}");
}

#[test]
fn a_filter_that_fails_on_a_local_response_is_treated_as_its_attachment_says_and_once() {
    for (failure, status) in [(CLOSED, 503), (OnFailure::Open, 404), (OnFailure::SkipAndAlert, 404)]
    {
        let trap = json!({ "responses": "all", "response_trap": true });
        let trap = Attachment { failure, ..named("trap", &trap) };
        let live = LiveProxy::start(vec![trap, routes(0)], ProxyOptions::default());
        let (found, head, _) = live.client().ask("/b", &[]);
        assert_eq!(found, status, "{head}");
        let reason = if status == 503 { "filter.failed" } else { "route.unmatched" };
        assert!(head.contains(&format!("x-tamis-reason: {reason}\r\n")), "{head}");
    }
}

#[test]
fn a_hook_on_whole_bodies_changes_the_head_that_is_held() {
    let config = json!({
        "body": "rewrite", "whole_up_to": 1000, "writes": ["x-length", ":status"],
    });
    let live =
        LiveProxy::start(vec![named("rewrites", &config), routes(0)], ProxyOptions::default());
    let (status, head, body) = live.client().post("/a", &[], "hello");
    assert_eq!((status, body.as_str()), (418, "other"), "{head}");
    // The length of what the upstream answered, which echoes the head of what it received.
    let length: usize =
        head.split("x-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!(length > 20, "{head}");
}

#[test]
fn a_body_decides_about_the_route_and_the_filters_of_that_route_run() {
    let moves = json!({ "body": "path", "whole_up_to": 1000, "writes": [":path"] });
    let guard = |rule: &str| Attachment {
        scope: Some(vec![rule.to_owned()]),
        ..named(rule, &json!({ "set": [[format!("x-{}", &rule[3..4]), "1"]], "writes": ["*"] }))
    };
    let denies = Attachment {
        scope: Some(vec!["ns/c/".to_owned()]),
        ..named("denies", &json!({ "answer": 403 }))
    };
    let rules = json!([["/a", "ns/a/0"], ["/b", "ns/b/0"], ["/c", "ns/c/0"]]);
    let router = named("router", &json!({ "reads": [":path"], "rules": rules }));
    let filters = vec![named("moves", &moves), guard("ns/a/"), guard("ns/b/"), denies, router];
    let live = LiveProxy::start(filters, ProxyOptions::default());
    for (body, status, marks) in [
        ("/a/2", 200, [true, false]),
        ("/b", 200, [true, true]),
        ("/c", 403, [false, false]),
        ("/nowhere", 404, [false, false]),
    ] {
        let (found, _, echo) = live.client().post("/a", &[], body);
        assert_eq!(found, status, "{body}: {echo}");
        let seen = ["x-a: 1\r\n", "x-b: 1\r\n"].map(|mark| echo.contains(mark));
        assert_eq!(seen, marks, "{body}: {echo}");
        assert_eq!(echo.starts_with(&format!("POST {body} ")), status == 200, "{echo}");
    }
}

#[test]
fn filters_that_read_the_route_are_asked_about_the_one_that_a_body_leads_to() {
    let moves = json!({ "body": "path", "whole_up_to": 1000, "writes": [":path"] });
    let reads = json!({ "reads": ["@route.name"], "writes": ["x-added-0"], "add": 1 });
    let rules = json!([["/a", "ns/a/0"], ["/b", "ns/b/0"]]);
    let router = named("router", &json!({ "reads": [":path"], "rules": rules }));
    for (body, asked) in [("/b/2", 2), ("/a/2", 1)] {
        let filters = vec![named("reads", &reads), named("moves", &moves), router.clone()];
        let live = LiveProxy::start(filters, ProxyOptions::default());
        let (status, _, echo) = live.client().post("/a", &[], body);
        assert_eq!(status, 200, "{echo}");
        assert_eq!(echo.matches("x-added-0: a").count(), asked, "{body}: {echo}");
    }
}

#[test]
fn a_status_and_a_method_are_changed_with_the_rest_as_it_was() {
    let config = json!({
        "responses": "all", "writes": [":status", ":method"], "response_status": 418,
        "method": "PUT",
    });
    let live = LiveProxy::start(vec![named("edits", &config), routes(0)], ProxyOptions::default());
    let (status, _, body) = live.client().post("/a", &[("x-status", "201")], "hello");
    assert_eq!((status, body.starts_with("PUT /a ")), (418, true), "{body}");
    let (status, _, body) = live.client().ask("/b", &[]);
    assert_eq!((status, body.contains("route.unmatched")), (418, true), "{body}");
    // What has no body of its own still has none.
    for without in ["204", "304"] {
        let mut client = live.client();
        let (status, head, body) = client.ask("/a", &[("x-status", without), ("x-bare", "1")]);
        assert_eq!((status, body.as_str()), (418, ""), "{without}: {head}");
        assert_eq!(client.ask("/b", &[]).0, 418, "{without}: the connection is in step");
    }
}

//! The end of an exchange as filters see it, and what they keep until then.

use super::live::LiveProxy;
use super::*;

fn kept(config: &Value, grant: Grant) -> Attachment {
    let admission = Admission::of_grant("test/walk", ledger().inspection(), grant).unwrap();
    let options = FilterOptions { admission, ..options(config, "sha256:02") };
    let occupant = SlotOccupant::Running(Filter::new(ledger(), options).unwrap());
    let name = "test/ledger".to_owned();
    Attachment { name, occupant, ..attached(&json!({}), None, OnFailure::Closed) }
}

fn named(name: &str, config: &Value) -> Attachment {
    Attachment { name: format!("test/{name}"), ..attached(config, None, OnFailure::Closed) }
}

fn routes() -> Attachment {
    let rules = json!([["/a", "ns/a/0"]]);
    named("router", &json!({ "reads": [":path"], "rules": rules, "timeout_ms": 2_000 }))
}

/// The line about the end of the exchange with that path.
fn ending(live: &LiveProxy, path: &str) -> String {
    let ask = |_: &crate::Proxy| live.client().ask("/a", &[("x-ask", path)]).2;
    live.until(ask, |line| !line.is_empty())
}

#[test]
fn a_filter_sees_how_each_exchange_ended() {
    let filters = vec![
        kept(&json!({}), Grant::everything()),
        named("answers", &json!({ "deny_with": "x-deny", "reads": ["x-deny"] })),
        named("fails", &json!({ "trap_with": "x-trap", "reads": ["x-trap"] })),
        routes(),
    ];
    let live = LiveProxy::start(
        filters,
        ProxyOptions { max_body_bytes: Some(20), ..ProxyOptions::default() },
    );
    let hello = "hello";
    for (path, lines, body, says) in [
        ("/a/fine", &[][..], hello, "/a/fine /a/fine 200 in 5 out "),
        (
            "/a/denied",
            &[("x-deny", "1")],
            "",
            "403 in 0 out 2 attempts 0 Outcome(REFUSED_BY_FILTER) walk.deny",
        ),
        (
            "/a/failed",
            &[("x-trap", "1")],
            "",
            "attempts 0 Outcome(REFUSED_BY_FILTER) filter.failed",
        ),
        ("/b/nowhere", &[], "", "/b/nowhere /b/nowhere 404"),
        // No hook before the end saw this one.
        ("/a/long", &[], "a body that is longer than the proxy takes", "/a/long  413"),
    ] {
        live.client().post(path, lines, body);
        let line = ending(&live, path);
        assert!(line.contains(says), "{path}: {line}");
    }
    // A client that goes away ends its exchange too.
    let mut client = live.client();
    client.begin("/a/gone", &[("x-hang", "1")]);
    drop(client);
    let line = ending(&live, "/a/gone");
    assert!(line.contains("CLIENT_GONE"), "{line}");
}

#[test]
fn what_a_filter_keeps_is_there_in_every_hook_and_gone_at_the_end() {
    let live = LiveProxy::start(
        vec![kept(&json!({ "keep": 10 }), Grant::everything()), routes()],
        ProxyOptions::default(),
    );
    for _ in 0..2 {
        let mut client = live.client();
        for n in 1..=3 {
            let path = format!("/a/{n}");
            let (_, head, body) = client.ask(&path, &[]);
            let count = format!("x-count: 1 {n}\r\n");
            assert!(body.contains(&count), "one of the exchange, {n} of the connection: {body}");
            assert!(body.contains("x-kept: yes\r\n"), "{body}");
            assert!(head.contains(&format!("x-started: {path}\r\n")), "{head}");
        }
    }
}

#[test]
fn exchanges_without_end_leave_nothing_behind() {
    let mut grant = Grant::everything();
    let limits = tamis_engine::ExchangeStateGrant { total_bytes: 40_000, ..Default::default() };
    grant.imports.exchange_state = Some(limits);
    let filter = kept(&json!({ "keep": 10_000 }), grant);
    let live = LiveProxy::start(vec![filter, routes()], ProxyOptions::default());
    // Together they ask to keep many times what the Grant allows for all exchanges.
    let mut client = live.client();
    for n in 0..50 {
        let (_, _, body) = client.ask(&format!("/a/{n}"), &[]);
        assert!(body.contains("x-kept: yes\r\n"), "{n}: {body}");
        // Some clients go away.
        let mut gone = live.client();
        gone.begin(&format!("/a/gone/{n}"), &[("x-hang", "1")]);
        drop(gone);
        ending(&live, &format!("/a/gone/{n}"));
    }
}

#[test]
fn a_value_beyond_the_grant_is_refused_with_the_setting() {
    let mut grant = Grant::everything();
    let limits = tamis_engine::ExchangeStateGrant { bytes: 100, ..Default::default() };
    grant.imports.exchange_state = Some(limits);
    let live = LiveProxy::start(
        vec![kept(&json!({ "keep": 200 }), grant), routes()],
        ProxyOptions::default(),
    );
    let (_, _, body) = live.client().ask("/a/1", &[]);
    assert!(body.contains("x-kept: the grant allows 100 (`bytes` of `exchange-state`)"), "{body}");
}

#[test]
fn a_filter_that_fails_at_the_end_changes_nothing() {
    let live = LiveProxy::start(
        vec![kept(&json!({ "trap": true }), Grant::everything()), routes()],
        ProxyOptions::default(),
    );
    let mut client = live.client();
    let (status, head, _) = client.ask("/a/1", &[]);
    assert_eq!(status, 200, "{head}");
    let line = "tamis_filter_faults_total{attachment=\"test/ledger\",filter=\"test/walk\",hook=\"finished\"} 1";
    live.until(|proxy| proxy.metrics(), |text| text.lines().any(|it| it.starts_with(line)));
}

#[test]
fn telemetry_receives_the_fields_that_it_declares_of_each_exchange() {
    let answers = json!({ "deny_with": "x-deny", "reads": ["x-deny"] });
    let live = LiveProxy::start(
        vec![kept(&json!({}), Grant::everything()), named("answers", &answers), routes()],
        ProxyOptions::default(),
    );
    let long = "l".repeat(9_000);
    for (path, lines, says) in [
        ("/a/1", &[("user-agent", "first/1")][..], "first/1 4 200"),
        ("/a/22", &[("user-agent", "second/2")], "second/2 5 200"),
        ("/a/333", &[], "nobody 6 200"),
        ("/a/4444", &[("user-agent", "denied/4"), ("x-deny", "1")], "denied/4 7 403"),
        // Longer than what is kept of an exchange: it is left out, and the rest is there.
        ("/a/55555", &[("user-agent", &*long)], "nobody 8 200"),
    ] {
        live.client().ask(path, lines);
        let about = format!("telemetry {path}");
        let ask = |_: &crate::Proxy| live.client().ask("/a", &[("x-ask", &about)]).2;
        assert_eq!(live.until(ask, |line| !line.is_empty()), says, "{path}");
    }
}

/// How often a filter was shown an end.
fn shown(slot: &Slot) -> u64 {
    let numbers = slot.filter().unwrap().state().statistics();
    let hook = numbers.hooks.iter().find(|one| one.hook == tamis_engine::Hook::Finished);
    hook.map_or(0, |hook| hook.calls)
}

#[test]
fn a_filter_whose_calls_take_long_is_shown_ends_in_turns_and_only_so_many_wait() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        for (exchanges, in_turns) in [(3, 3), (256, 256), (300, 256)] {
            let layout = ChainLayout { finished: vec![0], ..ChainLayout::default() };
            let worker = worker(vec![kept(&json!({}), Grant::everything())], layout);
            let slot = worker.slots(&[0]).remove(0);
            slot.take_calls_as_long();
            for _ in 0..exchanges {
                drop(worker.exchange("/a"));
            }
            let row = format!("{exchanges} exchanges");
            assert_eq!(shown(&slot), 0, "{row}");
            let turns = slot.turns();
            let task = tokio::task::spawn_local(async move { turns.make_later_calls().await });
            while shown(&slot) < in_turns {
                tokio::task::yield_now().await;
            }
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            assert_eq!(shown(&slot), in_turns, "{row}");
            // Those that were shown leave room for the next.
            drop(worker.exchange("/a"));
            slot.turns().make_last_calls();
            assert_eq!(shown(&slot), in_turns + 1, "{row}");
            task.abort();
        }
    });
}

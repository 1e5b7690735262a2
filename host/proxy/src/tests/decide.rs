//! Request hooks in their order, scopes, failure modes, and the fields that the router reads.

use super::*;
use crate::backend;
use crate::generation::Reasons;
use crate::stop::FilterAnswer;
use tamis_exchange::{Edit, FieldLine, Outcome, Reply};
use tamis_refused::Refused;

/// Sets `x-NAME`, and a path if one is given.
fn sets(name: &str, path: Option<&str>) -> Value {
    let header = format!("x-{name}");
    json!({ "writes": [header, ":path"], "set": [[header, "1"]], "path": path })
}

fn chain(filters: &[Attachment]) -> ChainLayout {
    let router = filters.len() - 1;
    ChainLayout { request: (0..router).collect(), router: Some(router), ..ChainLayout::default() }
}

fn world(filters: Vec<Attachment>) -> TestWorker {
    let chain = chain(&filters);
    worker(filters, chain)
}

fn set_by(state: &ExchangeState) -> Vec<&str> {
    let names = state.exchange.headers.keys().map(http::HeaderName::as_str);
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

const CLOSED: OnFailure = OnFailure::Closed;
const RULES: [(&str, &str); 2] = [("/a", "ns/a/0"), ("/b", "ns/b/0")];

#[tokio::test(flavor = "current_thread")]
async fn filters_of_a_route_have_their_say_only_there() {
    let filters = vec![
        attached(&sets("all", None), None, CLOSED),
        attached(&sets("a", None), Some("ns/a/"), CLOSED),
        attached(&sets("b", None), Some("ns/b/0"), CLOSED),
        router(&RULES),
    ];
    let world = world(filters);
    let mut state = world.exchange("/a/1");
    assert_eq!(forwarded(decided(&mut state).await), 0);
    assert_eq!(set_by(&state), ["x-a", "x-all"]);
    assert_eq!(state.exchange.attributes.find("route.name"), Some("ns/a/0"));
}

#[test]
fn a_filter_that_reads_the_route_is_asked_after_the_router() {
    let reads = |names: &[&str]| json!({ "reads": names });
    let filters = vec![
        attached(&reads(&[":path", "@listener.name"]), None, CLOSED),
        attached(&reads(&["@route.name"]), None, CLOSED),
        attached(&reads(&[":path"]), Some("ns/a/"), CLOSED),
        attached(&reads(&["route.name"]), None, CLOSED),
        router(&RULES),
    ];
    let behind: Vec<bool> =
        world(filters).slots(&[0, 1, 2, 3]).iter().map(|slot| slot.is_behind_router()).collect();
    assert_eq!(behind, [false, true, true, false], "the last one reads a header of that name");
}

#[tokio::test(flavor = "current_thread")]
async fn an_edit_that_moves_the_exchange_brings_the_filters_of_its_new_route_in() {
    let filters = vec![
        attached(&sets("b", None), Some("ns/b/"), CLOSED),
        attached(&sets("a", Some("/b/2")), Some("ns/a/"), CLOSED),
        router(&RULES),
    ];
    let world = world(filters);
    let mut state = world.exchange("/a/1");
    assert_eq!(forwarded(decided(&mut state).await), 1);
    assert_eq!(set_by(&state), ["x-a", "x-b"]);
    assert_eq!(state.exchange.path, "/b/2");
}

/// Counts how often it is asked, in a header.
fn counts_calls(reads: &str) -> Value {
    json!({ "reads": [reads], "writes": ["x-added-0"], "add": 1 })
}

#[tokio::test(flavor = "current_thread")]
async fn a_filter_that_reads_the_route_is_asked_about_the_route_that_the_exchange_takes() {
    let moves = |to: &str| attached(&sets("a", Some(to)), Some("ns/a/"), CLOSED);
    for (reads, to, asked) in [
        ("@route.name", "/b/2", 2),
        // The path is another, and the rule is not.
        ("@route.name", "/a/2", 1),
        ("@listener.name", "/b/2", 1),
        (":path", "/b/2", 1),
    ] {
        for reader_first in [true, false] {
            let reader = attached(&counts_calls(reads), None, CLOSED);
            let mut filters = vec![moves(to), router(&RULES)];
            filters.insert(usize::from(!reader_first), reader);
            let world = world(filters);
            let mut state = world.exchange("/a/1");
            forwarded(decided(&mut state).await);
            let seen = state.exchange.headers.get_all("x-added-0").iter().count();
            // Behind the filter that moves it, it is asked once, about the rule that stays.
            assert_eq!(seen, if reader_first { asked } else { 1 }, "{reads} {to} {reader_first}");
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_never_settles_is_refused() {
    let names: Vec<(String, String)> =
        (0..7).map(|n| (format!("/{n}"), format!("ns/{n}/0"))).collect();
    let rules: Vec<(&str, &str)> =
        names.iter().map(|(path, rule)| (path.as_str(), rule.as_str())).collect();
    // Each route's filter sends the exchange on to the next route, whose filter stands before it.
    let mut filters: Vec<Attachment> = (0..6)
        .rev()
        .map(|n| {
            let to = format!("/{}", n + 1);
            attached(&sets(&n.to_string(), Some(&to)), Some(&format!("ns/{n}/")), CLOSED)
        })
        .collect();
    filters.push(router(&rules));
    let world = world(filters);
    assert_eq!(refused(decided(&mut world.exchange("/0")).await).code, "route.unstable");
    assert_eq!(forwarded(decided(&mut world.exchange("/3")).await), 6);
}

#[tokio::test(flavor = "current_thread")]
async fn an_answer_ends_the_way_and_names_its_rule() {
    let filters = vec![
        attached(&sets("first", None), None, CLOSED),
        attached(&json!({ "answer": 403 }), None, CLOSED),
        attached(&sets("never", None), None, CLOSED),
        router(&RULES),
    ];
    let world = world(filters);
    let mut state = world.exchange("/a");
    let said = answered(decided(&mut state).await);
    assert_eq!(said, (403, Some("walk.answer".to_owned())));
    assert_eq!(set_by(&state), ["x-first"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_fault_is_treated_as_its_attachment_says() {
    let undeclared = json!({ "writes": [], "set": [["x-sly", "1"]] });
    for broken in [json!({ "trap": true }), undeclared] {
        for mode in [OnFailure::Closed, OnFailure::Open, OnFailure::SkipAndAlert] {
            let filters = vec![attached(&broken, None, mode), router(&RULES)];
            let world = world(filters);
            let mut state = world.exchange("/a");
            let decided = decided(&mut state).await;
            if mode == CLOSED {
                let refusal = refused(decided);
                assert_eq!((refusal.code, refusal.status), ("filter.failed", 503));
                assert_eq!(state.answered_by.as_ref().map(|slot| slot.number), Some(0));
            } else {
                assert_eq!(forwarded(decided), 0, "{mode:?}");
            }
            assert!(set_by(&state).is_empty(), "edits apply all or none");
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_filter_that_may_not_run_lets_nothing_pass_in_its_scope() {
    let refused_slot = |scope: Option<&str>| Attachment {
        occupant: SlotOccupant::Refused(Refused {
            code: "trust.altered".into(),
            rule: "its digest differs".into(),
            set_by: "shop/all".into(),
            remedy: "pin what was signed".into(),
        }),
        ..attached(&json!({}), scope, CLOSED)
    };
    let world = world(vec![refused_slot(Some("ns/b/")), router(&RULES)]);
    assert_eq!(forwarded(decided(&mut world.exchange("/a")).await), 0);
    let refusal = refused(decided(&mut world.exchange("/b")).await);
    assert_eq!(refusal.code, "filter.refused");
    assert!(refusal.detail.starts_with("trust.altered: "), "{}", refusal.detail);
}

#[tokio::test(flavor = "current_thread")]
async fn without_a_router_or_a_rule_nothing_is_matched() {
    let nowhere = worker(vec![router(&RULES)], ChainLayout::default());
    let found = decided(&mut nowhere.exchange("/a")).await;
    assert!(matches!(found, Ok(Destination::Unmatched)));
    assert_eq!(backend::unmatched(nowhere.chain()).code, "route.none");
    let world = world(vec![router(&RULES)]);
    let found = decided(&mut world.exchange("/c")).await;
    assert!(matches!(found, Ok(Destination::Unmatched)));
    assert_eq!(backend::unmatched(world.chain()).code, "route.unmatched");
}

#[test]
fn the_router_is_asked_again_for_what_it_reads_and_nothing_else() {
    let line = |name: &str| FieldLine { name: name.into(), value: b"1".to_vec() };
    let edits = [
        ("path", Edit::SetPath("/b".into())),
        ("authority", Edit::SetAuthority("b".into())),
        ("set x-a", Edit::SetHeader(line("x-a"))),
        ("add x-a", Edit::AddHeader(line("x-a"))),
        ("remove x-a", Edit::RemoveHeader("x-a".into())),
        ("set x-b", Edit::SetHeader(line("x-b"))),
        ("attribute", Edit::SetAttribute { name: "tier".into(), value: "1".into() }),
    ];
    let rows: [(&[&str], &[&str]); 6] = [
        (&[":path"], &["path"]),
        (&[":authority"], &["authority"]),
        (&["x-a"], &["set x-a", "add x-a", "remove x-a"]),
        (&["*"], &["set x-a", "add x-a", "remove x-a", "set x-b"]),
        (&["@tier"], &["attribute"]),
        (&[":method", "@other"], &[]),
    ];
    for (reads, touched) in rows {
        let routing = json!({ "reads": reads, "rules": [["/", "ns/all/0"]] });
        let world = world(vec![attached(&routing, None, CLOSED)]);
        let found: Vec<&str> = edits
            .iter()
            .filter(|(_, edit)| world.chain().routers_read(std::slice::from_ref(edit)))
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(found, touched, "{reads:?}");
        assert!(!world.chain().routers_read(&[]));
    }
    let nobody = worker(vec![router(&RULES)], ChainLayout::default());
    assert!(!nobody.chain().routers_read(&[Edit::SetPath("/b".into())]));
}

#[test]
fn an_answer_below_400_such_as_a_redirect_refuses_nobody() {
    for (status, refuses) in [
        (200, false),
        (204, false),
        (302, false),
        (399, false),
        (400, true),
        (403, true),
        (503, true),
    ] {
        let world = world(vec![router(&RULES)]);
        let mut state = world.exchange("/a");
        let reply = Reply { status, headers: Vec::new(), body: Vec::new() };
        let slot = Rc::clone(&world.chain().slots[0]);
        let stop = ExchangeStop::Answered(FilterAnswer { slot, reply, reason: None });
        let answered = stop.response(&mut state, Reasons::Show);
        assert_eq!(answered.status().as_u16(), status);
        assert_eq!(state.outcome.contains(Outcome::REFUSED_BY_FILTER), refuses, "{status}");
        assert!(state.answered_by.is_some(), "{status}: the record names who answered");
    }
}

#[test]
fn a_router_extends_another_and_leaves_open_what_it_does_not_match() {
    let rules = |rules: Value| json!({ "reads": [":path"], "rules": rules, "timeout_ms": 5_000 });
    let set = |name: &str| json!({ "writes": [name], "response_set": [[name, "1"]] });
    let named = |name: &str, config: &Value, scope| Attachment {
        name: format!("test/{name}"),
        ..attached(config, scope, OnFailure::Closed)
    };
    let extension = |extends, extend| {
        let mut config = rules(json!([["/a/canary", "own/canary/0"], ["/x", "own/x/0"]]));
        config["extend"] = json!(extend);
        Attachment { extends, ..named("extension", &config, None) }
    };
    let base = || named("base", &rules(json!([["/a", "ns/a/0"], ["/b", "ns/b/0"]])), None);
    let marks = || {
        [
            named("marks-a", &set("x-base"), Some("ns/a/")),
            named("marks-own", &set("x-own"), Some("own/canary/")),
        ]
    };
    for (routers, answers) in [
        // The extension comes first, in whatever order they are attached.
        (vec![extension(true, true), base()], [200, 200, 200, 200, 404]),
        (vec![base(), extension(true, true)], [200, 200, 200, 200, 404]),
        // One that leaves nothing open, and one that has nobody to leave it to.
        (vec![base(), extension(true, false)], [404, 404, 200, 200, 404]),
        (vec![extension(true, true)], [404, 404, 200, 200, 404]),
        // Nobody said that it may: what it leaves open is unmatched.
        (vec![extension(false, true)], [404, 404, 200, 200, 404]),
    ] {
        let filters = marks().into_iter().chain(routers).collect();
        let live = live::LiveProxy::start(filters, ProxyOptions::default());
        let mut client = live.client();
        for (path, status) in ["/a/1", "/b", "/a/canary", "/x", "/none"].into_iter().zip(answers) {
            let (came, head, _) = client.ask(path, &[]);
            assert_eq!(came, status, "{path}: {head}");
            let base = path == "/a/1" && status == 200;
            assert_eq!(head.contains("x-base: 1"), base, "{path}: {head}");
            assert_eq!(head.contains("x-own: 1"), path == "/a/canary", "{path}: {head}");
        }
    }
}

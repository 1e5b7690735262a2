//! One bad thing in one place, in every place: what it costs, and that nobody else is touched.

use crate::guests::{GuestOptions, given, rogue, view};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tamis_engine::{
    CallFault, EndpointState, EngineError, FetchFuture, FetchRequest, FetchResponse, Filter,
    HttpClientGrant, HttpFetch, Instance, Latencies, MAX_WAITING,
};
use tamis_exchange::{
    Cause, Circuit, Exchange, Failure, HeadSide, KeptFields, NameKind, Verdict, Window, apply,
    check,
};

fn configuration(at: &str, does: &str) -> String {
    format!(r#"{{"at":"{at}","do":"{does}","reads":[":path"],"writes":["*",":path","@*"]}}"#)
}

/// Time enough that the fault itself is what ends the call, and nothing is slow but what is meant to be.
fn patient() -> GuestOptions {
    let mut given = given();
    given.grant.limits.time_us = 2_000_000;
    given
}

fn made(given: &GuestOptions, at: &str, does: &str) -> Result<Filter, EngineError> {
    given.filter(rogue(), &configuration(at, does))
}

/// Every function that the host asks once a filter serves.
const HOOKS: [&str; 13] = [
    "on-request",
    "on-request-body",
    "on-response",
    "on-response-body",
    "on-route",
    "on-failure",
    "plan",
    "evaluate",
    "weigh",
    "on-names",
    "on-exchanges",
    "on-connection",
    "on-tick",
];

/// Asks a hook for something, in an exchange of that number.
fn ask(instance: &mut Instance, hook: &str, exchange: u64) -> Result<(), CallFault> {
    let filter = instance.filter().clone();
    let seen = view(filter.reads(), exchange, "/a");
    match hook {
        "on-request" => instance.on_request(&seen).map(drop),
        "on-request-body" => instance.on_request_body(&seen, b"body", true).map(drop),
        "on-response" => instance.on_response(&seen).map(drop),
        "on-response-body" => instance.on_response_body(&seen, b"body", true).map(drop),
        "on-route" => instance.on_route(&seen).map(drop),
        "on-failure" => {
            let failure = Failure {
                rule: 0,
                attempt: 1,
                cause: Cause::Reset,
                status: 0,
                grpc_status: None,
                elapsed_ms: 1,
                remaining_ms: 0,
                idempotent: true,
                replayable: true,
                retry_after_ms: None,
                budget_left: 1,
            };
            instance.on_failure(&failure, &seen).map(drop)
        }
        "plan" => instance.hedge(&Latencies::default()).map(drop),
        "evaluate" => instance.evaluate(0, Some(0), &Window::default(), Circuit::Closed).map(drop),
        "weigh" => instance.weigh(0, &[EndpointState::default()]).map(drop),
        "on-names" => instance.on_names(NameKind::Rule, 0, &["a".to_owned()]),
        "on-exchanges" => instance.on_exchanges(&[], &KeptFields::default()),
        "on-connection" => instance.on_connection(&seen).map(drop),
        "on-tick" => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(instance.on_tick()).map(drop)
        }
        other => panic!("no hook {other}"),
    }
}

/// Asks again as long as the next instance is being made.
fn asked(instance: &mut Instance, hook: &str, exchange: u64) -> Result<(), CallFault> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match ask(instance, hook, exchange) {
            Err(CallFault::Remaking) if Instant::now() < until => std::thread::yield_now(),
            answer => return answer,
        }
    }
}

/// What comes of a bad thing in a hook: the first question is as good as the self-test's, the second is not.
fn fault(given: &GuestOptions, hook: &str, does: &str) -> Result<(), CallFault> {
    let filter = made(given, hook, does).unwrap_or_else(|error| panic!("{hook} {does}: {error}"));
    let mut instance = filter.instantiate().unwrap();
    asked(&mut instance, hook, 0).unwrap_or_else(|fault| panic!("{hook} {does} first: {fault}"));
    let answer = asked(&mut instance, hook, 1);
    // A balancer knows no exchange, and an instance that answers wrongly lives on and does so again.
    if answer.is_err() && hook != "weigh" {
        let again = asked(&mut instance, hook, 0);
        assert_eq!(again, Ok(()), "{hook} {does}: the next instance is as good as new");
    }
    answer
}

#[test]
fn every_hook_is_ended_in_every_way_that_a_filter_ends_badly() {
    for hook in HOOKS {
        for (does, kind) in [
            ("trap", "trap"),
            ("trap-in-drop", "trap"),
            ("recurse", "stack"),
            ("grow", "memory"),
            ("handles", "bad-answer"),
            ("secret-handles", "bad-answer"),
        ] {
            // Each has a breaker of its own.
            let fault = fault(&patient(), hook, does).unwrap_err();
            assert_eq!(fault.kind(), kind, "{hook} {does}: {fault}");
        }
    }
}

#[test]
fn no_hook_waits_for_configure_after_a_fault_of_any_hook() {
    for hook in HOOKS {
        let mut given = patient();
        given.grant.limits.configure_us = 60_000_000;
        let config =
            format!(r#"{{"at":"{hook}","do":"trap","reads":[":path"],"writes":[],"slowly":true}}"#);
        let began = Instant::now();
        let filter = given.filter(rogue(), &config).unwrap();
        // It was configured at least twice meanwhile, once for its self-test.
        let dear = began.elapsed() / 4;
        let mut instance = filter.instance();
        asked(&mut instance, hook, 0).unwrap();
        assert_eq!(asked(&mut instance, hook, 1).unwrap_err().kind(), "trap", "{hook}");
        let began = Instant::now();
        // Whichever hook comes next: it is refused at once while the next instance is made elsewhere.
        let kinds: Vec<_> = HOOKS
            .iter()
            .filter(|next| **next != "on-tick")
            .map(|next| ask(&mut instance, next, 0).err().map(|fault| fault.kind()))
            .collect();
        assert!(began.elapsed() < dear, "{hook}: {:?} of {dear:?}", began.elapsed());
        assert_eq!(kinds[0], Some("remaking"), "{hook}: {kinds:?}");
        let quiet = kinds.iter().all(|kind| matches!(kind, None | Some("remaking")));
        assert!(quiet, "{hook}: {kinds:?}");
    }
}

/// Answers every request at once, which a guest can tell from a refusal.
struct Ready;

impl HttpFetch for Ready {
    fn fetch(&self, _: FetchRequest) -> FetchFuture {
        Box::pin(async { Ok(FetchResponse { status: 200, headers: vec![], body: vec![] }) })
    }
}

/// Calls a hook in the way that waits for what it sends; `None`: no call of it ever does.
fn ask_waiting(
    instance: &mut Instance,
    hook: &str,
    exchange: u64,
) -> Option<Result<(), CallFault>> {
    let filter = instance.filter().clone();
    let seen = view(filter.reads(), exchange, "/a");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Some(match hook {
        "on-request" => runtime.block_on(instance.on_request_async(&seen)).map(drop),
        "on-request-body" => {
            runtime.block_on(instance.on_request_body_async(&seen, b"body")).map(drop)
        }
        "on-response" => runtime.block_on(instance.on_response_async(&seen)).map(drop),
        "on-response-body" => {
            runtime.block_on(instance.on_response_body_async(&seen, b"body")).map(drop)
        }
        "on-route" => runtime.block_on(instance.on_route_async(&seen)).map(drop),
        "on-tick" => runtime.block_on(instance.on_tick()).map(drop),
        _ => return None,
    })
}

#[test]
fn a_hook_that_may_not_call_out_is_told_which_hooks_may_and_one_that_may_gets_its_answer() {
    let others = ["router", "request-body", "response", "response-body"];
    for (during_requests, hooks) in
        [(false, &[][..]), (true, &[]), (false, &others), (true, &["response"]), (true, &others)]
    {
        for hook in HOOKS {
            let named = match hook {
                "on-request" => during_requests,
                "on-tick" => true,
                "on-route" => hooks.contains(&"router"),
                other => other.strip_prefix("on-").is_some_and(|name| hooks.contains(&name)),
            };
            let mut given = GuestOptions { fetch: Some(Arc::new(Ready)), ..patient() };
            given.grant.imports.http_client = Some(HttpClientGrant {
                hosts: vec!["idp.example".into()],
                during_requests,
                hooks: hooks.iter().map(|hook| (*hook).to_owned()).collect(),
                ..HttpClientGrant::default()
            });
            let row = format!("{hook}, {during_requests}, {hooks:?}");
            if named {
                let filter = made(&given, hook, "send-said").unwrap();
                let mut instance = filter.instantiate().unwrap();
                assert_eq!(ask_waiting(&mut instance, hook, 0).unwrap(), Ok(()), "{row}");
                // It says why nothing came; here something did.
                let said = ask_waiting(&mut instance, hook, 1).unwrap().unwrap_err().to_string();
                assert!(said.contains("None"), "{row}: {said}");
                continue;
            }
            let said = fault(&given, hook, "send-said").unwrap_err().to_string();
            let parts = match hook {
                "on-request" => ["`on-request`", "imports.http-client.duringRequests: true"],
                "on-route" => ["`router`", "`imports.http-client.hooks`"],
                "on-request-body" => ["`request-body`", "`imports.http-client.hooks`"],
                "on-response" => ["`response`", "`imports.http-client.hooks`"],
                "on-response-body" => ["`response-body`", "`imports.http-client.hooks`"],
                _ => ["no Grant can let", "send them in `on-tick`"],
            };
            for part in parts {
                assert!(said.contains(part), "{row}: {part}: {said}");
            }
        }
    }
}

#[test]
fn no_more_calls_wait_than_the_grant_says() {
    for (concurrent, most) in [(1, 1), (3, 3), (64, MAX_WAITING), (1_000, MAX_WAITING)] {
        let mut given = GuestOptions { fetch: Some(Arc::new(Ready)), ..patient() };
        given.grant.imports.http_client =
            Some(HttpClientGrant { concurrent, ..HttpClientGrant::default() });
        if concurrent > 64 {
            let error = made(&given, "on-request", "loop").unwrap_err().to_string();
            assert!(error.contains("http-client.concurrent"), "{error}");
            continue;
        }
        let filter = made(&given, "on-request", "loop").unwrap();
        let places: Vec<_> = (0..most).map(|_| filter.wait().unwrap()).collect();
        assert!(filter.wait().is_err(), "{concurrent}");
        drop(places);
        assert!(filter.wait().is_ok(), "{concurrent}");
    }
}

#[test]
fn no_hook_runs_longer_than_it_may() {
    for hook in HOOKS {
        let filter = made(&given(), hook, "loop").unwrap();
        let mut instance = filter.instantiate().unwrap();
        asked(&mut instance, hook, 0).unwrap();
        let fault = asked(&mut instance, hook, 1).unwrap_err();
        assert_eq!(fault, CallFault::Deadline { limit_us: 5_000 }, "{hook}");
    }
}

#[test]
fn what_the_host_does_for_a_filter_is_bounded_like_what_it_does_itself() {
    let given = patient();
    // The host hashes in time that nothing interrupts, so what it is given at once is bounded.
    let flooded = fault(&given, "on-request", "hash-flood").unwrap_err();
    assert_eq!(flooded.kind(), "bad-answer", "{flooded}");
    for does in ["log-flood", "kv-flood", "spans-flood", "define-late"] {
        assert_eq!(fault(&given, "on-request", does), Ok(()), "{does}");
    }
    let flooded = fault(&given, "on-request", "series-flood").unwrap_err();
    assert!(flooded.to_string().contains("too many series handles"), "{flooded}");
    let series = given.metrics.render().matches("rogue_total{").count();
    assert!(series <= 1_001, "{series}");
}

#[test]
fn an_answer_that_lies_about_itself_is_a_fault() {
    for (hook, does, part) in [
        ("on-request", "reply-beyond", ""),
        ("on-request", "reply-64k-headers", "512 headers"),
        ("on-request", "reply-huge", ""),
        ("on-request", "reply-0", "status 0"),
        ("on-request", "reply-65535", "status 65535"),
        ("on-request", "no-utf8", "utf-8"),
        ("on-request", "long-reason", "reason"),
        ("on-request", "reason-no-utf8", "utf-8"),
        ("on-response", "reply-beyond", ""),
        ("on-response", "no-utf8", "utf-8"),
        ("on-request-body", "replace-beyond", ""),
        ("on-request-body", "replace-huge", "limits.body"),
        ("on-request-body", "reply-beyond", ""),
        ("on-response-body", "replace-beyond", ""),
        ("on-response-body", "replace-huge", "limits.body"),
        ("on-response-body", "reply-0", "status 0"),
        ("on-route", "reply-beyond", ""),
        ("on-route", "reply-0", "status 0"),
        ("on-route", "rule-beyond", "beyond `backends` or `rules`"),
        ("on-route", "backend-beyond", "beyond `backends` or `rules`"),
        ("on-route", "mirror-beyond", "beyond `backends` or `rules`"),
        ("on-route", "mirrors", "at most 8"),
        ("weigh", "many", "weights for 1 endpoints"),
        ("weigh", "none", "weights for 1 endpoints"),
    ] {
        let fault = fault(&patient(), hook, does).unwrap_err();
        assert_eq!(fault.kind(), "bad-answer", "{hook} {does}: {fault}");
        assert!(fault.to_string().contains(part), "{hook} {does}: {fault}");
        assert!(fault.to_string().len() < 2_048, "{hook} {does}");
    }
}

#[test]
fn an_edit_that_is_none_of_the_filters_is_refused_whatever_it_is_called() {
    let given = patient();
    for does in ["many-edits", "odd-names", "odd-values", "overlapping", "facts"] {
        for (hook, side) in [("on-request", HeadSide::Request), ("on-response", HeadSide::Response)]
        {
            let filter = made(&given, hook, does).unwrap();
            let mut instance = filter.instantiate().unwrap();
            let seen = view(filter.reads(), 1, "/a");
            let decision = match hook {
                "on-request" => instance.on_request(&seen),
                _ => instance.on_response(&seen),
            };
            let Verdict::Change(edits) = decision.unwrap().verdict else { panic!("{does}") };
            assert!(!edits.is_empty(), "{does}");
            if does == "many-edits" {
                assert!(check(&edits, filter.writes(), side).is_err());
                continue;
            }
            // Each alone, so that no one hides behind another.
            for edit in edits {
                let one = [edit];
                let mut exchange = Exchange {
                    id: 1,
                    method: http::Method::GET,
                    scheme: tamis_exchange::Scheme::Http,
                    authority: "a".into(),
                    path: "/".into(),
                    headers: http::HeaderMap::new(),
                    status: None,
                    response_headers: http::HeaderMap::new(),
                    attributes: Default::default(),
                    bounds: Default::default(),
                    coding: None,
                };
                let done = check(&one, filter.writes(), side)
                    .and_then(|()| apply(&one, filter.writes(), &mut exchange, side));
                match does {
                    "overlapping" => {
                        let (fields, octets) = tamis_exchange::head_size(&exchange.headers);
                        assert!(fields <= 1 && octets <= 128 * 1024);
                    }
                    _ => assert!(done.is_err(), "{does}: {one:?}"),
                }
            }
        }
    }
}

#[test]
fn what_is_declared_badly_never_serves_and_is_said_in_plain_words() {
    let mut given = given();
    given.grant.limits.configure_us = 200_000;
    for (at, does, code, part) in [
        ("validate", "loop", "filter.selftest", "`validate`: it ran longer than"),
        ("validate", "trap", "filter.selftest", "`validate`"),
        ("validate", "grow", "filter.selftest", "`validate`: it needed more than"),
        ("validate", "import", "filter.selftest", "`validate`"),
        ("validate", "many-errors", "filter.configure", "/\\u{1b}[2J: m\\n\\u{202e}m"),
        ("configure", "loop", "filter.selftest", "`configure`: it ran longer than"),
        ("configure", "trap", "filter.selftest", "`configure`"),
        ("configure", "grow", "filter.selftest", "`configure`: it needed more than"),
        ("configure", "send", "filter.selftest", "`configure`"),
        ("configure", "reads-1000", "filter.configure", "1000 names; at most 256"),
        ("configure", "writes-1000", "filter.configure", "1000 names; at most 256"),
        ("configure", "writes-control", "filter.configure", "x\\u{1b}[2J"),
        ("backends", "many", "filter.configure", "20000 names"),
        ("backends", "long", "filter.configure", "2000 bytes"),
        ("backends", "control", "filter.configure", "a/b\\n:1"),
        ("rules", "many", "filter.configure", "20000 names"),
        ("rules", "long", "filter.configure", "2000 bytes"),
        ("rules", "control", "filter.configure", "r\\u{1b}[2J"),
        ("rules", "no-utf8", "filter.selftest", "utf-8"),
        ("failing-statuses", "many", "filter.configure", "failing statuses"),
    ] {
        let error = made(&given, at, does).unwrap_err();
        let said = error.to_string();
        assert_eq!(error.code(), code, "{at} {does}: {said}");
        assert!(said.contains(part), "{at} {does}: {said}");
        assert!(said.len() < 64 * 1024, "{at} {does}: {} octets", said.len());
        assert!(!said.chars().any(|one| one.is_control() && one != '\n'), "{at} {does}: {said:?}");
        if let EngineError::Configure { errors, .. } = error {
            assert!(errors.len() <= 32, "{at} {does}");
            let longest = errors.iter().map(|(pointer, message)| pointer.len() + message.len());
            assert!(longest.max().unwrap_or(0) < 16 * 1024, "{at} {does}");
        }
    }
}

#[test]
fn metrics_of_a_filter_are_no_others_and_have_their_room() {
    let given = patient();
    let host =
        given.metrics.define(tamis_observe::MetricKind::Gauge, "tamis_ready", "Whether.", &[]);
    host.unwrap().series(&[]).set(1.0);
    made(&given, "configure", "squat").unwrap();
    let text = given.metrics.render();
    assert!(text.contains("\ntamis_ready 1\n"), "{text}");
    for line in text.lines().filter(|line| line.contains("666")) {
        assert!(line.starts_with("test__guest__"), "{line}");
    }
    made(&given, "configure", "metrics-flood").unwrap();
    let families = given.metrics.render().len();
    assert!(families <= 16 << 20, "{families}");
}

#[test]
fn a_secret_that_is_not_granted_is_not_opened_by_any_name() {
    let mut given = patient();
    let values = [("db", "hunter2"), ("other", "x"), ("", "y")];
    let values = values.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let secrets = tamis_engine::Secrets::new(values.into());
    let state = tamis_engine::FilterState::new(Arc::clone(&given.metrics));
    given.state = Arc::new(state.with_secrets(secrets));
    let fault = fault(&given, "on-request", "secrets-of-others").unwrap_err();
    // It panics once it was refused all of them.
    assert_eq!(fault.kind(), "trap", "{fault}");
}

#[tokio::test]
async fn a_request_reaches_the_host_that_was_granted_and_by_no_spelling_another() {
    let mut given = patient();
    given.fetch = Some(Arc::new(Ready));
    given.grant.imports.http_client = Some(HttpClientGrant {
        hosts: vec!["idp.example".into()],
        during_requests: true,
        per_minute: 1_000,
        clear_text: true,
        ..Default::default()
    });
    given.grant.imports.log = Some(Default::default());
    let filter = made(&given, "on-request", "reach").unwrap();
    let mut instance = filter.instantiate().unwrap();
    let seen = view(filter.reads(), 1, "/a");
    let fault = instance.on_request_async(&seen).await.unwrap_err();
    // `Exhausted` is not `Denied`: none of them was even counted as a request.
    assert_eq!(fault.kind(), "trap", "{fault}");
    let text = fault.to_string();
    assert!(!text.contains("was sent"), "{text}");
}

/// What waits gets its time again after each response. What is refused waits for nothing, and there is no end of it.
#[tokio::test]
async fn a_guest_that_asks_for_what_it_may_not_send_has_the_time_of_one_call() {
    for does in ["send-what-is-denied", "send-what-is-malformed", "send-for-ever"] {
        for per_minute in [0, 3, 1_000] {
            let mut given = given();
            given.fetch = Some(Arc::new(Ready));
            given.grant.imports.http_client = Some(HttpClientGrant {
                hosts: vec!["idp.example".into()],
                during_requests: true,
                per_minute,
                ..Default::default()
            });
            for hook in ["on-request", "on-tick"] {
                let filter = made(&given, hook, does).unwrap();
                let mut instance = filter.instantiate().unwrap();
                let seen = view(filter.reads(), 1, "/a");
                let fault = match hook {
                    "on-request" => instance.on_request_async(&seen).await.unwrap_err(),
                    // The first tick is the self-test's.
                    _ => match instance.on_tick().await {
                        Ok(_) => instance.on_tick().await.unwrap_err(),
                        Err(fault) => fault,
                    },
                };
                let is_over = matches!(fault, CallFault::Deadline { .. });
                assert!(is_over, "{hook} {does} {per_minute}: {fault}");
            }
        }
    }
}

#[test]
fn calls_that_wait_take_no_more_than_their_part_of_what_all_share() {
    let given = given();
    let filter = made(&given, "on-request", "nothing").unwrap();
    let other = filter.clone();
    let mut places: Vec<_> = (0..MAX_WAITING).map(|_| filter.wait().unwrap()).collect();
    assert!(matches!(other.wait(), Err(CallFault::Instantiate(why)) if why.contains("waiting")));
    places.pop();
    assert!(other.wait().is_ok());
}

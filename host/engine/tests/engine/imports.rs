//! Capabilities as a guest uses them.

use crate::guests::{GuestOptions, behaviour, given, view};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tamis_engine::{
    BreakerStatus, FetchFuture, FetchRequest, FetchResponse, Filter, Hook, HttpClientGrant,
    HttpFetch, Isolation,
};
use tamis_exchange::{Decision, Verdict};

fn body(decision: Decision) -> Vec<u8> {
    match decision.verdict {
        Verdict::Answer(reply) => reply.body,
        other => panic!("no answer but {other:?}"),
    }
}

#[test]
fn the_inspection_names_hooks_and_imports() {
    let inspection = behaviour().inspection();
    assert_eq!(inspection.hooks, [Hook::Request, Hook::Tick]);
    for import in ["log", "metrics", "kv", "http-client", "clock"] {
        assert!(inspection.imports(import), "{import} in {:?}", inspection.imports);
    }
    assert!(inspection.wasi.is_empty());
}

#[test]
fn verdicts_come_back_as_values() {
    let filter = given().does("edit").unwrap();
    let mut instance = filter.instantiate().unwrap();
    let decision = instance.on_request(&view(filter.reads(), 1, "/pay?x=1")).unwrap();
    assert_eq!(decision.reason.as_deref(), Some("guest.edit"));
    let Verdict::Change(edits) = &decision.verdict else { panic!("{decision:?}") };
    assert_eq!(format!("{edits:?}").matches("x-path").count(), 1);
    tamis_exchange::check(edits, filter.writes(), tamis_exchange::HeadSide::Request).unwrap();

    let filter = given().does("answer").unwrap();
    let decision = filter.instantiate().unwrap().on_request(&view(filter.reads(), 1, "/")).unwrap();
    assert_eq!(decision.reason.as_deref(), Some("guest.no"));
    assert_eq!(body(decision), b"no");
}

#[test]
fn host_state_outlives_instances_and_generations_and_self_tests_leave_no_trace() {
    let given = given();
    let count = |filter: &Filter| {
        let mut instance = filter.instantiate().unwrap();
        body(instance.on_request(&view(filter.reads(), 1, "/")).unwrap())
    };
    let first = given.does("count").unwrap();
    assert_eq!((count(&first), count(&first)), (vec![1, 1], vec![2, 1]));
    let next = given.does("count").unwrap();
    assert_eq!(count(&next), [3, 1]);
    let text = given.metrics.render();
    assert!(text.contains("test__guest__guest_total{path=\"/\"} 3"), "{text}");
}

#[test]
fn a_shadow_sees_the_values_of_its_filter_and_leaves_no_trace() {
    let given = given();
    let count = |filter: &Filter| {
        let mut instance = filter.instantiate().unwrap();
        body(instance.on_request(&view(filter.reads(), 1, "/")).unwrap())
    };
    let (filter, shadow) = (given.does("count").unwrap(), given.shadow_does("count").unwrap());
    assert_eq!(count(&filter), [1, 1]);
    assert_eq!((count(&shadow), count(&shadow)), (vec![2, 1], vec![3, 1]), "it has its own now");
    assert_eq!(count(&filter), [2, 1]);
    let text = given.metrics.render();
    assert!(text.contains("test__guest__guest_total{path=\"/\"} 2"), "{text}");
    let (shown, hidden) = (given.state.statistics(), shadow.state().statistics());
    assert_eq!((shown.hooks[0].calls, hidden.hooks[0].calls), (2, 2));
}

#[test]
fn faults_of_a_shadow_open_no_breaker_but_its_own() {
    let given = given();
    let (filter, shadow) = (given.does("edit").unwrap(), given.shadow_does("trap").unwrap());
    let mut instance = shadow.instantiate().unwrap();
    // Meanwhile the next instance may not be ready yet.
    while shadow.state().statistics().breaker != BreakerStatus::Open {
        instance.on_request(&view(shadow.reads(), 1, "/")).unwrap_err();
    }
    assert_eq!(given.state.statistics().breaker, BreakerStatus::Closed);
    filter.instantiate().unwrap().on_request(&view(filter.reads(), 1, "/")).unwrap();
}

#[test]
fn a_shadow_sends_nothing_and_says_that_it_would_have_waited() {
    for during_requests in [true, false] {
        let (given, slow) = fetching(during_requests);
        let shadow = given.shadow_does("fetch").unwrap();
        assert!(!shadow.suspends(Hook::Request));
        let mut instance = shadow.instantiate().unwrap();
        instance.on_request(&view(shadow.reads(), 1, "/")).unwrap();
        assert_eq!(instance.would_wait(Hook::Request), during_requests);
        assert!(slow.0.lock().unwrap().is_empty());
        let passing = given.shadow_does("pass").unwrap();
        let mut instance = passing.instantiate().unwrap();
        instance.on_request(&view(passing.reads(), 1, "/")).unwrap();
        assert!(!instance.would_wait(Hook::Request));
    }
}

#[test]
fn request_isolation_gives_every_exchange_its_own_instance() {
    let given = GuestOptions { isolation: Isolation::Request, ..given() };
    let filter = given.does("count").unwrap();
    let mut instance = filter.instantiate().unwrap();
    let mut calls = |id| body(instance.on_request(&view(filter.reads(), id, "/")).unwrap())[1];
    assert_eq!((calls(1), calls(2), calls(2)), (1, 1, 2));
}

/// Answers after a while and records the requests.
struct SlowServer(Mutex<Vec<FetchRequest>>);

impl HttpFetch for SlowServer {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        self.0.lock().unwrap().push(request);
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(FetchResponse { status: 200, headers: vec![], body: b"keys".to_vec() })
        })
    }
}

fn fetching(during_requests: bool) -> (GuestOptions, Arc<SlowServer>) {
    let slow = Arc::new(SlowServer(Mutex::default()));
    let mut given = GuestOptions { fetch: Some(slow.clone()), ..given() };
    given.grant.imports.http_client = Some(HttpClientGrant {
        hosts: vec!["idp.example".into()],
        during_requests,
        ..HttpClientGrant::default()
    });
    (given, slow)
}

#[tokio::test]
async fn a_tick_may_wait_longer_than_a_call_may_compute() {
    let (given, slow) = fetching(false);
    let filter = given.does("fetch").unwrap();
    assert!(slow.0.lock().unwrap().is_empty(), "a self-test sends nothing");
    let mut instance = filter.instantiate().unwrap();
    assert_eq!(instance.on_tick().await, Ok(Some(100)), "at least 100 ms");
    let sent = slow.0.lock().unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].timeout, Duration::from_secs(1));
}

#[tokio::test]
async fn hooks_call_out_only_when_the_grant_says_so() {
    let (given, _) = fetching(false);
    let filter = given.does("fetch").unwrap();
    let seen = view(filter.reads(), 1, "/");
    assert!(!filter.suspends(Hook::Request));
    let mut instance = filter.instantiate().unwrap();
    let answer = String::from_utf8(body(instance.on_request(&seen).unwrap())).unwrap();
    assert!(answer.contains("duringRequests"), "{answer}");

    let (given, _) = fetching(true);
    let filter = given.does("fetch").unwrap();
    assert!(filter.suspends(Hook::Request));
    let mut instance = filter.instantiate().unwrap();
    assert_eq!(body(instance.on_request_async(&seen).await.unwrap()), b"200 keys");
}

#[tokio::test]
async fn clear_text_is_sent_where_the_grant_allows_it_and_nowhere_else() {
    for (clear_text, hosts, what, sent) in [
        (false, "idp.example", "fetch", true),
        (true, "idp.example", "fetch", true),
        (true, "idp.example", "fetch-clear", true),
        (false, "idp.example", "fetch-clear", false),
        (true, "other.example", "fetch-clear", false),
    ] {
        let (mut given, slow) = fetching(true);
        let client = given.grant.imports.http_client.as_mut().unwrap();
        (client.clear_text, client.hosts) = (clear_text, vec![hosts.into()]);
        let filter = given.does(what).unwrap();
        let mut instance = filter.instantiate().unwrap();
        let answer = instance.on_request_async(&view(filter.reads(), 1, "/")).await.unwrap();
        let answer = String::from_utf8(body(answer)).unwrap();
        let row = format!("{what}, clear text {clear_text}, {hosts}: {answer}");
        assert_eq!(answer == "200 keys", sent, "{row}");
        assert_eq!(slow.0.lock().unwrap().len(), usize::from(sent), "{row}");
        if !sent && !clear_text {
            assert!(answer.contains("imports.http-client.clearText: true"), "{row}");
        }
    }
}

#[tokio::test]
async fn a_call_dropped_while_it_waits_costs_that_instance_alone() {
    let (given, slow) = fetching(true);
    let filter = given.does("fetch").unwrap();
    let seen = view(filter.reads(), 1, "/");
    let mut instance = filter.instantiate().unwrap();
    // One complete call first: the instance that may suspend is made meanwhile.
    assert_eq!(body(instance.on_request_async(&seen).await.unwrap()), b"200 keys");
    let cut =
        tokio::time::timeout(Duration::from_millis(15), instance.on_request_async(&seen)).await;
    assert!(cut.is_err());
    assert_eq!(body(instance.on_request_async(&seen).await.unwrap()), b"200 keys");
    assert_eq!(slow.0.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn the_time_of_calls_that_wait_is_measured_without_their_waiting() {
    let (given, _) = fetching(true);
    let filter = given.does("fetch").unwrap();
    let mut instance = filter.instantiate().unwrap();
    for id in 1..=3 {
        instance.on_request_async(&view(filter.reads(), id, "/")).await.unwrap();
    }
    let numbers = given.state.statistics();
    let hook = numbers.hooks.iter().find(|numbers| numbers.hook == Hook::Request).unwrap();
    assert_eq!(hook.calls, 3);
    assert!(hook.mean_ns > 0 && hook.mean_ns < 30_000_000, "{} ns", hook.mean_ns);
}

#[tokio::test]
async fn a_host_that_was_not_granted_is_never_asked() {
    let (mut given, slow) = fetching(true);
    given.grant.imports.http_client.as_mut().unwrap().hosts = vec!["other.example".into()];
    let filter = given.does("fetch").unwrap();
    let mut instance = filter.instantiate().unwrap();
    let answer = instance.on_request_async(&view(filter.reads(), 1, "/")).await.unwrap();
    assert!(String::from_utf8(body(answer)).unwrap().contains("idp.example"));
    assert!(slow.0.lock().unwrap().is_empty());
}

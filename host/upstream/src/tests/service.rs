//! What callers see of a service: circuits, limits, generations.

use super::server::http1;
use super::*;
use crate::PickFailure;
use std::net::SocketAddr;
use tamis_exchange::Circuit;

fn at(port: u16) -> EndpointTarget {
    EndpointTarget::Address(SocketAddr::from(([127, 0, 0, 1], port)).into())
}

async fn failed_ask(upstream: &Rc<Upstream>) -> crate::BreakerQuestion {
    attempt(upstream).await.record(AttemptOutcome::Failure).expect("a failure asks")
}

/// The question of a circuit that has expired.
async fn ask(upstream: &Rc<Upstream>) -> crate::BreakerQuestion {
    match upstream.pick(&[], None).await {
        Ok(Pick::Ask(ask)) => ask,
        Ok(Pick::Attempt(_)) => panic!("the circuit is not open"),
        Err(failure) => panic!("{failure}"),
    }
}

async fn is_open(upstream: &Rc<Upstream>) -> bool {
    matches!(upstream.pick(&[], None).await, Err(PickFailure::CircuitOpen { .. }))
}

#[tokio::test]
async fn an_endpoint_goes_through_its_circuit() {
    on_worker(async {
        let time = ManualTime::new();
        let (_worker, upstream) = worker_at(time, config(Protocol::Http1, [at(1)]));
        let question = failed_ask(&upstream).await;
        assert_eq!(question.circuit(), Circuit::Closed);
        assert_eq!((question.service(), question.endpoint()), ("shop/pay:80", "127.0.0.1:1"));
        assert_eq!(question.window().consecutive_failures, 1);
        question.answer(Circuit::Open(60_000));
        time.advance(Duration::from_millis(20_000));
        let Err(PickFailure::CircuitOpen { retry_in_ms }) = upstream.pick(&[], None).await else {
            panic!("it is open")
        };
        assert_eq!(retry_in_ms, 40_000);
    })
    .await;
}

#[tokio::test]
async fn an_expired_circuit_asks_one_and_probes_are_counted() {
    on_worker(async {
        let time = ManualTime::new();
        let (_worker, upstream) = worker_at(time, config(Protocol::Http1, [at(1)]));
        failed_ask(&upstream).await.answer(Circuit::Open(1_000));
        time.advance(Duration::from_millis(999));
        assert!(is_open(&upstream).await, "a millisecond early");
        time.advance(Duration::from_millis(1));
        let question = ask(&upstream).await;
        assert_eq!(question.circuit(), Circuit::Open(0));
        assert!(
            matches!(upstream.pick(&[], None).await, Err(PickFailure::CircuitOpen { .. })),
            "one asks at a time"
        );
        question.answer(Circuit::HalfOpen(2));
        let (mut one, other) = (attempt(&upstream).await, attempt(&upstream).await);
        assert!(matches!(upstream.pick(&[], None).await, Err(PickFailure::CircuitOpen { .. })));
        drop(other);
        let mut other = attempt(&upstream).await;
        let question = one.record(AttemptOutcome::Success).expect("each probe asks");
        assert_eq!(question.window().successes, 1, "a new window began");
        let left = question.circuit();
        assert_eq!(left, Circuit::HalfOpen(0));
        question.answer(left);
        other.record(AttemptOutcome::Success).expect("each probe asks").answer(Circuit::Closed);
        drop(attempt(&upstream).await);
    })
    .await;
}

#[tokio::test]
async fn questions_nobody_answers_do_not_shut_an_endpoint_off() {
    on_worker(async {
        let time = ManualTime::new();
        let (_worker, upstream) = worker_at(time, config(Protocol::Http1, [at(1)]));
        failed_ask(&upstream).await.unanswered();
        failed_ask(&upstream).await.answer(Circuit::Open(1));
        time.advance(Duration::from_millis(1));
        drop(ask(&upstream).await);
        let mut probe = attempt(&upstream).await;
        drop(probe.record(AttemptOutcome::Success));
        assert!(attempt(&upstream).await.record(AttemptOutcome::Success).is_none());
    })
    .await;
}

#[tokio::test]
async fn an_attempt_given_up_counts_neither_way() {
    on_worker(async {
        let (_worker, upstream) = worker(config(Protocol::Http1, [at(1)]));
        let question = {
            drop(attempt(&upstream).await);
            failed_ask(&upstream).await
        };
        let seen = question.window();
        assert_eq!((seen.successes, seen.failures, seen.in_flight), (0, 1, 0));
        drop(question);
        let question = attempt(&upstream).await.record(AttemptOutcome::Timeout).unwrap();
        assert_eq!((question.window().failures, question.window().timeouts), (2, 1));
    })
    .await;
}

#[tokio::test]
async fn slow_answers_count_and_ask() {
    on_worker(async {
        let mut config = config(Protocol::Http1, [at(1)]);
        config.settings.slow_call = Duration::ZERO;
        let (_worker, upstream) = worker(config);
        let question = attempt(&upstream).await.record(AttemptOutcome::Success).unwrap();
        assert_eq!((question.window().successes, question.window().slow), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn endpoints_tried_are_avoided_while_there_is_another_that_passes() {
    on_worker(async {
        let (_worker, upstream) = worker(config(Protocol::Http1, [at(1), at(2)]));
        let tried = ["127.0.0.1:1".to_owned()];
        for _ in 0..20 {
            let Ok(Pick::Attempt(attempt)) = upstream.pick(&tried, None).await else {
                panic!("both pass")
            };
            assert_eq!(attempt.endpoint(), "127.0.0.1:2");
        }
        let Ok(Pick::Attempt(mut other)) = upstream.pick(&tried, None).await else { panic!() };
        other.record(AttemptOutcome::Failure).unwrap().answer(Circuit::Open(60_000));
        let Ok(Pick::Attempt(attempt)) = upstream.pick(&tried, None).await else { panic!() };
        assert_eq!(attempt.endpoint(), "127.0.0.1:1", "better a tried one than none");
    })
    .await;
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused() {
    on_worker(async {
        let mut config = config(Protocol::Http1, [at(1)]);
        config.settings.max_requests = Some(2);
        let (_worker, upstream) = worker(config);
        let (one, _two) = (attempt(&upstream).await, attempt(&upstream).await);
        let Err(PickFailure::Overloaded) = upstream.pick(&[], None).await else { panic!() };
        drop(one);
        drop(attempt(&upstream).await);
    })
    .await;
}

#[tokio::test]
async fn without_endpoints_there_is_nothing_to_pick() {
    on_worker(async {
        let (_worker, upstream) = worker(config(Protocol::Http1, []));
        let Err(PickFailure::NoEndpoint) = upstream.pick(&[], None).await else { panic!() };
        let mut weightless = config(Protocol::Http1, [at(1)]);
        weightless.endpoints[0].weight = 0;
        let (_worker, upstream) = worker(weightless);
        let Err(PickFailure::NoEndpoint) = upstream.pick(&[], None).await else { panic!() };
    })
    .await;
}

#[tokio::test]
async fn the_retry_budget_is_shared_by_workers() {
    on_worker(async {
        let table = table();
        let workers = [Upstreams::new(table.clone()), Upstreams::new(table.clone())];
        let mut config = config(Protocol::Http1, [at(1)]);
        (config.settings.retry_percent, config.settings.retry_min_per_second) = (50, 0);
        let [one, other] = [&workers[0], &workers[1]].map(|worker| apply(worker, config.clone()));
        (0..4).for_each(|_| one.note_request());
        assert_eq!(other.budget_left(), 2);
        assert!(one.spend_retry() && other.spend_retry() && !one.spend_retry());
        let seen = &table.snapshot()[0];
        assert_eq!((seen.retries, seen.retries_refused, seen.budget_left), (2, 1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_generation_takes_over_connections_that_stay_as_they_were() {
    on_worker(async {
        let (target, seen) = http1().await;
        let config = config(Protocol::Http1, [target]);
        let (worker, upstream) = worker(config.clone());
        fetch(&upstream, get("/")).await.unwrap();
        let upstream = apply(&worker, config.clone());
        fetch(&upstream, get("/")).await.unwrap();
        assert_eq!(seen.connections.get(), 1);
        let mut changed = config;
        changed.endpoints[0].tls_key = "other".to_owned();
        let before = upstream;
        let upstream = apply(&worker, changed);
        eventually("idle connections are closed", || seen.open.get() == 0).await;
        fetch(&upstream, get("/")).await.unwrap();
        assert_eq!(seen.connections.get(), 2);
        // A request that began before ends normally, and leaves no connection behind.
        fetch(&before, get("/")).await.unwrap();
        eventually("its connection is closed", || seen.open.get() == 1).await;
    })
    .await;
}

#[tokio::test]
async fn circuits_outlive_generations_and_go_with_their_endpoints() {
    on_worker(async {
        let table = table();
        let upstreams = Upstreams::new(table.clone());
        let (one, both) =
            (config(Protocol::Http1, [at(1)]), config(Protocol::Http1, [at(1), at(2)]));
        let upstream = apply(&upstreams, one.clone());
        failed_ask(&upstream).await.answer(Circuit::Open(60_000));
        // Other TLS settings, other connections: but the same endpoint.
        let mut changed = one.clone();
        changed.endpoints[0].tls_key = "other".to_owned();
        drop(upstream);
        let upstream = apply(&upstreams, changed.clone());
        table.retain(&[changed]);
        let open = upstream.pick(&[], None).await;
        assert!(matches!(open, Err(PickFailure::CircuitOpen { .. })), "it was forgotten");
        let upstream = apply(&upstreams, both);
        assert_eq!(attempt(&upstream).await.endpoint(), "127.0.0.1:2");
        let names = || table.snapshot()[0].endpoints.iter().map(|one| one.name.clone()).collect();
        let seen: Vec<String> = names();
        assert_eq!(seen, ["127.0.0.1:1", "127.0.0.1:2"]);
        drop(upstream);
        let _upstream = apply(&upstreams, one.clone());
        table.retain(&[one]);
        let seen: Vec<String> = names();
        assert_eq!(seen, ["127.0.0.1:1"]);
        table.retain(&[]);
        assert!(table.snapshot().is_empty());
    })
    .await;
}

/// Fails every endpoint once and has its circuit opened; returns how many are open then.
async fn open_all(table: &ServiceTable, upstream: &Rc<Upstream>, endpoints: usize) -> usize {
    let mut tried = Vec::new();
    for _ in 0..endpoints {
        let Ok(Pick::Attempt(mut attempt)) = upstream.pick(&tried, None).await else { break };
        tried.push(attempt.endpoint().to_owned());
        if let Some(ask) = attempt.record(AttemptOutcome::Failure) {
            ask.answer(Circuit::Open(60_000));
        }
    }
    let seen = table.snapshot().remove(0).endpoints;
    seen.iter().filter(|one| matches!(one.circuit, Circuit::Open(_))).count()
}

fn many(endpoints: u16, max_ejected_percent: u32, panic_percent: u32) -> ServiceConfig {
    let mut config = config(Protocol::Http1, (1..=endpoints).map(at));
    config.settings.max_ejected_percent = max_ejected_percent;
    config.settings.panic_percent = panic_percent;
    config
}

#[tokio::test]
async fn at_most_a_share_of_the_endpoints_is_left_out_and_the_only_one_never() {
    let default = ServiceSettings::default();
    assert_eq!((default.max_ejected_percent, default.panic_percent), (50, 50));
    for (endpoints, percent, open) in [
        (1, 50, 0),
        (2, 50, 1),
        (3, 50, 1),
        (4, 50, 2),
        (4, 0, 0),
        (4, 25, 1),
        (3, 100, 3),
        (1, 100, 1),
        (1, 99, 0),
    ] {
        on_worker(async {
            let table = table();
            let upstreams = Upstreams::new(table.clone());
            let upstream = apply(&upstreams, many(endpoints, percent, 0));
            let opened = open_all(&table, &upstream, endpoints.into()).await;
            assert_eq!(opened, open, "{endpoints} endpoints, {percent} %");
        })
        .await;
    }
}

#[tokio::test]
async fn an_endpoint_left_out_makes_room_for_another_when_it_is_back() {
    on_worker(async {
        let time = ManualTime::new();
        let (_worker, upstream) = worker_at(time, many(2, 50, 0));
        let mut first = attempt(&upstream).await;
        let name = first.endpoint().to_owned();
        let mut second = upstream
            .pick(&[name], None)
            .await
            .map(|pick| match pick {
                Pick::Attempt(attempt) => attempt,
                Pick::Ask(_) => panic!("an ask"),
            })
            .unwrap();
        let (one, other) = (
            first.record(AttemptOutcome::Failure).unwrap(),
            second.record(AttemptOutcome::Failure).unwrap(),
        );
        assert_eq!(one.answer(Circuit::Open(1)), Circuit::Open(1));
        assert_eq!(other.answer(Circuit::Open(60_000)), Circuit::Closed, "one of two is enough");
        // What is left out already stays so if its probe fails.
        time.advance(Duration::from_millis(1));
        let Ok(Pick::Ask(question)) = upstream.pick(&[second.endpoint().to_owned()], None).await
        else {
            panic!("its time is over")
        };
        assert_eq!(question.answer(Circuit::Open(60_000)), Circuit::Open(60_000));
    })
    .await;
}

#[tokio::test]
async fn with_too_few_closed_circuits_requests_go_to_all_endpoints_again() {
    for (open, panic_percent, reached) in
        [(2, 50, 2), (3, 50, 4), (4, 50, 4), (3, 0, 1), (3, 25, 1), (4, 1, 4), (1, 100, 4)]
    {
        on_worker(async {
            let table = table();
            let upstreams = Upstreams::new(table.clone());
            let upstream = apply(&upstreams, many(4, open * 25, panic_percent));
            assert_eq!(open_all(&table, &upstream, 4).await, open as usize);
            let mut names = std::collections::BTreeSet::new();
            for _ in 0..200 {
                let Ok(Pick::Attempt(attempt)) = upstream.pick(&[], None).await else { panic!() };
                names.insert(attempt.endpoint().to_owned());
            }
            assert_eq!(names.len(), reached, "{open} of 4 open, panic below {panic_percent} %");
        })
        .await;
    }
}

#[tokio::test]
async fn what_passes_in_a_panic_neither_opens_nor_closes_a_circuit() {
    on_worker(async {
        let table = table();
        let upstreams = Upstreams::new(table.clone());
        let upstream = apply(&upstreams, many(2, 100, 50));
        assert_eq!(open_all(&table, &upstream, 2).await, 2);
        for outcome in [AttemptOutcome::Success, AttemptOutcome::Failure] {
            assert!(attempt(&upstream).await.record(outcome).is_none());
        }
        assert_eq!(open_all(&table, &upstream, 0).await, 2);
    })
    .await;
}

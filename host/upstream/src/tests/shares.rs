//! What each caller, the copies of requests, and silence leave of an endpoint to others.

use super::server::http1;
use super::*;
use crate::{EndpointLimit, PickFailure};
use std::any::Any;
use std::net::SocketAddr;
use tamis_exchange::Circuit;
use tamis_transport::TcpPort;

fn local(port: u16) -> EndpointTarget {
    EndpointTarget::Address(SocketAddr::from(([127, 0, 0, 1], port)).into())
}

/// What a caller holds for as long as it likes.
async fn held(
    upstream: &Rc<Upstream>,
    datagrams: bool,
    caller: Option<&Arc<str>>,
) -> Result<Box<dyn Any>, SendFailure> {
    let mut attempt = attempt(upstream).await;
    if datagrams {
        return Ok(Box::new(attempt.open_datagrams(caller)?));
    }
    Ok(Box::new(attempt.connect(caller).await?))
}

#[tokio::test]
async fn a_caller_leaves_half_of_an_endpoint_to_others_whatever_it_holds() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let names: [Arc<str>; 2] = ["10.0.0.1", "10.0.0.2"].map(Arc::from);
    let [one, two] = [Some(&names[0]), Some(&names[1])];
    for (datagrams, most, holds) in [
        (true, 1, &[(one, true), (two, false)][..]),
        (
            true,
            4,
            &[(one, true), (one, true), (one, false), (two, true), (two, true), (two, false)],
        ),
        (
            true,
            5,
            &[
                (one, true),
                (one, true),
                (one, false),
                (two, true),
                (two, true),
                (two, false),
                (None, true),
            ],
        ),
        // One application has all of them.
        (true, 2, &[(None, true), (None, true), (None, false)]),
        (
            false,
            4,
            &[(one, true), (one, true), (one, false), (two, true), (two, true), (two, false)],
        ),
    ] {
        on_worker(async {
            let raw = Protocol::Tcp(TcpPort::new(5432).unwrap());
            let mut config = config(if datagrams { Protocol::Http1 } else { raw }, [local(port)]);
            config.settings.max_connections = most;
            let (_worker, upstream) = worker(config);
            let mut places = Vec::new();
            for (at, (caller, fits)) in holds.iter().enumerate() {
                match held(&upstream, datagrams, *caller).await {
                    Ok(place) if *fits => places.push(place),
                    Err(failure) if !fits => {
                        let limit = failure.limit;
                        assert_eq!(
                            limit,
                            Some(EndpointLimit::Connections),
                            "{most}, {at}: {failure}"
                        );
                    }
                    other => panic!("{datagrams}, {most}, {at}: {:?}", other.err()),
                }
            }
            places.clear();
            assert!(held(&upstream, datagrams, one).await.is_ok(), "{most}: places come back");
        })
        .await;
    }
}

#[tokio::test]
async fn copies_leave_half_of_an_endpoint_to_requests_and_wait_for_no_connection() {
    for (most, copies) in [(1, 1), (2, 1), (8, 4)] {
        on_worker(async {
            let (target, _) = http1().await;
            let mut config = config(Protocol::Http1, [target]);
            config.settings.max_connections = most;
            config.settings.max_requests = Some(most);
            let (_worker, upstream) = worker(config);
            let mut held = Vec::new();
            while let Some(copy) = upstream.pick_copy().await {
                held.push(copy);
            }
            assert_eq!(held.len(), copies, "{most}");
            let mut requests = Vec::new();
            for _ in 0..most {
                requests.push(attempt(&upstream).await);
            }
            assert!(upstream.pick(&[], None).await.is_err(), "{most}: requests alone are counted");
            held.clear();
            drop(upstream.pick_copy().await.expect("places come back"));
            let mut full: Vec<_> =
                requests.iter().map(|one| one.open_datagrams(None).unwrap()).collect();
            assert!(upstream.pick_copy().await.is_none(), "{most}: no connection is free");
            full.pop();
            assert!(upstream.pick_copy().await.is_some(), "{most}: one is");
        })
        .await;
    }
}

#[tokio::test]
async fn a_copy_is_no_probe_and_asks_nobody_about_a_circuit() {
    on_worker(async {
        let time = ManualTime::new();
        let (_worker, upstream) = worker_at(time, config(Protocol::Http1, [local(1)]));
        assert!(upstream.pick_copy().await.is_some(), "it is closed");
        let question = attempt(&upstream).await.record(AttemptOutcome::Failure).unwrap();
        question.answer(Circuit::Open(1_000));
        assert!(upstream.pick_copy().await.is_none(), "it is open");
        time.advance(Duration::from_millis(1_000));
        assert!(upstream.pick_copy().await.is_none(), "it has expired");
        let Ok(Pick::Ask(ask)) = upstream.pick(&[], None).await else { panic!("nobody asked") };
        ask.answer(Circuit::HalfOpen(1));
        assert!(upstream.pick_copy().await.is_none(), "it is half-open");
        let mut probe = attempt(&upstream).await;
        probe.record(AttemptOutcome::Success).unwrap().answer(Circuit::Closed);
        assert!(upstream.pick_copy().await.is_some(), "it is closed again");
    })
    .await;
}

#[tokio::test]
async fn silence_ends_a_probe_and_says_nothing_of_what_is_none() {
    on_worker(async {
        let time = ManualTime::new();
        let (_worker, upstream) = worker_at(time, config(Protocol::Http1, [local(1)]));
        let mut early = attempt(&upstream).await;
        assert!(early.record_silence().is_none(), "the circuit is closed");
        let question = early.record(AttemptOutcome::Failure).expect("it is recorded afterwards");
        assert_eq!((question.window().successes, question.window().failures), (0, 1));
        question.answer(Circuit::Open(1_000));
        time.advance(Duration::from_millis(1_000));
        let Ok(Pick::Ask(ask)) = upstream.pick(&[], None).await else { panic!("it has expired") };
        ask.answer(Circuit::HalfOpen(1));
        // However long the session of the probe goes on, it is the only one meanwhile.
        let mut probe = attempt(&upstream).await;
        assert!(matches!(upstream.pick(&[], None).await, Err(PickFailure::CircuitOpen { .. })));
        time.advance(Duration::from_secs(4));
        let question = probe.record_silence().expect("a probe asks");
        let seen = question.window();
        assert_eq!((seen.successes, seen.failures, seen.slow), (1, 0, 0));
        assert_eq!(seen.ewma_latency_us, 0, "nothing says how long it takes");
        question.answer(Circuit::Closed);
        assert!(probe.record(AttemptOutcome::Failure).is_none(), "a probe is judged once");
        drop(attempt(&upstream).await);
    })
    .await;
}

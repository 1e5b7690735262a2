//! What balancers, hedges and tunnels use.

use super::*;
use crate::WeightsError;
use std::collections::HashMap;
use std::net::SocketAddr;
use tamis_transport::{ReceivedAnswer, TcpAnswer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn at(port: u16) -> EndpointTarget {
    EndpointTarget::Address(SocketAddr::from(([127, 0, 0, 1], port)).into())
}

async fn picked(upstream: &Rc<Upstream>, times: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..times {
        *counts.entry(attempt(upstream).await.endpoint().to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn weights_of_a_balancer_are_picked_by() {
    on_worker(async {
        let (_worker, upstream) = worker(config(Protocol::Http1, [at(1), at(2)]));
        assert!(upstream.endpoints().is_empty(), "nobody looked yet");
        upstream.resolve().await.unwrap();
        let seen = upstream.endpoints();
        let names: Vec<_> = seen.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["127.0.0.1:1", "127.0.0.1:2"]);
        assert_eq!((seen[0].configured_weight, seen[0].success_permille), (1, 1000));
        upstream.set_weights(&[0, 7]).unwrap();
        let counts = picked(&upstream, 50).await;
        assert_eq!(counts.get("127.0.0.1:2"), Some(&50), "0 takes it out");
        upstream.set_weights(&[3, 1]).unwrap();
        let counts = picked(&upstream, 400).await;
        assert!(counts["127.0.0.1:1"] > 2 * counts["127.0.0.1:2"], "{counts:?}");
    })
    .await;
}

#[tokio::test]
async fn a_balancer_cannot_take_everything_out_nor_bring_back_what_the_operator_took() {
    on_worker(async {
        let mut both = config(Protocol::Http1, [at(1), at(2)]);
        both.endpoints[1].weight = 0;
        let (_worker, upstream) = worker(both);
        upstream.resolve().await.unwrap();
        assert_eq!(upstream.set_weights(&[0, 0]), Err(WeightsError::None));
        assert_eq!(upstream.set_weights(&[0, 9]), Err(WeightsError::None));
        let wrong = WeightsError::Count { endpoints: 2, weights: 1 };
        assert_eq!(upstream.set_weights(&[1]), Err(wrong));
        upstream.set_weights(&[5, 9]).unwrap();
        assert_eq!(picked(&upstream, 20).await.get("127.0.0.1:1"), Some(&20));
    })
    .await;
}

#[tokio::test]
async fn what_was_overtaken_counts_as_slow_and_not_as_failed() {
    on_worker(async {
        let time = ManualTime::new();
        let (_worker, upstream) = worker_at(time, config(Protocol::Http1, [at(1)]));
        let slow = attempt(&upstream).await;
        time.advance(Duration::from_millis(5));
        slow.overtaken();
        let seen = &upstream.endpoints()[0];
        assert_eq!((seen.ewma_latency_us, seen.age), (5_000, Duration::from_millis(5)));
        assert_eq!((seen.success_permille, seen.in_flight), (1000, 0));
        let before = seen.ewma_latency_us;
        attempt(&upstream).await.overtaken();
        assert_eq!(upstream.endpoints()[0].ewma_latency_us, before, "a little waited says nothing");
    })
    .await;
}

#[tokio::test]
async fn hedges_come_out_of_the_budget_of_retries() {
    on_worker(async {
        let mut tight = config(Protocol::Http1, [at(1)]);
        tight.settings =
            ServiceSettings { retry_percent: 0, retry_min_per_second: 1, ..tight.settings };
        let table = table();
        let upstreams = Upstreams::new(table.clone());
        let upstream = apply(&upstreams, tight);
        // One a second over ten seconds.
        for n in 0..10 {
            assert!(if n % 2 == 0 { upstream.spend_hedge() } else { upstream.spend_retry() });
        }
        assert!(!upstream.spend_hedge() && !upstream.spend_retry());
        upstream.note_hedge_won();
        let service = &table.snapshot()[0];
        assert_eq!((service.hedges, service.hedges_refused, service.hedges_won), (5, 1, 1));
        assert_eq!((service.retries, service.retries_refused), (5, 1));
    })
    .await;
}

#[tokio::test]
async fn a_raw_connection_keeps_its_place_until_it_is_dropped() {
    on_worker(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut narrow = config(Protocol::Http1, [at(port)]);
        narrow.settings.max_connections = 1;
        let (_worker, upstream) = worker(narrow);
        let (mut stream, answer) = attempt(&upstream).await.connect(None).await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        let opened = ReceivedAnswer::Answered(TcpAnswer::Opened);
        assert_eq!(answer.received(), Some(opened), "nobody answers but proxies of tcp ports");
        stream.write_all(b"no http").await.unwrap();
        let mut octets = [0; 7];
        other.read_exact(&mut octets).await.unwrap();
        assert_eq!(&octets, b"no http");
        let refused = attempt(&upstream).await.connect(None).await.err().unwrap();
        assert!(refused.untouched && refused.detail.contains("1 connections"), "{refused}");
        drop(stream);
        attempt(&upstream).await.connect(None).await.unwrap();
    })
    .await;
}

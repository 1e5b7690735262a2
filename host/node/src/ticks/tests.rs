//! With the filter that needs it: `jwt` fetches its keys in the background.

use super::first_ticks::FIRST_MAX;
use super::*;
use crate::testing::{component, engine};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tamis_ambient::Clock;
use tamis_engine::{
    Admission, FetchFailure, FetchFuture, FetchRequest, FilterOptions, FilterState, HttpFetch,
    Isolation, OnFailure,
};
use tamis_observe::Metrics;

/// A client that reaches no server, and counts its calls.
#[derive(Default)]
struct CountingClient(AtomicUsize);

impl HttpFetch for CountingClient {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        assert_eq!(request.url, "https://idp.example/keys");
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(FetchFailure::Connect("nobody is there".to_owned())) })
    }
}

fn jwt(fetch: Arc<dyn HttpFetch>) -> Filter {
    let config = json!({ "issuers": [{
        "issuer": "https://idp.example", "audiences": ["test"], "algorithms": ["ES256"],
        "jwks": { "url": "https://idp.example/keys", "refresh": "5m" },
    }]});
    let grant = json!({
        "imports": { "clock": {}, "crypto": {}, "log": {}, "kv": {}, "http-client": { "hosts": ["idp.example"] } },
        "reads": ["*", "@*"], "writes": ["*", "@*"],
        "limits": { "timeUs": 1_000_000, "configureUs": 5_000_000, "memoryBytes": 16 << 20 },
    });
    let compiled = engine().compile(&component("jwt"), None).unwrap();
    let grant = serde_json::from_value(grant).unwrap();
    let admission = Admission::of_grant("tamis/jwt", compiled.inspection(), grant).unwrap();
    let options = FilterOptions {
        name: "tamis/jwt".to_owned(),
        digest: String::new(),
        version: "1.0.0".to_owned(),
        config_json: config.to_string(),
        admission,
        state: Arc::new(FilterState::new(Arc::new(Metrics::new()))),
        fetch: Some(fetch),
        failure: OnFailure::Closed,
        isolation: Isolation::Worker,
    };
    Filter::new(&compiled, options).unwrap()
}

#[test]
fn the_first_tick_is_done_when_a_filter_is_staged_and_its_work_ends_with_it() {
    let fetch = Arc::new(CountingClient::default());
    let filter = jwt(Arc::clone(&fetch) as _);
    assert_eq!(fetch.0.load(Ordering::SeqCst), 0, "the self-test calls nobody");
    let ticks = TickStarter::new().unwrap();
    let mut firsts = FirstTicks::default();
    let ticking = ticks.start(&filter, &mut firsts);
    firsts.wait(Clock::system());
    assert!(fetch.0.load(Ordering::SeqCst) >= 1, "keys are fetched before the first exchange");

    drop((ticking, filter));
    let until = Instant::now() + Duration::from_secs(10);
    while Arc::strong_count(&fetch) > 1 {
        assert!(Instant::now() < until, "its instance goes when nobody holds it any more");
        std::thread::yield_now();
    }
}

#[test]
fn filters_that_work_in_the_background_do_not_hold_each_other_up() {
    let (one, two) = (Arc::new(CountingClient::default()), Arc::new(CountingClient::default()));
    let ticks = TickStarter::new().unwrap();
    let mut firsts = FirstTicks::default();
    let first = ticks.start(&jwt(Arc::clone(&one) as _), &mut firsts);
    let second = ticks.clone().start(&jwt(Arc::clone(&two) as _), &mut firsts);
    firsts.wait(Clock::system());
    assert!(one.0.load(Ordering::SeqCst) >= 1 && two.0.load(Ordering::SeqCst) >= 1);
    drop((first, second));
}

/// A client whose server never answers.
struct SilentClient;

impl HttpFetch for SilentClient {
    fn fetch(&self, _: FetchRequest) -> FetchFuture {
        Box::pin(std::future::pending())
    }
}

#[test]
fn however_many_first_ticks_hang_a_change_waits_once() {
    let ticks = TickStarter::new().unwrap();
    let mut firsts = FirstTicks::default();
    let running: Vec<_> =
        (0..4).map(|_| ticks.start(&jwt(Arc::new(SilentClient)), &mut firsts)).collect();
    let began = Instant::now();
    firsts.wait(Clock::system());
    // One after the other they would take 20 s.
    let took = began.elapsed();
    assert!(took < FIRST_MAX * 3, "{took:?}");
    drop(running);
}

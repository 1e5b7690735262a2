use proptest::prelude::*;
use tamis_sdk::Config;

use super::*;

fn window(successes: u32, failures: u32, in_a_row: u32) -> Window {
    Window {
        span_ms: 10_000,
        successes,
        failures,
        timeouts: 0,
        slow: 0,
        consecutive_failures: in_a_row,
        in_flight: 0,
        ewma_latency_us: 0,
    }
}

fn breaker() -> Breaker {
    Breaker::new(CircuitBreakerSettings::default())
}

#[test]
fn five_failures_in_a_row_open_it() {
    assert_eq!(breaker().next(&window(100, 4, 4), Circuit::Closed), Circuit::Closed);
    assert_eq!(breaker().next(&window(100, 5, 5), Circuit::Closed), Circuit::Open(5_000));
}

#[test]
fn a_share_counts_from_the_minimum_on() {
    assert_eq!(breaker().next(&window(9, 10, 1), Circuit::Closed), Circuit::Closed);
    assert_eq!(breaker().next(&window(10, 10, 1), Circuit::Closed), Circuit::Open(5_000));
    let timeouts = Window { timeouts: 10, ..window(10, 0, 1) };
    assert_eq!(breaker().next(&timeouts, Circuit::Closed), Circuit::Open(5_000));
    let slow = Window { slow: 20, ..window(20, 0, 0) };
    assert_eq!(breaker().next(&slow, Circuit::Closed), Circuit::Open(5_000));
    assert_eq!(breaker().next(&window(20, 0, 0), Circuit::Closed), Circuit::Closed);
}

#[test]
fn it_stays_open_until_it_expires_and_then_probes() {
    assert_eq!(breaker().next(&window(0, 5, 5), Circuit::Open(1)), Circuit::Open(1));
    assert_eq!(breaker().next(&window(0, 5, 5), Circuit::Open(0)), Circuit::HalfOpen(3));
}

#[test]
fn it_closes_when_all_probes_succeed() {
    assert_eq!(breaker().next(&window(0, 0, 5), Circuit::HalfOpen(3)), Circuit::HalfOpen(3));
    assert_eq!(breaker().next(&window(2, 0, 0), Circuit::HalfOpen(1)), Circuit::HalfOpen(1));
    assert_eq!(breaker().next(&window(3, 0, 0), Circuit::HalfOpen(0)), Circuit::Closed);
}

#[test]
fn each_failed_probe_doubles_the_wait_up_to_the_longest() {
    for (in_a_row, open_ms) in
        [(6, 10_000), (7, 20_000), (8, 40_000), (9, 60_000), (u32::MAX, 60_000)]
    {
        let next = breaker().next(&window(0, 1, in_a_row), Circuit::HalfOpen(2));
        assert_eq!(next, Circuit::Open(open_ms));
    }
}

#[test]
fn settings_out_of_range_are_refused_together() {
    let settings =
        Config::parse(r#"{"failureRatio":0,"probes":0,"maxOpenFor":"1s","openFor":"2s"}"#).unwrap();
    let errors = Breaker::check(&settings).unwrap_err();
    let places: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(places, ["/failureRatio", "/probes", "/maxOpenFor"]);
    let errors = Config::parse::<CircuitBreakerSettings>(r#"{"window":"ten"}"#).unwrap_err();
    assert_eq!(errors[0].pointer, "/window");
    let errors = Config::parse::<CircuitBreakerSettings>(r#"{"windows":"10s"}"#).unwrap_err();
    assert_eq!(errors[0].pointer, "/windows");
    assert!(Breaker::check(&CircuitBreakerSettings::default()).is_ok());
}

#[test]
fn the_schema_lists_every_setting() {
    let schema: serde_json::Value = serde_json::from_str(Breaker::SCHEMA).unwrap();
    assert_eq!(schema["properties"].as_object().unwrap().len(), 8);
}

fn circuit() -> impl Strategy<Value = Circuit> {
    prop_oneof![
        Just(Circuit::Closed),
        (0..100_000_u32).prop_map(Circuit::Open),
        (0..5_u32).prop_map(Circuit::HalfOpen),
    ]
}

proptest! {
    #[test]
    fn no_circuit_stays_open_longer_than_allowed_or_opens_without_a_failure(
        successes in 0..50_u32, failures in 0..50_u32, in_a_row in 0..50_u32, now in circuit(),
    ) {
        let next = breaker().next(&window(successes, failures, in_a_row), now);
        if let (Circuit::Open(open_ms), Circuit::Closed | Circuit::HalfOpen(_)) = (next, now) {
            prop_assert!((5_000..=60_000).contains(&open_ms));
            prop_assert!(failures > 0 || in_a_row >= 5);
        }
        if let Circuit::Open(_) = now {
            prop_assert_ne!(next, Circuit::Closed);
        }
    }
}

#[test]
fn the_window_is_the_hosts_and_saying_otherwise_names_its_home() {
    let settings: CircuitBreakerSettings = Config::parse(r#"{"window": "30s"}"#).unwrap();
    let errors = Breaker::check(&settings).unwrap_err();
    assert_eq!(errors[0].pointer, "/window");
    assert!(errors[0].message.contains("statsWindow"), "{}", errors[0].message);
    let (_, interest) = Breaker::configure(CircuitBreakerSettings::default()).unwrap();
    assert!(interest.extra.is_empty(), "nothing is declared that nobody reads");
}

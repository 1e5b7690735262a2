use std::collections::BTreeMap;

use proptest::prelude::*;
use tamis_sdk::Config;
use tamis_sdk::metrics::Kind;
use tamis_sdk::telemetry::Outcome;

use super::*;

/// A registry in memory: series by their text, and the number of calls.
#[derive(Default)]
struct Book {
    metrics: Vec<String>,
    series: Vec<String>,
    sums: BTreeMap<String, f64>,
    observed: BTreeMap<String, Vec<f64>>,
    adds: usize,
    lookups: usize,
}

impl Meter for Book {
    fn define(&mut self, _: Kind, name: &str, _: &str, _: &[String]) -> Result<u32, String> {
        self.metrics.push(name.to_owned());
        Ok(self.metrics.len() as u32 - 1)
    }

    fn series(&mut self, metric: u32, values: &[String]) -> u32 {
        self.lookups += 1;
        self.series.push(format!("{}{{{}}}", self.metrics[metric as usize], values.join(",")));
        self.series.len() as u32 - 1
    }

    fn add(&mut self, series: u32, amount: f64) {
        self.adds += 1;
        *self.sums.entry(self.series[series as usize].clone()).or_default() += amount;
    }

    fn observe(&mut self, series: u32, value: f64) {
        self.observed.entry(self.series[series as usize].clone()).or_default().push(value);
    }
}

fn summary(rule: u32, status: u16) -> Summary {
    Summary {
        exchange: 1,
        start_unix_us: 0,
        duration_us: 1_500,
        upstream_us: 1_000,
        status,
        grpc_status: u16::MAX,
        outcome: Outcome::empty(),
        attempts: 1,
        bytes_in: 10,
        bytes_out: 20,
        rule,
        upstream: 0,
        endpoint: 0,
        peer: u32::MAX,
        reason: u32::MAX,
    }
}

fn policy() -> TelemetryPolicy<Book> {
    let mut policy = TelemetryPolicy::new(&TelemetrySettings::default(), Book::default()).unwrap();
    policy.learn(NameKind::Rule, 0, vec!["a".to_owned(), "b".to_owned()]);
    policy.learn(NameKind::Upstream, 0, vec!["u".to_owned()]);
    policy
}

#[test]
fn a_batch_becomes_named_series() {
    let mut policy = policy();
    let failed = Summary {
        outcome: Outcome::UPSTREAM_FAILED | Outcome::RETRIED,
        attempts: 3,
        ..summary(0, 503)
    };
    policy.count(&[summary(0, 200), summary(0, 201), failed, summary(u32::MAX, 0)]);
    let sums: Vec<(&str, f64)> =
        policy.meter.sums.iter().map(|(name, sum)| (name.as_str(), *sum)).collect();
    assert_eq!(
        sums,
        [
            ("tamis_request_bytes_total{a,u}", 30.0),
            ("tamis_request_bytes_total{none,u}", 10.0),
            ("tamis_requests_total{a,u,2xx}", 2.0),
            ("tamis_requests_total{a,u,5xx}", 1.0),
            ("tamis_requests_total{none,u,none}", 1.0),
            ("tamis_response_bytes_total{a,u}", 60.0),
            ("tamis_response_bytes_total{none,u}", 20.0),
            ("tamis_retries_total{a,u}", 2.0),
            ("tamis_upstream_failures_total{a,u}", 1.0),
        ]
    );
    assert_eq!(policy.meter.observed["tamis_request_duration_ms{a,u,2xx}"], [1.5, 1.5]);
}

#[test]
fn a_series_is_looked_up_once_and_added_to_once_a_batch() {
    let mut policy = policy();
    policy.count(&vec![summary(1, 200); 64]);
    policy.count(&vec![summary(1, 200); 64]);
    assert_eq!((policy.meter.lookups, policy.meter.adds), (6, 6));
}

#[test]
fn a_renamed_id_gets_a_series_of_its_own() {
    let mut policy = policy();
    policy.count(&[summary(1, 200)]);
    policy.learn(NameKind::Rule, 1, vec!["c".to_owned()]);
    policy.count(&[summary(1, 200)]);
    assert_eq!(policy.meter.sums["tamis_requests_total{b,u,2xx}"], 1.0);
    assert_eq!(policy.meter.sums["tamis_requests_total{c,u,2xx}"], 1.0);
}

#[test]
fn wrong_settings_are_refused_at_their_place() {
    let settings = Config::parse(r#"{"labels":["route","route"],"buckets_ms":[5,1]}"#).unwrap();
    let errors = TelemetryPolicy::<TelemetryHost>::check(&settings).unwrap_err();
    let places: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(places, ["/labels/1", "/buckets_ms/1"]);
    let errors = Config::parse::<TelemetrySettings>(r#"{"labels":["path"]}"#).unwrap_err();
    assert_eq!(errors[0].pointer, "/labels/0");
    assert!(TelemetrySettings::default().errors().is_empty());
}

#[test]
fn the_schema_is_json() {
    let schema: serde_json::Value =
        serde_json::from_str(TelemetryPolicy::<TelemetryHost>::SCHEMA).unwrap();
    assert_eq!(schema["additionalProperties"], false);
}

proptest! {
    #[test]
    fn every_exchange_is_counted_once(
        exchanges in prop::collection::vec((0..9_000_u32, 0..600_u16), 0..200), cut in 0..200_usize,
    ) {
        let mut policy = policy();
        let batch: Vec<Summary> = exchanges.iter().map(|(rule, status)| summary(*rule, *status)).collect();
        let (first, second) = batch.split_at(cut.min(batch.len()));
        policy.count(first);
        policy.count(second);
        let total: f64 = policy.meter.sums.iter()
            .filter(|(name, _)| name.starts_with("tamis_requests_total"))
            .map(|(_, sum)| sum)
            .sum();
        prop_assert_eq!(total, batch.len() as f64);
    }
}

//! The cost of a filter for others is limited: no size of its answers panics, and its faults are reported
//! as its own.

use super::live::LiveProxy;
use super::*;
use crate::ProxyOptions;
use std::io::Write;
use std::sync::Mutex;
use tamis_observe::{AccessLog, Recorder};

/// Where access records are written to.
#[derive(Clone, Default)]
pub(super) struct RecordBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for RecordBuffer {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl RecordBuffer {
    /// The records so far.
    pub(super) fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Adds so many headers to requests and to responses.
fn adds(request: usize, response: usize) -> Value {
    json!({ "writes": ["*"], "add": request, "response_add": response })
}

#[test]
fn a_filter_that_adds_headers_without_end_is_a_fault_like_any_other() {
    for (what, config) in [
        ("25,000 to a request", adds(25_000, 0)),
        ("40,000 to a request", adds(40_000, 0)),
        ("600 to a request", adds(600, 0)),
        ("25,000 to a response", adds(0, 25_000)),
        ("600 to a response", adds(0, 600)),
    ] {
        let written = RecordBuffer::default();
        let recorder = Recorder::to(AccessLog::All, written.clone()).unwrap();
        let hostile = Attachment {
            name: "test/hostile".into(),
            ..attached(&config, None, OnFailure::Closed)
        };
        let router = Attachment { name: "test/router".into(), ..router(&[("/", "ns/all/0")]) };
        let live = LiveProxy::start(
            vec![hostile, router],
            ProxyOptions { recorder, ..ProxyOptions::default() },
        );
        let mut client = live.client();
        for _ in 0..12 {
            let (status, head, _) = client.ask("/a", &[]);
            assert_eq!(status, 503, "{what}: {head}");
            assert!(head.contains("x-tamis-reason: filter.failed"), "{what}: {head}");
        }
        let records = live.until(|_| written.lines(), |records| records.len() == 12);
        for record in records {
            assert_eq!(record["filter"], "test/hostile", "{what}: {record}");
            assert_eq!(record["status"], 503, "{what}: {record}");
        }
        let text = live.proxy.metrics();
        let counted = |line: &str| {
            line.starts_with("tamis_filter_faults_total") && line.contains("test/hostile")
        };
        let faults: Vec<_> =
            text.lines().filter(|line| counted(line) && !line.ends_with(" 0")).collect();
        assert!(!faults.is_empty(), "{what}: {text}");
    }
}

#[test]
fn heads_of_responses_stay_within_their_bound_whatever_filters_add_together() {
    let adds = |name: &str, octets: usize| {
        let config = json!({ "writes": ["*"], "response_set": [[name, "a".repeat(octets)]] });
        Attachment { name: format!("test/{name}"), ..attached(&config, None, OnFailure::Closed) }
    };
    // One filter alone may not add more than a head holds; several may, each within its own bound.
    for (sizes, status) in [
        (&[30_000][..], 200),
        (&[30_000, 30_000], 200),
        (&[65_000], 200),
        (&[65_600], 502),
        (&[30_000, 30_000, 30_000], 502),
        (&[60_000, 60_000], 502),
    ] {
        let written = RecordBuffer::default();
        let recorder = Recorder::to(AccessLog::All, written.clone()).unwrap();
        let filters = sizes.iter().enumerate().map(|(n, octets)| adds(&format!("x-{n}"), *octets));
        let router = Attachment { name: "test/router".into(), ..router(&[("/", "ns/all/0")]) };
        let live = LiveProxy::start(
            filters.chain([router]).collect(),
            ProxyOptions { recorder, ..ProxyOptions::default() },
        );
        let (found, head, _) = live.client().ask("/a", &[]);
        assert_eq!(found, status, "{sizes:?}: {}", head.len());
        assert!(head.len() < 66_000, "{sizes:?}: {}", head.len());
        let refused = head.contains("x-tamis-reason: response.head-too-large\r\n");
        assert_eq!(refused, status == 502, "{sizes:?}");
        let records = live.until(|_| written.lines(), |records| records.len() == 1);
        assert_eq!(records[0]["status"], status, "{sizes:?}");
        assert!(records[0].to_string().len() < 4_096, "{sizes:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_fails_open_is_passed_over_and_changes_nothing() {
    for mode in [OnFailure::Open, OnFailure::SkipAndAlert] {
        let filters = vec![attached(&adds(25_000, 0), None, mode), router(&[("/", "ns/all/0")])];
        let chain = ChainLayout { request: vec![0], router: Some(1), ..ChainLayout::default() };
        let worker = worker(filters, chain);
        let mut state = worker.exchange("/a");
        assert_eq!(forwarded(decided(&mut state).await), 0);
        assert_eq!(state.exchange.headers.len(), 0, "none of them");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn filters_together_stay_within_the_bound_of_a_head() {
    let filters = (0..8).map(|_| attached(&adds(100, 0), None, OnFailure::Open));
    let filters: Vec<_> = filters.chain([router(&[("/", "ns/all/0")])]).collect();
    let chain =
        ChainLayout { request: (0..8).collect(), router: Some(8), ..ChainLayout::default() };
    let worker = worker(filters, chain);
    let mut state = worker.exchange("/a");
    assert_eq!(forwarded(decided(&mut state).await), 0);
    assert!(state.exchange.headers.len() <= tamis_exchange::MAX_FIELDS);
}

#[test]
fn a_filter_that_fails_its_own_requests_makes_no_other_wait_for_its_configure() {
    let config = json!({ "do": "configure-slowly", "reads": [":path"], "writes": [] });
    let grant = Grant {
        limits: tamis_engine::Limits { configure_us: 60_000_000, ..Default::default() },
        ..Grant::everything()
    };
    let admission = Admission::of_grant("test/walk", behaviour().inspection(), grant).unwrap();
    let options = FilterOptions { admission, ..options(&config, "sha256:00") };
    let began = std::time::Instant::now();
    let slow = SlotOccupant::Running(Filter::new(behaviour(), options).unwrap());
    // It was configured twice and its self-test ran; what one costs is a third of that at most.
    let dear = began.elapsed() / 3;
    let bad = Attachment {
        occupant: slow,
        name: "test/slow".into(),
        ..attached(&json!({}), Some("ns/bad/0"), OnFailure::Closed)
    };
    let router = Attachment {
        name: "test/router".into(),
        ..router(&[("/bad", "ns/bad/0"), ("/", "ns/all/0")])
    };
    let live = LiveProxy::start(vec![bad, router], ProxyOptions::default());
    let (mut guilty, mut innocent) = (live.client(), live.client());
    let began = std::time::Instant::now();
    for _ in 0..10 {
        let (status, head, _) = guilty.ask("/bad", &[]);
        assert_eq!(status, 503);
        assert!(head.contains("filter.failed"), "{head}");
        assert_eq!(innocent.ask("/good", &[]).0, 200);
    }
    // Ten faults must not cost ten times as much as an instance.
    assert!(began.elapsed() < dear * 5, "{:?}, one instance {dear:?}", began.elapsed());
}

#[test]
fn calls_are_counted_exactly_and_at_once() {
    let filter =
        Attachment { name: "test/one".into(), ..attached(&json!({}), None, OnFailure::Closed) };
    let router = Attachment { name: "test/router".into(), ..router(&[("/", "ns/all/0")]) };
    let live = LiveProxy::start(vec![filter, router], ProxyOptions::default());
    let mut clients = [live.client(), live.client(), live.client()];
    for n in 1..=40 {
        assert_eq!(clients[n % 3].ask("/a", &[]).0, 200);
        let line = format!(
            "tamis_filter_calls_total{{attachment=\"test/one\",filter=\"test/walk\",hook=\"request\"}} {n}"
        );
        let text = live.proxy.metrics();
        assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
    }
}

#[test]
fn no_filter_names_a_metric_of_the_host() {
    let metrics = Arc::new(Metrics::new());
    let router = router(&[("/", "ns/all/0")]);
    let live = LiveProxy::start(
        vec![router],
        ProxyOptions { metrics: Arc::clone(&metrics), ..ProxyOptions::default() },
    );
    let text = live.proxy.metrics();
    for (name, _, _) in crate::METRICS {
        let kind = tamis_observe::MetricKind::Counter;
        assert!(metrics.define(kind, name, "H.", &[]).is_err(), "{name}");
        // A metric that is not the project's own is exposed under the filter's name anyway.
        let own = name.starts_with("tamis_");
        let defined = metrics.define_for("tamis/telemetry", kind, name, "H.", &[], 1, None);
        assert_eq!(defined.is_err(), own, "{name}");
        assert!(text.matches(&format!("# TYPE {name} ")).count() <= 1, "{name}");
    }
}

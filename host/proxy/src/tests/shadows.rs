//! A candidate in the shadow of a slot: compared exchange by exchange, without visible effects.

use super::live::{Client, LiveProxy};
use super::*;
use crate::{Proxy, ProxyOptions, Shadow, ShadowReport};
use std::time::Instant;

const RULES: [(&str, &str); 2] = [("/a", "ns/a/0"), ("/", "ns/all/0")];

fn shadow_of(compiled: &CompiledComponent, config: &Value) -> Shadow {
    Shadow::new(Filter::shadow(compiled, options(config, "sha256:ca")).unwrap())
}

/// `current` with a candidate of the same component.
fn compared(slot: &str, current: &Value, candidate: &Value) -> Attachment {
    Attachment {
        name: slot.into(),
        shadow: Some(shadow_of(walk(), candidate)),
        ..attached(current, None, OnFailure::Closed)
    }
}

fn routes(rules: &[(&str, &str)]) -> Value {
    json!({ "reads": [":path"], "rules": rules })
}

fn every_one() -> ProxyOptions {
    ProxyOptions { shadow_samples_per_second: u32::MAX, ..ProxyOptions::default() }
}

/// A proxy with that slot and a router.
fn with(slot: Attachment) -> (LiveProxy, Client) {
    let router = Attachment { name: "test/router".into(), ..router(&RULES) };
    let live = LiveProxy::start(vec![slot, router], every_one());
    let client = live.client();
    (live, client)
}

/// Waits until so many verdicts of each slot were compared.
#[track_caller]
fn reports(live: &LiveProxy, samples: &[(&str, u64)]) -> Vec<ShadowReport> {
    let mut sums = vec![ShadowReport::default(); samples.len()];
    live.until(
        |proxy| {
            for more in proxy.shadow_reports() {
                let place = samples.iter().position(|(slot, _)| *slot == more.slot).unwrap();
                let sum = &mut sums[place];
                (sum.slot, sum.digest) = (more.slot, more.digest);
                sum.samples += more.samples;
                for (cause, more) in more.differences {
                    let difference = sum.differences.entry(cause).or_default();
                    difference.count += more.count;
                    difference.examples.extend(more.examples);
                }
            }
            sums.clone()
        },
        |sums| sums.iter().zip(samples).all(|(sum, (_, samples))| sum.samples >= *samples),
    )
}

#[track_caller]
fn report(live: &LiveProxy, slot: &str, samples: u64) -> ShadowReport {
    reports(live, &[(slot, samples)]).remove(0)
}

fn counted(report: &ShadowReport) -> Vec<(&str, u64)> {
    report.differences.iter().map(|(cause, one)| (cause.as_str(), one.count)).collect()
}

#[test]
fn an_equal_candidate_does_not_differ_in_a_thousand_exchanges() {
    let sets = json!({
        "reads": [":path", "*", "@source.address"], "writes": ["x-a", "x-r"],
        "set": [["x-a", "1"]], "response_set": [["x-r", "2"]],
    });
    let filters = vec![
        compared("test/policy", &sets, &sets),
        compared("test/router", &routes(&RULES), &routes(&RULES)),
    ];
    let live = LiveProxy::start(filters, every_one());
    let mut client = live.client();
    // Both have hooks for requests and responses, and one of them routes.
    let samples = [("test/policy", 200), ("test/router", 300)];
    for _ in 0..10 {
        for n in 0..100 {
            assert_eq!(client.ask(["/a/1", "/b?x"][n % 2], &[("x-n", &n.to_string())]).0, 200);
        }
        // Before so many wait that further ones are left out.
        for (report, (_, samples)) in reports(&live, &samples).iter().zip(samples) {
            assert_eq!((report.samples, counted(report)), (samples, vec![]), "{}", report.slot);
            assert_eq!(report.digest, "sha256:ca");
        }
    }
}

#[test]
fn a_candidate_that_denies_differs_as_often_as_it_would_have() {
    let candidate = json!({ "reads": ["x-deny"], "deny_with": "x-deny" });
    let (live, mut client) = with(compared("test/policy", &json!({}), &candidate));
    for n in 0..300 {
        let line = [("x-deny", "hunter2")];
        let lines = if n % 3 == 0 { line.as_slice() } else { &[] };
        assert_eq!(client.ask("/pay?card=4711", lines).0, 200);
    }
    let report = report(&live, "test/policy", 600);
    assert_eq!(counted(&report), [("decision: allow→deny 403", 100)]);
    let examples = &report.differences["decision: allow→deny 403"].examples;
    assert!(examples[0].starts_with("GET /pay (exchange "), "{examples:?}");
    assert!(!examples.concat().contains("hunter2") && !examples.concat().contains("4711"));
}

#[test]
fn a_candidate_that_fails_fails_no_exchange_and_is_counted() {
    let current = json!({ "do": "pass", "reads": [] });
    for (does, kind) in
        [("trap", "trap:trap"), ("loop", "trap:deadline"), ("recurse", "trap:stack")]
    {
        let candidate = json!({ "do": does, "reads": [] });
        let slot = Attachment {
            occupant: SlotOccupant::Running(
                Filter::new(behaviour(), options(&current, "sha256:00")).unwrap(),
            ),
            shadow: Some(shadow_of(behaviour(), &candidate)),
            ..attached(&json!({}), None, OnFailure::Closed)
        };
        let (live, mut client) = with(slot);
        for _ in 0..20 {
            assert_eq!(client.ask("/", &[]).0, 200, "{does}");
        }
        let report = report(&live, "test/walk", 20);
        // After five faults within ten seconds it is not called for a while, which is not a verdict either.
        let all: u64 = counted(&report).iter().map(|(_, count)| count).sum();
        assert_eq!((report.samples, all), (20, 20), "{report:?}");
        assert!(report.differences.keys().all(|cause| cause.starts_with("trap:")), "{report:?}");
        assert!(report.differences.contains_key(kind), "{report:?}");
        let traps = live.proxy.slot_counts().iter().map(|one| one.traps).sum::<u64>();
        assert_eq!(traps, 0, "faults of a candidate are none of its slot");
    }
}

#[test]
fn nothing_that_a_candidate_does_is_seen() {
    for (does, cause) in [
        ("edit", "edit: x-path added"),
        ("answer", "decision: allow→deny 403"),
        // It counts a metric, writes a log line and a value.
        ("count", "decision: allow→respond 200"),
    ] {
        let metrics = Arc::new(Metrics::new());
        let state = Arc::new(FilterState::new(Arc::clone(&metrics)));
        let given = |does: &str, digest: &str| {
            let config = json!({ "do": does, "reads": [":path"], "writes": ["x-path"] });
            FilterOptions { state: Arc::clone(&state), ..options(&config, digest) }
        };
        let slot = Attachment {
            occupant: SlotOccupant::Running(
                Filter::new(behaviour(), given("pass", "sha256:00")).unwrap(),
            ),
            shadow: Some(Shadow::new(
                Filter::shadow(behaviour(), given(does, "sha256:ca")).unwrap(),
            )),
            ..attached(&json!({}), None, OnFailure::Closed)
        };
        let router = Attachment { name: "test/router".into(), ..router(&RULES) };
        let live = LiveProxy::start(vec![slot, router], ProxyOptions { metrics, ..every_one() });
        let (status, head, sent) = live.client().ask("/a", &[]);
        assert_eq!(status, 200);
        assert!(!head.contains("x-path") && !sent.contains("x-path"), "{head}{sent}");
        assert_eq!(counted(&report(&live, "test/walk", 1)), [(cause, 1)]);
        let text = live.proxy.metrics();
        assert!(text.contains("guest_total{path=\"/\"} 0"), "{text}");
        let counts = live.until(Proxy::slot_counts, |counts| counts[1].exchanges == 1);
        assert!(counts.iter().all(|one| one.digest != "sha256:ca" && one.denials == 0));
    }
}

#[test]
fn routes_responses_and_hooks_that_are_new_are_compared() {
    let elsewhere = routes(&[("/a", "ns/other/0"), ("/", "ns/all/0")]);
    let sets = |value: &str| json!({ "writes": ["x-r"], "response_set": [["x-r", value]] });
    let passing = json!({ "do": "pass", "reads": [] });
    let filters = vec![
        compared("test/response", &sets("1"), &sets("2")),
        Attachment {
            name: "test/new".into(),
            occupant: SlotOccupant::Running(
                Filter::new(behaviour(), options(&passing, "sha256:00")).unwrap(),
            ),
            shadow: Some(shadow_of(walk(), &sets("3"))),
            ..attached(&json!({}), None, OnFailure::Closed)
        },
        compared("test/router", &routes(&RULES), &elsewhere),
    ];
    let live = LiveProxy::start(filters, every_one());
    let mut client = live.client();
    for path in ["/a/1", "/b/1", "/a/2"] {
        let (status, head, _) = client.ask(path, &[]);
        assert!(status == 200 && head.contains("x-r: 1\r\n"), "{head}");
    }
    let samples = [("test/response", 6), ("test/new", 6), ("test/router", 9)];
    let told = reports(&live, &samples);
    for (report, expected) in told.iter().zip([
        ("edit: x-r differs", 3),
        ("edit: x-r added", 3),
        ("route: ns/a/0→ns/other/0", 2),
    ]) {
        assert_eq!(counted(report), [expected], "{}", report.slot);
    }
}

#[test]
fn samples_are_bounded_and_what_was_swapped_out_is_told_once_more() {
    let begun = Instant::now();
    let options = ProxyOptions { shadow_samples_per_second: 3, ..ProxyOptions::default() };
    let differs = json!({ "answer": 403 });
    let slot = compared("test/policy", &json!({}), &differs);
    let mut live = LiveProxy::start(vec![slot, router(&RULES)], options);
    let mut client = live.client();
    for _ in 0..200 {
        assert_eq!(client.ask("/", &[]).0, 200);
    }
    drop(client);
    live.swap(vec![router(&RULES)]);
    let told = report(&live, "test/policy", 6);
    let seconds = begun.elapsed().as_secs() + 2;
    assert!(told.samples <= 2 * 3 * seconds, "{} in {seconds} s", told.samples);
    assert_eq!(counted(&told), [("decision: allow→deny 403", told.samples / 2)]);
    // Nothing uses it any more, not even the list of shadows to report.
    live.until(Proxy::shadow_reports, Vec::is_empty);
}

/// A built-in filter, as built by `cargo xtask filters`.
fn built_in(name: &str) -> CompiledComponent {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components");
    let path = folder.join(format!("{name}.wasm"));
    let read = std::fs::read(&path);
    let octets =
        read.unwrap_or_else(|error| panic!("{}: {error}; run cargo xtask filters", path.display()));
    engine().compile(&octets, None).unwrap()
}

#[test]
fn what_a_candidate_would_try_again_is_compared_and_not_done() {
    let retry = built_in("retry");
    let tries = |attempts: u32| json!({ "attempts": attempts });
    let current = Filter::new(&retry, options(&tries(3), "sha256:00")).unwrap();
    for (attempts, differing) in [(3, 0), (1, 2)] {
        let slot = Attachment {
            occupant: SlotOccupant::Running(current.clone()),
            shadow: Some(shadow_of(&retry, &tries(attempts))),
            ..attached(&json!({}), None, OnFailure::Closed)
        };
        let (live, mut client) = with(slot);
        assert_eq!(client.ask("/", &[("x-status", "503")]).0, 503);
        let report = report(&live, "test/walk", 3);
        assert_eq!(report.samples, 3, "three attempts failed");
        let counts = counted(&report);
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        assert_eq!(all, differing, "{counts:?}");
        assert!(counts.iter().all(|(cause, _)| cause.ends_with("→give-up")), "{counts:?}");
    }
}

//! Each event in a slot is counted once, whatever is replaced meanwhile.

use super::live::LiveProxy;
use super::*;
use crate::{Proxy, ProxyOptions, SlotCounts};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const RULES: [(&str, &str); 1] = [("/", "ns/all/0")];

fn named(slot: &str, digest: &str, config: &Value) -> Attachment {
    let running = SlotOccupant::Running(filter_of(config, digest));
    Attachment { name: slot.into(), occupant: running, ..attached(config, None, OnFailure::Closed) }
}

fn of(counts: &[SlotCounts], slot: &str) -> SlotCounts {
    counts.iter().find(|one| one.slot == slot).cloned().unwrap_or_default()
}

fn exchanges(counts: &[SlotCounts], slot: &str) -> u64 {
    counts.iter().filter(|one| one.slot == slot).map(|one| one.exchanges).sum()
}

#[test]
fn every_exchange_is_counted_once_with_what_came_of_it() {
    let deny = json!({ "reads": ["x-deny"], "deny_with": "x-deny" });
    let trap = json!({ "reads": ["x-trap"], "trap_with": "x-trap" });
    let filters = vec![
        named("test/deny", "sha256:0d", &deny),
        named("test/trap", "sha256:07", &trap),
        named("test/router", "sha256:00", &json!({ "reads": [":path"], "rules": RULES })),
    ];
    let live = LiveProxy::start(filters, ProxyOptions::default());
    let mut client = live.client();
    let mut ask = |line: Option<(&str, &str)>| client.ask("/", line.as_slice()).0;
    for _ in 0..100 {
        assert_eq!(ask(None), 200);
    }
    assert_eq!(ask(Some(("x-deny", "1"))), 403);
    assert_eq!(ask(Some(("x-trap", "1"))), 503);
    assert_eq!(ask(Some(("x-status", "500"))), 500);
    assert_eq!(ask(Some(("x-status", "404"))), 404);
    let counts = live.until(Proxy::slot_counts, |counts| exchanges(counts, "test/deny") == 104);
    let numbers = |slot| {
        let SlotCounts { exchanges, traps, server_errors, denials, .. } = of(&counts, slot);
        (exchanges, traps, server_errors, denials)
    };
    assert_eq!(numbers("test/deny"), (104, 0, 2, 1));
    assert_eq!(numbers("test/trap"), (103, 1, 2, 0), "it was not asked about what was denied");
    assert_eq!(numbers("test/router"), (102, 0, 1, 0));
    let timed: u64 = of(&counts, "test/deny").added.values().sum();
    assert!((4..=9).contains(&timed), "{timed} of 104 were timed");
    assert_eq!(of(&counts, "test/deny").digest, "sha256:0d");
}

#[test]
fn a_hundred_swaps_lose_no_count() {
    let router =
        || named("test/router", "sha256:00", &json!({ "reads": [":path"], "rules": RULES }));
    let sets = |n: u32| json!({ "writes": ["x-n"], "set": [["x-n", n.to_string()]] });
    let policy = |n: u32| named("test/policy", &format!("sha256:0{}", n % 3), &sets(n % 5));
    let mut live = LiveProxy::start(vec![policy(0), router()], ProxyOptions::default());
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let clients: Vec<_> = (0..3).map(|_| live.client()).collect();
    std::thread::scope(|scope| {
        for mut client in clients {
            let (stop, sent) = (&stop, &sent);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.ask("/", &[]).0, 200);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 1..=100 {
            live.swap(vec![policy(n), router()]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let sent = sent.into_inner();
    let counts = live.until(Proxy::slot_counts, |counts| exchanges(counts, "test/policy") >= sent);
    for slot in ["test/policy", "test/router"] {
        assert_eq!(exchanges(&counts, slot), sent, "{slot}");
    }
    let digests = counts.iter().filter(|one| one.slot == "test/policy" && one.exchanges > 0);
    assert_eq!(digests.count(), 3, "each digest has counts of its own");
    assert!(sent > 100, "{sent} exchanges say little");
}

#[test]
fn connections_are_counted_and_those_that_were_closed() {
    let traffic = guest("traffic");
    let closes = Filter::new(&traffic, options(&json!({ "deny": true }), "sha256:00")).unwrap();
    let slot = Attachment {
        occupant: SlotOccupant::Running(closes),
        ..named("test/gate", "", &json!({}))
    };
    let router = named("test/router", "sha256:00", &json!({ "reads": [":path"], "rules": RULES }));
    let live = LiveProxy::start(vec![slot, router], ProxyOptions::default());
    for _ in 0..3 {
        assert!(live.client().is_closed());
    }
    let counts = live.until(Proxy::slot_counts, |counts| exchanges(counts, "test/gate") == 3);
    assert_eq!(of(&counts, "test/gate").denials, 3);
    assert_eq!(exchanges(&counts, "test/router"), 0);
}

#[test]
fn a_chain_longer_than_a_word_has_bits_is_counted_too() {
    let one = filter(&json!({}));
    let slot = |n: usize| Attachment {
        occupant: SlotOccupant::Running(one.clone()),
        ..named(&format!("test/{n:03}"), "", &json!({}))
    };
    let mut filters: Vec<_> = (0..70).map(slot).collect();
    filters.push(named("test/router", "sha256:0a", &json!({ "reads": [":path"], "rules": RULES })));
    let live = LiveProxy::start(filters, ProxyOptions::default());
    let mut client = live.client();
    for _ in 0..2 {
        assert_eq!(client.ask("/", &[]).0, 200);
    }
    let counts = live.until(Proxy::slot_counts, |counts| exchanges(counts, "test/router") == 2);
    assert_eq!(counts.len(), 71);
    assert!(counts.iter().all(|one| one.exchanges == 2), "{counts:?}");
}

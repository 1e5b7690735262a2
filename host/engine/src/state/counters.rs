//! Sums over fixed windows that begin with the first change: what `counters` adds to and reads.
//!
//! When the store is full, all further keys of a name share one sum. A client that fills the store, because it chooses
//! the keys, is still counted, so no limit lets it through.

use super::bounds::{SweepPause, within};
use crate::CountersGrant;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Name, key and window.
pub(crate) type Id = (String, String, u32);

/// The stored id of a counter: a long name or key by its hash, because a client may choose the length of a
/// key.
pub(crate) fn id(name: String, key: String, window_ms: u32, grant: &CountersGrant) -> Id {
    (within(name, grant.key_bytes), within(key, grant.key_bytes), window_ms)
}

/// All counters of an attachment.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    sums: HashMap<Id, Sum>,
    octets: usize,
    sweep: SweepPause,
    /// By name and window, what was added to counters that are not in `sums`, since there was no room. As long
    /// as its window lasts, every counter of that name and window that is not in `sums` is in here.
    crowds: HashMap<(String, u32), Sum>,
}

/// Most sums of counters without room: one for each name and window, which the filter's author chooses.
const CROWDS_MAX: usize = 64;

/// Memory of a counter, without its name and key.
const COUNTER_BYTES: usize = 64;

fn size((name, key, _): &Id) -> usize {
    name.len().saturating_add(key.len()).saturating_add(COUNTER_BYTES)
}

#[derive(Debug, Clone, Copy)]
struct Sum {
    begun: Instant,
    value: i64,
}

impl Sum {
    fn is_over(self, window_ms: u32, now: Instant) -> bool {
        let length = Duration::from_millis(u64::from(window_ms));
        now.saturating_duration_since(self.begun) >= length
    }
}

impl Counters {
    /// The sum of the window after adding. When the store is full: the sum that all further keys of that name and window
    /// share, which only rises.
    pub(crate) fn add(&self, id: Id, delta: i64, grant: &CountersGrant, now: Instant) -> i64 {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sum) = inner.sums.get_mut(&id) {
            if sum.is_over(id.2, now) {
                *sum = Sum { begun: now, value: 0 };
            }
            sum.value = sum.value.saturating_add(delta);
            return sum.value;
        }
        if inner.crowd(&id, now).is_some() {
            return inner.crowded(id, delta, now);
        }
        let entries = inner.sums.len();
        if !inner.has_room(&id, grant) && inner.sweep.is_due(entries, now) {
            inner.forget(now);
        }
        if !inner.has_room(&id, grant) {
            return inner.crowded(id, delta, now);
        }
        inner.octets = inner.octets.saturating_add(size(&id));
        inner.sums.insert(id, Sum { begun: now, value: delta });
        delta
    }

    pub(crate) fn read(&self, id: &Id, now: Instant) -> i64 {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.sums.get(id) {
            Some(sum) if !sum.is_over(id.2, now) => sum.value,
            Some(_) => 0,
            None => inner.crowd(id, now).unwrap_or(0),
        }
    }
}

impl Sums {
    fn has_room(&self, id: &Id, grant: &CountersGrant) -> bool {
        self.sums.len() < grant.keys && self.octets.saturating_add(size(id)) <= grant.total_bytes
    }

    /// The shared sum that includes a key without a counter of its own, while its window lasts.
    fn crowd(&self, (name, _, window_ms): &Id, now: Instant) -> Option<i64> {
        // The usual case costs nothing.
        if self.crowds.is_empty() {
            return None;
        }
        let sum = self.crowds.get(&(name.clone(), *window_ms))?;
        (!sum.is_over(*window_ms, now)).then_some(sum.value)
    }

    /// Adds to the shared sum. Negative changes are ignored: it is unknown which key they belong to.
    fn crowded(&mut self, (name, _, window_ms): Id, delta: i64, now: Instant) -> i64 {
        let key = (name, window_ms);
        if !self.crowds.contains_key(&key) && self.crowds.len() >= CROWDS_MAX {
            self.crowds.retain(|(_, window_ms), sum| !sum.is_over(*window_ms, now));
            if self.crowds.len() >= CROWDS_MAX {
                return i64::MAX;
            }
        }
        let fresh = Sum { begun: now, value: 0 };
        let sum = self.crowds.entry(key).or_insert(fresh);
        if sum.is_over(window_ms, now) {
            *sum = fresh;
        }
        sum.value = sum.value.saturating_add(delta.max(0));
        sum.value
    }

    /// Forgets counters whose window is over.
    fn forget(&mut self, now: Instant) {
        self.sums.retain(|(_, _, window_ms), sum| !sum.is_over(*window_ms, now));
        self.octets = self.sums.keys().map(size).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_forgets_with_its_window() {
        let (counters, now) = (Counters::default(), Instant::now());
        let (id, grant) = (("n".to_owned(), "k".to_owned(), 100), CountersGrant::default());
        let add = |at| counters.add(id.clone(), 2, &grant, at);
        assert_eq!((add(now), add(now)), (2, 4));
        let later = now + Duration::from_millis(100);
        assert_eq!(counters.read(&id, later), 0);
        assert_eq!(add(later), 2);
    }

    #[test]
    fn keys_of_any_length_cost_no_more_than_granted_and_count_apart() {
        let (counters, grant, now) =
            (Counters::default(), CountersGrant::default(), Instant::now());
        let of = |n: usize| {
            let long = format!("{}{n}", "k".repeat(1 << 20));
            id("n".into(), long, 1_000, &grant)
        };
        for n in 0..3 {
            assert_eq!(counters.add(of(n), 1, &grant, now), 1, "each its own");
            assert_eq!(counters.add(of(n), 1, &grant, now), 2);
        }
        let kept = counters.0.lock().unwrap().octets;
        assert!(kept < 3 * (2 * grant.key_bytes + COUNTER_BYTES), "{kept}");
    }

    #[test]
    fn the_octets_of_all_counters_are_bounded_and_come_back_with_their_windows() {
        let (counters, now) = (Counters::default(), Instant::now());
        let grant = CountersGrant { total_bytes: 1_000, ..CountersGrant::default() };
        let add = |n: usize, at| counters.add((n.to_string(), "k".into(), 100), 1, &grant, at);
        assert!((0..1_000).all(|n| add(n, now) >= 1));
        assert!(counters.0.lock().unwrap().octets <= 1_000);
        let later = now + Duration::from_millis(100);
        add(2_000, later);
        assert_eq!(add(2_000, later), 2);
    }

    #[test]
    fn no_flood_of_keys_makes_a_limit_forget_to_count() {
        let now = Instant::now();
        let two = CountersGrant { keys: 2, ..CountersGrant::default() };
        let octets = 2 * ("nk1".len() + COUNTER_BYTES);
        let octets = CountersGrant { total_bytes: octets, ..CountersGrant::default() };
        for grant in [two, octets] {
            let counters = Counters::default();
            let id = |key: &str| ("n".to_owned(), key.to_owned(), 100);
            let add = |key, delta, at| counters.add(id(key), delta, &grant, at);
            let read = |key, at| counters.read(&id(key), at);
            assert_eq!((add("k1", 1, now), add("k2", 1, now)), (1, 1));
            // Whoever has no counter is counted with all others that have none.
            assert_eq!((add("k3", 1, now), add("k3", 1, now), add("k4", 1, now)), (1, 2, 3));
            assert_eq!((read("k3", now), read("k4", now), read("new", now)), (3, 3, 3));
            // Nobody makes room for themselves by taking away, and whoever has a counter keeps it.
            assert_eq!((add("k5", -9, now), add("k3", i64::MIN, now)), (3, 3));
            assert_eq!((add("k1", 1, now), read("k1", now)), (2, 2));
            assert_eq!(add("k3", i64::MAX, now), i64::MAX);
            // Another name and another window are not touched.
            assert_eq!(counters.read(&("m".to_owned(), "k3".to_owned(), 100), now), 0);
            assert_eq!(counters.read(&("n".to_owned(), "k3".to_owned(), 101), now), 0);
            let later = now + Duration::from_millis(100);
            assert_eq!((read("k3", later), add("k3", 1, later)), (0, 1), "over with the window");
        }
    }

    #[test]
    fn names_and_windows_without_end_are_bounded_and_count_as_the_most_there_is() {
        let (counters, now) = (Counters::default(), Instant::now());
        let none = CountersGrant { keys: 0, ..CountersGrant::default() };
        let add = |n: usize| counters.add((n.to_string(), "k".into(), 1_000), 1, &none, now);
        assert!((0..CROWDS_MAX).all(|n| add(n) == 1));
        assert_eq!((add(CROWDS_MAX), add(0)), (i64::MAX, 2));
        assert_eq!(counters.0.lock().unwrap().crowds.len(), CROWDS_MAX);
    }
}

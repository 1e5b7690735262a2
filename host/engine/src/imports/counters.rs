//! `counters`: sums over fixed windows that begin with the first change.

use super::{Sweep, within};
use crate::{CountersGrant, Host};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

pub(super) fn add(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "add",
        |store: StoreContextMut<'_, Host>,
         (name, key, delta, window): (String, String, i64, u32)| {
            let host = store.data();
            let grant = grant(host);
            let id = id(name, key, window, &grant);
            Ok((host.state.counters.add(id, delta, &grant, Instant::now()),))
        },
    )?;
    linker.func_wrap(
        "read",
        |store: StoreContextMut<'_, Host>, (name, key, window): (String, String, u32)| {
            let host = store.data();
            let id = id(name, key, window, &grant(host));
            Ok((host.state.counters.read(&id, Instant::now()),))
        },
    )
}

fn grant(host: &Host) -> CountersGrant {
    host.settings.grant.imports.counters.clone().unwrap_or_default()
}

/// Name, key and window.
type Id = (String, String, u32);

/// The stored id of a counter: a long name or key by its hash, because a client may choose the length of a
/// key.
fn id(name: String, key: String, window_ms: u32, grant: &CountersGrant) -> Id {
    (within(name, grant.key_bytes), within(key, grant.key_bytes), window_ms)
}

/// All counters of an attachment.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    sums: HashMap<Id, Sum>,
    octets: usize,
    sweep: Sweep,
}

/// Memory of a counter, without its name and key.
const COUNTER_BYTES: usize = 64;

fn size((name, key, _): &Id) -> usize {
    name.len() + key.len() + COUNTER_BYTES
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
    /// The sum of the window after adding. Without room for another counter nothing is stored.
    fn add(&self, id: Id, delta: i64, grant: &CountersGrant, now: Instant) -> i64 {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sum) = inner.sums.get_mut(&id) {
            if sum.is_over(id.2, now) {
                *sum = Sum { begun: now, value: 0 };
            }
            sum.value = sum.value.saturating_add(delta);
            return sum.value;
        }
        let entries = inner.sums.len();
        if !inner.has_room(&id, grant) && inner.sweep.is_due(entries, now) {
            inner.forget(now);
        }
        if inner.has_room(&id, grant) {
            inner.octets += size(&id);
            inner.sums.insert(id, Sum { begun: now, value: delta });
        }
        delta
    }

    fn read(&self, id: &Id, now: Instant) -> i64 {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.sums.get(id) {
            Some(sum) if !sum.is_over(id.2, now) => sum.value,
            _ => 0,
        }
    }
}

impl Sums {
    fn has_room(&self, id: &Id, grant: &CountersGrant) -> bool {
        self.sums.len() < grant.keys && self.octets.saturating_add(size(id)) <= grant.total_bytes
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
        (0..1_000).for_each(|n| assert_eq!(add(n, now), 1));
        assert!(counters.0.lock().unwrap().octets <= 1_000);
        assert_eq!(add(999, now), 1, "not kept");
        let later = now + Duration::from_millis(100);
        add(2_000, later);
        assert_eq!(add(2_000, later), 2);
    }
}

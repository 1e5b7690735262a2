//! `counters`: sums over fixed windows that begin with the first change.

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
            let default = CountersGrant::default();
            let cap = host.settings.grant.imports.counters.as_ref().unwrap_or(&default).keys;
            Ok((host.state.counters.add(name, key, delta, window, cap, Instant::now()),))
        },
    )?;
    linker.func_wrap(
        "read",
        |store: StoreContextMut<'_, Host>, (name, key, window): (String, String, u32)| {
            Ok((store.data().state.counters.read(name, key, window, Instant::now()),))
        },
    )
}

/// All counters of an attachment.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<HashMap<(String, String, u32), Sum>>);

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
    /// The sum of the window after adding. With no room for another counter nothing is kept.
    fn add(
        &self,
        name: String,
        key: String,
        delta: i64,
        window_ms: u32,
        cap: usize,
        now: Instant,
    ) -> i64 {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = (name, key, window_ms);
        if let Some(sum) = sums.get_mut(&id) {
            if sum.is_over(window_ms, now) {
                *sum = Sum { begun: now, value: 0 };
            }
            sum.value = sum.value.saturating_add(delta);
            return sum.value;
        }
        if sums.len() >= cap {
            sums.retain(|(_, _, window_ms), sum| !sum.is_over(*window_ms, now));
        }
        if sums.len() < cap {
            sums.insert(id, Sum { begun: now, value: delta });
        }
        delta
    }

    fn read(&self, name: String, key: String, window_ms: u32, now: Instant) -> i64 {
        let sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sums.get(&(name, key, window_ms)) {
            Some(sum) if !sum.is_over(window_ms, now) => sum.value,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_forgets_with_its_window() {
        let (counters, now) = (Counters::default(), Instant::now());
        let add = |at| counters.add("n".into(), "k".into(), 2, 100, 10, at);
        assert_eq!((add(now), add(now)), (2, 4));
        let later = now + Duration::from_millis(100);
        assert_eq!(counters.read("n".into(), "k".into(), 100, later), 0);
        assert_eq!(add(later), 2);
    }
}

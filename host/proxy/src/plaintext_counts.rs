//! Connections in plain text to ports of the mesh, counted so that an operator sees when nobody needs them any more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tamis_ambient::Clock;

/// A port that is served in plain text too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaintextPort {
    /// `namespace/name` of the service.
    pub service: String,
    /// Its port.
    pub port: u16,
}

/// The connections of one port, over all workers and generations.
#[derive(Debug, Default)]
struct PlaintextCounts {
    open: AtomicU64,
    total: AtomicU64,
    /// When one was opened or closed last, in seconds since the Unix epoch; 0: never.
    used: AtomicU64,
}

/// The connections of one port at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PlaintextUse {
    /// Open ones.
    pub(crate) open: u64,
    /// All since the start.
    pub(crate) total: u64,
    /// The last second in which one was open, since the Unix epoch; `None`: none was since the start.
    pub(crate) used: Option<u64>,
}

/// The connections of all ports that are or were served in plain text.
#[derive(Default)]
pub(crate) struct PlaintextTraffic(Mutex<BTreeMap<PlaintextPort, Arc<PlaintextCounts>>>);

impl PlaintextTraffic {
    /// Counts a connection until it is dropped.
    pub(crate) fn open(&self, port: &PlaintextPort, clock: Clock) -> OpenPlaintext {
        let counts = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(port.clone()).or_default())
        };
        counts.open.fetch_add(1, Ordering::Relaxed);
        counts.total.fetch_add(1, Ordering::Relaxed);
        counts.used.store(clock.unix_secs(), Ordering::Relaxed);
        OpenPlaintext { counts, clock }
    }

    /// The counts of every port that had a connection, and of those that are served in plain text now.
    pub(crate) fn all<'a>(
        &self,
        served: impl Iterator<Item = &'a PlaintextPort>,
        clock: Clock,
    ) -> BTreeMap<PlaintextPort, PlaintextUse> {
        let mut found: BTreeMap<PlaintextPort, PlaintextUse> =
            served.map(|port| (port.clone(), PlaintextUse::default())).collect();
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (port, counts) in all.iter() {
            let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
            let (open, total) = (read(&counts.open), read(&counts.total));
            let used = if open > 0 { clock.unix_secs() } else { read(&counts.used) };
            found.insert(port.clone(), PlaintextUse { open, total, used: Some(used) });
        }
        found
    }
}

/// An open connection in plain text.
pub(crate) struct OpenPlaintext {
    counts: Arc<PlaintextCounts>,
    clock: Clock,
}

impl Drop for OpenPlaintext {
    fn drop(&mut self) {
        self.counts.used.store(self.clock.unix_secs(), Ordering::Relaxed);
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_counts_and_the_last_moment_of_use_is_known() {
        let (traffic, clock) = (PlaintextTraffic::default(), Clock::system());
        let port = PlaintextPort { service: "shop/pay".into(), port: 80 };
        let other = PlaintextPort { service: "shop/pay".into(), port: 5432 };
        let now = |traffic: &PlaintextTraffic| traffic.all([&port].into_iter(), clock);
        assert_eq!(now(&traffic), [(port.clone(), PlaintextUse::default())].into());
        let (one, two) = (traffic.open(&port, clock), traffic.open(&port, clock));
        drop(traffic.open(&other, clock));
        drop(one);
        let found = now(&traffic);
        assert_eq!((found[&port].open, found[&port].total), (1, 2));
        assert_eq!((found[&other].open, found[&other].total), (0, 1), "it is served no longer");
        drop(two);
        let found = now(&traffic);
        assert_eq!((found[&port].open, found[&port].total), (0, 2));
        assert!(found[&port].used.is_some_and(|used| used > 0));
    }
}

//! The connections of `tcp` listeners, counted for metrics and for the bound of each listener.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tamis_upstream::CallerShares;

/// The connections of all `tcp` listeners of a proxy.
#[derive(Default)]
pub(crate) struct TcpTraffic(Mutex<BTreeMap<Arc<str>, Arc<TcpCounts>>>);

/// The connections of one listener, over all workers and generations.
#[derive(Default)]
pub(crate) struct TcpCounts {
    pub(crate) open: AtomicU64,
    pub(crate) total: AtomicU64,
    /// Octets that services took of clients.
    pub(crate) sent: AtomicU64,
    /// Octets that clients took of services.
    pub(crate) received: AtomicU64,
    /// Open connections of each caller that is known by its identity or its address.
    callers: CallerShares,
}

impl TcpTraffic {
    /// The counts of a listener.
    pub(crate) fn of(&self, listener: &Arc<str>) -> Arc<TcpCounts> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = all.get(listener) {
            return Arc::clone(counts);
        }
        Arc::clone(all.entry(Arc::clone(listener)).or_default())
    }

    /// All listeners that have had a connection, by name.
    pub(crate) fn all(&self) -> Vec<(Arc<str>, Arc<TcpCounts>)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, counts)| (Arc::clone(name), Arc::clone(counts))).collect()
    }
}

/// The limit that leaves no place for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TcpFull {
    /// The listener has all its connections.
    Listener,
    /// Its caller has this many, which is its share of them.
    Caller(u32),
}

impl TcpCounts {
    /// Counts a connection until it is dropped. The listener has at most `most`, of which a caller that is known by its
    /// identity or its address gets at most half, so that no caller takes them all from the others. A listener without such
    /// callers belongs to one application, which may have all of them.
    ///
    /// # Errors
    /// The bound that is reached.
    pub(crate) fn open(
        self: &Arc<Self>,
        most: u32,
        caller: Option<&Arc<str>>,
    ) -> Result<OpenTcp, TcpFull> {
        self.total.fetch_add(1, Ordering::Relaxed);
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let mut open = OpenTcp { counts: Arc::clone(self), caller: None };
        if before >= u64::from(most) {
            return Err(TcpFull::Listener);
        }
        if let Some(caller) = caller {
            let share = CallerShares::share(most);
            if !self.callers.join(caller, share) {
                return Err(TcpFull::Caller(share));
            }
            open.caller = Some(Arc::clone(caller));
        }
        Ok(open)
    }

    pub(crate) fn note(&self, sent: u64, received: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
    }
}

/// An open connection of a listener.
pub(crate) struct OpenTcp {
    pub(crate) counts: Arc<TcpCounts>,
    /// The caller in whose share it counts.
    caller: Option<Arc<str>>,
}

impl Drop for OpenTcp {
    fn drop(&mut self) {
        if let Some(caller) = &self.caller {
            self.counts.callers.leave(caller);
        }
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_has_at_most_its_connections_at_once_and_counts_all() {
        let (traffic, name) = (TcpTraffic::default(), Arc::from("inbound:5432"));
        let counts = traffic.of(&name);
        let (one, two) = (counts.open(2, None), traffic.of(&name).open(2, None));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(counts.open(2, None).err(), Some(TcpFull::Listener), "the third is refused");
        drop(one);
        let again = counts.open(2, None);
        assert!(again.is_ok(), "a place is free again");
        assert_eq!(counts.open.load(Ordering::Relaxed), 2);
        assert_eq!(counts.total.load(Ordering::Relaxed), 4);
        assert_eq!(traffic.all().len(), 1);
    }

    #[test]
    fn a_caller_has_its_share_of_a_listener_and_leaves_the_rest_to_others() {
        let names: [Arc<str>; 3] = ["a", "b", "c"].map(Arc::from);
        let [a, b, c] = [Some(&names[0]), Some(&names[1]), Some(&names[2])];
        for (most, opens) in [
            // The callers in order, and how each of them fares.
            (1, &[(a, Ok(())), (b, Err(TcpFull::Listener))][..]),
            (
                2,
                &[
                    (a, Ok(())),
                    (a, Err(TcpFull::Caller(1))),
                    (b, Ok(())),
                    (c, Err(TcpFull::Listener)),
                ],
            ),
            (3, &[(a, Ok(())), (a, Err(TcpFull::Caller(1))), (b, Ok(())), (c, Ok(()))]),
            (
                4,
                &[(a, Ok(())), (a, Ok(())), (a, Err(TcpFull::Caller(2))), (b, Ok(())), (b, Ok(()))],
            ),
            // Nobody proved anything: one application has all of it.
            (2, &[(None, Ok(())), (None, Ok(())), (None, Err(TcpFull::Listener))]),
        ] {
            let counts = Arc::new(TcpCounts::default());
            let mut held = Vec::new();
            for (at, (caller, wanted)) in opens.iter().enumerate() {
                let opened = counts.open(most, *caller);
                let fares = opened.as_ref().map(|_| ()).map_err(|full| *full);
                assert_eq!(fares, *wanted, "{most}: {at}");
                held.extend(opened);
            }
            assert_eq!(counts.open.load(Ordering::Relaxed), held.len() as u64, "{most}");
            drop(held);
            assert_eq!(counts.open.load(Ordering::Relaxed), 0, "{most}");
            assert!(counts.callers.is_empty(), "{most}: nobody is remembered");
        }
    }
}

//! The connections of `tcp` listeners, counted for metrics and for the bound of each listener.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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

impl TcpCounts {
    /// Counts a connection until it is dropped; `None`: there are `most` already.
    pub(crate) fn open(self: &Arc<Self>, most: u32) -> Option<OpenTcp> {
        self.total.fetch_add(1, Ordering::Relaxed);
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let open = OpenTcp { counts: Arc::clone(self) };
        (before < u64::from(most)).then_some(open)
    }

    pub(crate) fn note(&self, sent: u64, received: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
    }
}

/// An open connection of a listener.
pub(crate) struct OpenTcp {
    pub(crate) counts: Arc<TcpCounts>,
}

impl Drop for OpenTcp {
    fn drop(&mut self) {
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
        let (one, two) = (counts.open(2), traffic.of(&name).open(2));
        assert!(one.is_some() && two.is_some());
        assert!(counts.open(2).is_none(), "the third is refused");
        drop(one);
        let again = counts.open(2);
        assert!(again.is_some(), "a place is free again");
        assert_eq!(counts.open.load(Ordering::Relaxed), 2);
        assert_eq!(counts.total.load(Ordering::Relaxed), 4);
        assert_eq!(traffic.all().len(), 1);
    }
}

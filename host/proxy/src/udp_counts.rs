//! Sessions and datagrams of listeners for UDP, counted for metrics and for the bound of each listener.

use crate::tcp_counts::TcpCounts;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The datagrams of all listeners of a proxy.
#[derive(Default)]
pub(crate) struct UdpTraffic(Mutex<BTreeMap<Arc<str>, Arc<UdpCounts>>>);

/// The datagrams of one listener, over all workers and generations.
#[derive(Default)]
pub(crate) struct UdpCounts {
    /// Sessions, each counted as a connection, and the octets of their datagrams.
    pub(crate) sessions: Arc<TcpCounts>,
    /// Datagrams of clients that were sent on.
    pub(crate) sent: AtomicU64,
    /// Datagrams of services that were sent on.
    pub(crate) received: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

/// Why a datagram was not sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// The session of its client is refused.
    Refused,
    /// There is no place for another session.
    Full,
    /// Too many wait for the endpoint of their session.
    Waiting,
    /// The proxy takes no new sessions any more.
    Draining,
    /// The system has no room for it, or does not send one so large.
    Unsent,
    /// It comes from a socket of this proxy itself.
    Loop,
}

impl DropReason {
    const ALL: [Self; 6] =
        [Self::Refused, Self::Full, Self::Waiting, Self::Draining, Self::Unsent, Self::Loop];

    fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Full => "full",
            Self::Waiting => "waiting",
            Self::Draining => "draining",
            Self::Unsent => "unsent",
            Self::Loop => "loop",
        }
    }
}

impl UdpTraffic {
    /// The counts of a listener.
    pub(crate) fn of(&self, listener: &str) -> Arc<UdpCounts> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = all.get(listener) {
            return Arc::clone(counts);
        }
        Arc::clone(all.entry(listener.into()).or_default())
    }

    /// All listeners that have had a datagram, by name.
    pub(crate) fn all(&self) -> Vec<(Arc<str>, Arc<UdpCounts>)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, counts)| (Arc::clone(name), Arc::clone(counts))).collect()
    }
}

impl UdpCounts {
    /// Counts a datagram of a client that was sent on.
    pub(crate) fn note_sent(&self, octets: u64) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.sessions.note(octets, 0);
    }

    /// Counts a datagram of a service that was sent on.
    pub(crate) fn note_received(&self, octets: u64) {
        self.received.fetch_add(1, Ordering::Relaxed);
        self.sessions.note(0, octets);
    }

    /// Counts a datagram that was not sent on.
    pub(crate) fn note_dropped(&self, reason: DropReason) {
        let all = DropReason::ALL.iter().zip(&self.dropped);
        for (_, count) in all.filter(|(known, _)| **known == reason) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Datagrams that were not sent on, by reason.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = DropReason::ALL.iter().zip(&self.dropped);
        all.map(|(reason, count)| (reason.as_str(), count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_on_and_what_is_not_is_counted_by_listener() {
        let traffic = UdpTraffic::default();
        traffic.of("dns").note_sent(30);
        traffic.of("dns").note_received(512);
        traffic.of("dns").note_dropped(DropReason::Waiting);
        traffic.of("ntp").note_dropped(DropReason::Full);
        let all = traffic.all();
        let names: Vec<&str> = all.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["dns", "ntp"]);
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let counts = &all[0].1;
        assert_eq!((read(&counts.sent), read(&counts.received)), (1, 1));
        assert_eq!((read(&counts.sessions.sent), read(&counts.sessions.received)), (30, 512));
        let dropped: Vec<_> = counts.dropped().filter(|(_, count)| *count > 0).collect();
        assert_eq!(dropped, [("waiting", 1)]);
    }
}

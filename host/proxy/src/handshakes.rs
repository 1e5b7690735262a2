//! Connections that ended before their first request, by reason: a PROXY header or a TLS handshake failed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tamis_ambient::Clock;

/// A reason is logged as a warning at most this often: strangers decide how often handshakes fail.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// Reasons that say nothing about the peer: probes of a port end like this.
const QUIET: [&str; 2] = ["closed", "timeout"];

/// Handshakes that failed, by reason. The reasons are a short list of ours.
#[derive(Debug, Default)]
pub(crate) struct FailedHandshakes(Mutex<BTreeMap<&'static str, FailedReason>>);

/// Handshakes that failed for one reason.
#[derive(Debug, Default)]
struct FailedReason {
    count: u64,
    /// When it was logged as a warning, and the count at that time.
    warned: Option<(Instant, u64)>,
}

impl FailedHandshakes {
    /// Counts a failed handshake of a client of a listener, and logs it.
    pub(crate) fn note(
        &self,
        listener: &str,
        peer: Option<SocketAddr>,
        (reason, error): (&'static str, &str),
        clock: Clock,
    ) {
        let unseen = self.count(reason, clock);
        match unseen {
            Some(unseen) => {
                tracing::warn!(listener, ?peer, reason, error, unseen, "a handshake failed");
            }
            None => tracing::debug!(listener, ?peer, reason, error, "a handshake failed"),
        }
    }

    /// Counts one; `Some` when it is worth a warning, with the number of failures since the last one.
    fn count(&self, reason: &'static str, clock: Clock) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = all.entry(reason).or_default();
        failed.count = failed.count.saturating_add(1);
        let recent = |at: Instant| clock.since(at) < WARN_EVERY;
        if QUIET.contains(&reason) || failed.warned.is_some_and(|(at, _)| recent(at)) {
            return None;
        }
        let before = failed.warned.map_or(0, |(_, count)| count);
        failed.warned = Some((clock.now(), failed.count));
        Some(failed.count.saturating_sub(before).saturating_sub(1))
    }

    /// The counts by reason.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(reason, failed)| (*reason, failed.count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_counts_and_a_flood_warns_once() {
        let (failed, clock) = (FailedHandshakes::default(), Clock::system());
        assert_eq!(failed.count("expired", clock), Some(0));
        for _ in 0..99 {
            assert_eq!(failed.count("expired", clock), None);
        }
        assert_eq!(failed.count("plaintext", clock), Some(0), "another reason");
        assert_eq!(failed.count("closed", clock), None);
        let expected = BTreeMap::from([("closed", 1), ("expired", 100), ("plaintext", 1)]);
        assert_eq!(failed.counts(), expected);
    }
}

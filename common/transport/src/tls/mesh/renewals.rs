//! How the renewal of an SVID goes: counted here, since the identity is what everybody who reports it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::{MeshIdentity, SvidSource};

/// The state of the renewal of an SVID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvidRenewals {
    /// How often the SVID was replaced.
    pub renewed: u64,
    /// How often a renewal failed.
    pub failed: u64,
    /// When the SVID was replaced last, in seconds since the Unix epoch; `None`: never.
    pub last: Option<u64>,
    /// Set when a person must act: the SVID has expired, or renewals have failed for half of the time that was
    /// left when the first of them failed. The text stays the same until the SVID or the reason changes.
    pub problem: Option<String>,
}

/// Counts of renewals, and the failures since the last success.
#[derive(Debug, Default)]
pub(super) struct RenewalCounts {
    renewed: AtomicU64,
    failed: AtomicU64,
    /// In seconds since the Unix epoch; 0: never.
    last: AtomicU64,
    failing: ArcSwapOption<FailingRenewal>,
}

/// Renewals that have failed since the last success.
#[derive(Debug)]
struct FailingRenewal {
    /// Why the last one failed.
    why: String,
    /// Seconds that the SVID was still valid when the first one failed.
    rest: u64,
}

impl RenewalCounts {
    pub(super) fn succeeded(&self, now: Duration) {
        self.last.store(now.as_secs(), Ordering::Relaxed);
        self.renewed.fetch_add(1, Ordering::Relaxed);
        self.recovered();
    }

    /// Nothing fails any more, and the SVID is the same.
    pub(super) fn recovered(&self) {
        self.failing.store(None);
    }
}

impl MeshIdentity {
    /// Records that a renewal failed at `now`, since the Unix epoch, and why.
    pub fn renewal_failed(&self, why: &str, now: Duration) {
        let counts = &self.0.renewals;
        counts.failed.fetch_add(1, Ordering::Relaxed);
        let first = counts.failing.load().as_ref().map(|failing| failing.rest);
        let rest = first.unwrap_or_else(|| self.seconds_left(now));
        counts.failing.store(Some(Arc::new(FailingRenewal { why: why.to_owned(), rest })));
    }

    /// Seconds for which the SVID is still valid at `now`, since the Unix epoch; 0: it has expired.
    #[must_use]
    pub fn seconds_left(&self, now: Duration) -> u64 {
        let until = u64::try_from(self.facts().not_after).unwrap_or(0);
        until.saturating_sub(now.as_secs())
    }

    /// The state of its renewal at `now`, since the Unix epoch.
    #[must_use]
    pub fn renewals(&self, now: Duration) -> SvidRenewals {
        let counts = &self.0.renewals;
        SvidRenewals {
            renewed: counts.renewed.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            last: Some(counts.last.load(Ordering::Relaxed)).filter(|last| *last > 0),
            problem: self.problem(now),
        }
    }

    fn problem(&self, now: Duration) -> Option<String> {
        let failing = self.0.renewals.failing.load();
        let (id, expires, left) = (self.id(), self.facts().expiry(), self.seconds_left(now));
        let why = failing.as_ref().map(|failing| failing.why.as_str());
        if left == 0 {
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            let way_out = match self.0.source {
                SvidSource::Registry => {
                    "the registry renews it for a day after that, later the proxy needs a new join token"
                }
                SvidSource::Agent => {
                    "the proxy uses the next one as soon as the SPIFFE agent sends it; see what keeps the agent from it"
                }
            };
            return Some(format!(
                "the SVID of {id} expired at {expires}{why}: no peer accepts new connections; {way_out}"
            ));
        }
        let failing = failing.as_ref().filter(|failing| left <= failing.rest / 2)?;
        let why = &failing.why;
        Some(format!(
            "the SVID of {id} cannot be renewed and expires at {expires}: {why}; it stays in use until then"
        ))
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::UnixTime;

    use super::super::super::testing::{TestAuthority, bundles};
    use super::*;

    const PAY: &str = "spiffe://shop.example/ns/shop/pay";

    #[test]
    fn a_failing_renewal_is_a_problem_from_half_of_the_rest_and_a_success_ends_it() {
        let authority = TestAuthority::new();
        let trust = || bundles(&[("shop.example", &authority)]);
        let pay = authority.member(PAY, trust());
        let until = u64::try_from(pay.facts().not_after).unwrap();
        let left = |seconds: u64| Duration::from_secs(until - seconds);
        let problem = |identity: &MeshIdentity, seconds| identity.renewals(left(seconds)).problem;
        assert_eq!(pay.seconds_left(left(7)), 7);
        assert_eq!(problem(&pay, 1), None, "nothing has failed");

        pay.renewal_failed("nobody answers", left(100));
        pay.renewal_failed("it refuses", left(60));
        for (seconds, is_problem) in [(100, false), (51, false), (50, true), (1, true)] {
            assert_eq!(problem(&pay, seconds).is_some(), is_problem, "{seconds} s left");
        }
        let text = problem(&pay, 20).unwrap();
        assert!(text.contains(PAY) && text.contains("it refuses"), "{text}");
        assert_eq!(problem(&pay, 19), Some(text), "a text that changes would be a new problem");
        assert!(problem(&pay, 0).unwrap().contains("new join token"));
        assert_eq!(pay.renewals(left(100)).failed, 2);

        assert_eq!(pay.renewals(left(100)).last, None);
        let svid = authority.issue(&[PAY], |_| {});
        let now = UnixTime::now();
        pay.replace(&svid.chain, svid.key(), trust(), now).unwrap();
        let after = pay.renewals(left(20));
        assert_eq!((after.renewed, after.failed, after.problem), (1, 2, None));
        assert_eq!(after.last, Some(now.as_secs()));
    }
}

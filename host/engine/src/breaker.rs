//! The breaker of a filter: a filter that keeps failing is not called for a while.
//!
//! It counts shares and not only faults: who finds one request on which a filter fails, and sends it five times, must not keep
//! everybody else from being served.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tamis_ambient::Clock;

/// Faults within [`SPAN`] that open the breaker, unless more calls than these succeeded meanwhile.
const FAULTS: usize = 5;
/// Time within which faults count together.
const SPAN: Duration = Duration::from_secs(10);
/// Time for which the breaker is open at first; doubled with each probe that fails, up to [`MAX_OPEN`].
const OPEN: Duration = Duration::from_secs(1);
/// Longest time for which the breaker is open without a probe.
const MAX_OPEN: Duration = Duration::from_secs(60);

/// Faults that are remembered: under more of them the share is that of the last ones.
const REMEMBERED: usize = 64;
/// Successes between two looks whether faults are still recent.
const LOOK_EVERY: u64 = 1_024;

/// No fault is recent: a healthy filter costs one load.
const QUIET: u8 = 0;
/// Faults are recent, and successes are counted.
const WATCHING: u8 = 1;
/// Calls are refused or probed.
const TRIPPED: u8 = 2;

/// Whether a filter is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerStatus {
    /// Every call is made.
    Closed,
    /// No call is made.
    Open,
    /// One call probes it.
    HalfOpen,
}

/// Counts faults of all instances of an attachment.
#[derive(Debug, Default)]
pub(crate) struct FilterBreaker {
    clock: Clock,
    /// Almost always [`QUIET`]. Changed under the lock of `inner`.
    phase: AtomicU8,
    /// Calls that succeeded while faults were recent.
    successes: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// When each happened, and how many calls had succeeded by then.
    faults: VecDeque<(Instant, u64)>,
    until: Option<Instant>,
    open_for: Duration,
    probing: bool,
}

impl FilterBreaker {
    /// A closed breaker.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Whether a call may be made now. `true` while the breaker is open means that this call is the probe.
    pub(crate) fn allows(&self) -> bool {
        if !self.is_tripped() {
            return true;
        }
        self.allows_at(self.clock.now())
    }

    /// Whether no call may be made now, not even a probe. Changes nothing.
    pub(crate) fn refuses(&self) -> bool {
        self.is_tripped() && self.lock().until.is_some_and(|until| self.clock.now() < until)
    }

    fn allows_at(&self, now: Instant) -> bool {
        let mut inner = self.lock();
        match inner.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) if inner.probing => {
                // A probe that never ended (its caller was cancelled) does not block the filter for ever.
                inner.until = now.checked_add(inner.open_for);
                inner.probing = false;
                false
            }
            Some(_) => {
                inner.probing = true;
                true
            }
        }
    }

    fn is_tripped(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == TRIPPED
    }

    /// A call succeeded: a successful probe closes the breaker. An answer that the contract does not allow is such a call first,
    /// and then a fault.
    pub(crate) fn succeeded(&self) {
        match self.phase.load(Ordering::Relaxed) {
            QUIET => {}
            WATCHING => {
                let before = self.successes.fetch_add(1, Ordering::Relaxed);
                if before % LOOK_EVERY == LOOK_EVERY - 1 {
                    self.look_at(self.clock.now());
                }
            }
            _ => {
                let mut inner = self.lock();
                if inner.probing {
                    *inner = Inner::default();
                    self.phase.store(QUIET, Ordering::Relaxed);
                }
            }
        }
    }

    /// Counts successes no longer once no fault is recent.
    fn look_at(&self, now: Instant) {
        let mut inner = self.lock();
        inner.forget(now);
        if inner.faults.is_empty() && inner.until.is_none() {
            self.phase.store(QUIET, Ordering::Relaxed);
        }
    }

    /// A call failed.
    pub(crate) fn failed(&self) {
        self.failed_at(self.clock.now());
    }

    fn failed_at(&self, now: Instant) {
        let mut inner = self.lock();
        if inner.probing {
            inner.probing = false;
            inner.open_for = inner.open_for.saturating_mul(2).min(MAX_OPEN);
            inner.until = now.checked_add(inner.open_for);
            return;
        }
        inner.forget(now);
        let successes = self.successes.load(Ordering::Relaxed);
        inner.faults.push_back((now, successes));
        if inner.until.is_some() {
            return;
        }
        if inner.faults.len() >= FAULTS && inner.is_mostly_failing(successes) {
            inner.faults.clear();
            inner.open_for = OPEN;
            inner.until = now.checked_add(OPEN);
            self.phase.store(TRIPPED, Ordering::Relaxed);
        } else {
            self.phase.store(WATCHING, Ordering::Relaxed);
        }
    }

    pub(crate) fn status(&self) -> BreakerStatus {
        let inner = self.lock();
        match inner.until {
            None => BreakerStatus::Closed,
            Some(_) if inner.probing => BreakerStatus::HalfOpen,
            Some(_) => BreakerStatus::Open,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Forgets faults that are not recent, and leaves room for another.
    fn forget(&mut self, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= SPAN;
        while self.faults.len() >= REMEMBERED
            || self.faults.front().is_some_and(|(at, _)| is_old(*at))
        {
            self.faults.pop_front();
        }
    }

    /// Whether at least half of the calls since the first remembered fault failed.
    fn is_mostly_failing(&self, successes: u64) -> bool {
        let Some((_, before)) = self.faults.front() else { return false };
        successes.wrapping_sub(*before) <= u64::try_from(self.faults.len()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_faults_open_it_and_a_good_probe_closes_it() {
        let (breaker, start) = (FilterBreaker::default(), Instant::now());
        for _ in 0..FAULTS {
            assert!(breaker.allows_at(start));
            breaker.failed_at(start);
        }
        assert!(!breaker.allows_at(start) && breaker.status() == BreakerStatus::Open);
        assert!(breaker.refuses());
        assert!(breaker.allows_at(start + OPEN));
        assert!(!breaker.allows_at(start + OPEN - Duration::from_millis(1)));
        breaker.failed_at(start + OPEN);
        assert!(!breaker.allows_at(start + OPEN * 2), "the second time is longer");
        assert!(breaker.allows_at(start + OPEN * 4));
        breaker.succeeded();
        assert_eq!(breaker.status(), BreakerStatus::Closed);
    }

    #[test]
    fn faults_far_apart_do_not_open_it() {
        let (breaker, start) = (FilterBreaker::default(), Instant::now());
        for n in 0..20 {
            breaker.failed_at(start + SPAN / 4 * n);
        }
        assert_eq!(breaker.status(), BreakerStatus::Closed);
    }

    #[test]
    fn what_fails_for_some_is_still_called_for_the_others() {
        for (faults, successes_between, opens) in [
            (5, 0, true),
            (5, 1, true),
            (5, 2, false),
            (200, 0, true),
            (200, 1, true),
            (200, 3, false),
        ] {
            let (breaker, start) = (FilterBreaker::default(), Instant::now());
            for _ in 0..faults {
                breaker.failed_at(start);
                (0..successes_between).for_each(|_| breaker.succeeded());
            }
            assert_eq!(breaker.refuses(), opens, "{faults} faults, {successes_between} between");
            assert!(breaker.lock().faults.len() <= REMEMBERED);
        }
    }

    #[test]
    fn a_long_good_time_before_does_not_hide_that_it_fails_now() {
        let (breaker, start) = (FilterBreaker::default(), Instant::now());
        breaker.failed_at(start);
        (0..10_000).for_each(|_| breaker.succeeded());
        assert_eq!(breaker.status(), BreakerStatus::Closed);
        (0..FAULTS).for_each(|_| breaker.failed_at(start + SPAN));
        assert_eq!(breaker.status(), BreakerStatus::Open);
    }

    #[test]
    fn successes_are_counted_only_while_faults_are_recent() {
        let (breaker, start) = (FilterBreaker::default(), Instant::now());
        (0..10).for_each(|_| breaker.succeeded());
        assert_eq!(breaker.successes.load(Ordering::Relaxed), 0);
        breaker.failed_at(start);
        assert_eq!(breaker.phase.load(Ordering::Relaxed), WATCHING);
        breaker.look_at(start + SPAN / 2);
        assert_eq!(breaker.phase.load(Ordering::Relaxed), WATCHING);
        breaker.look_at(start + SPAN);
        assert_eq!(breaker.phase.load(Ordering::Relaxed), QUIET);
    }
}

//! The breaker of a filter: a filter that keeps failing is not called for a while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tamis_ambient::Clock;

/// This many faults …
const FAULTS: usize = 5;
/// … within this span open the breaker …
const SPAN: Duration = Duration::from_secs(10);
/// … for this long, doubled with each probe that fails …
const OPEN: Duration = Duration::from_secs(1);
/// … up to this.
const MAX_OPEN: Duration = Duration::from_secs(60);

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
pub(crate) struct Breaker {
    clock: Clock,
    /// Almost always false: a healthy filter costs one load.
    tripped: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    faults: Vec<Instant>,
    until: Option<Instant>,
    open_for: Duration,
    probing: bool,
}

impl Breaker {
    /// A closed breaker.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Whether a call may be made now. `true` while the breaker is open means that this call is the probe.
    pub(crate) fn allows(&self) -> bool {
        if !self.tripped.load(Ordering::Relaxed) {
            return true;
        }
        self.allows_at(self.clock.now())
    }

    /// Whether no call may be made now, not even a probe. Changes nothing.
    pub(crate) fn refuses(&self) -> bool {
        self.tripped.load(Ordering::Relaxed)
            && self.lock().until.is_some_and(|until| self.clock.now() < until)
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

    /// A call succeeded: a successful probe closes the breaker.
    pub(crate) fn succeeded(&self) {
        if self.tripped.load(Ordering::Relaxed) {
            let mut inner = self.lock();
            if inner.probing {
                *inner = Inner::default();
                self.tripped.store(false, Ordering::Relaxed);
            }
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
        inner.faults.retain(|at| now.saturating_duration_since(*at) < SPAN);
        inner.faults.push(now);
        if inner.faults.len() >= FAULTS && inner.until.is_none() {
            inner.faults.clear();
            inner.open_for = OPEN;
            inner.until = now.checked_add(OPEN);
            self.tripped.store(true, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_faults_open_it_and_a_good_probe_closes_it() {
        let (breaker, start) = (Breaker::default(), Instant::now());
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
        let (breaker, start) = (Breaker::default(), Instant::now());
        for n in 0..20 {
            breaker.failed_at(start + SPAN / 4 * n);
        }
        assert_eq!(breaker.status(), BreakerStatus::Closed);
    }
}

//! Recent outcomes: a ring of time slices.

use std::time::{Duration, Instant};

const SLICES: usize = 10;

#[derive(Clone, Copy, Default)]
struct Slice {
    /// The number of the slice since the start; a slot with an older one counts as empty.
    number: u64,
    successes: u32,
    failures: u32,
    timeouts: u32,
    slow: u32,
}

/// Outcomes in the window, and failures in a row.
pub(crate) struct OutcomeWindow {
    start: Instant,
    slice: Duration,
    slices: [Slice; SLICES],
    consecutive_failures: u32,
}

/// The sums of a window.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct WindowSums {
    pub(crate) successes: u32,
    pub(crate) failures: u32,
    pub(crate) timeouts: u32,
    pub(crate) slow: u32,
    pub(crate) consecutive_failures: u32,
}

/// How an attempt counts.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) failed: bool,
    pub(crate) timed_out: bool,
    pub(crate) slow: bool,
}

impl OutcomeWindow {
    pub(crate) fn new(span: Duration, now: Instant) -> Self {
        let slice = (span / 10).max(Duration::from_millis(1));
        Self { start: now, slice, slices: Default::default(), consecutive_failures: 0 }
    }

    /// Sets the span from the configuration; a change drops the outcomes so far.
    pub(crate) fn set_span(&mut self, span: Duration, now: Instant) {
        let slice = (span / 10).max(Duration::from_millis(1));
        if slice != self.slice {
            let consecutive_failures = self.consecutive_failures;
            *self = Self { consecutive_failures, ..Self::new(span, now) };
        }
    }

    pub(crate) fn span(&self) -> Duration {
        self.slice * 10
    }

    pub(crate) fn record(&mut self, sample: Sample, now: Instant) {
        let number = self.number(now);
        let index = usize::try_from(number).unwrap_or(0) % SLICES;
        let Some(slice) = self.slices.get_mut(index) else { return };
        if slice.number != number {
            *slice = Slice { number, ..Slice::default() };
        }
        if sample.failed {
            slice.failures = slice.failures.saturating_add(1);
            self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        } else {
            slice.successes = slice.successes.saturating_add(1);
            self.consecutive_failures = 0;
        }
        slice.timeouts = slice.timeouts.saturating_add(sample.timed_out.into());
        slice.slow = slice.slow.saturating_add(sample.slow.into());
    }

    pub(crate) fn sums(&self, now: Instant) -> WindowSums {
        let number = self.number(now);
        let mut sums =
            WindowSums { consecutive_failures: self.consecutive_failures, ..WindowSums::default() };
        for slice in &self.slices {
            if slice.number + (SLICES as u64) > number && slice.number <= number {
                sums.successes = sums.successes.saturating_add(slice.successes);
                sums.failures = sums.failures.saturating_add(slice.failures);
                sums.timeouts = sums.timeouts.saturating_add(slice.timeouts);
                sums.slow = sums.slow.saturating_add(slice.slow);
            }
        }
        sums
    }

    /// Drops outcomes; failures in a row continue.
    pub(crate) fn clear(&mut self) {
        self.slices = Default::default();
    }

    fn number(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(nanos / self.slice.as_nanos().max(1)).unwrap_or(u64::MAX - SLICES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAILED: Sample = Sample { failed: true, timed_out: false, slow: false };
    const WELL: Sample = Sample { failed: false, timed_out: false, slow: false };

    #[test]
    fn outcomes_are_forgotten_after_the_span_and_failures_in_a_row_are_not() {
        let start = Instant::now();
        let mut window = OutcomeWindow::new(Duration::from_secs(10), start);
        window.record(FAILED, start);
        window.record(FAILED, start + Duration::from_secs(5));
        assert_eq!(window.sums(start + Duration::from_secs(9)).failures, 2);
        assert_eq!(window.sums(start + Duration::from_secs(12)).failures, 1);
        let late = window.sums(start + Duration::from_secs(60));
        assert_eq!((late.failures, late.consecutive_failures), (0, 2));
        window.record(WELL, start + Duration::from_secs(60));
        assert_eq!(window.sums(start + Duration::from_secs(60)).consecutive_failures, 0);
    }

    proptest! {
        #[test]
        fn sums_hold_exactly_what_is_younger_than_the_span(
            offsets in prop::collection::vec(0_u64..30_000, 0..40), at in 0_u64..40_000,
        ) {
            let start = Instant::now();
            let mut window = OutcomeWindow::new(Duration::from_secs(10), start);
            let mut sorted = offsets;
            sorted.sort_unstable();
            sorted.retain(|offset| *offset <= at);
            for offset in &sorted {
                window.record(FAILED, start + Duration::from_millis(*offset));
            }
            let (slice, sums) = (at / 1000, window.sums(start + Duration::from_millis(at)));
            let expected = sorted.iter().filter(|offset| **offset / 1000 + 10 > slice).count();
            prop_assert_eq!(sums.failures as usize, expected);
        }
    }
}

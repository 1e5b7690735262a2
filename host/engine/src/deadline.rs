//! The time limit of a call, in processor time rather than wall time.
//!
//! Epochs follow the wall clock, and on a busy machine a thread may stand still for many of them. So when
//! the epochs of a call run out, the processor time of its thread is read, and the call continues until
//! that time is spent. A call that computes all the time ends at its limit; a call whose thread did not run
//! is not stopped for it. The clock is read only when epochs run out, so a call that ends in time pays
//! nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "a filter is limited by the processor time of its thread, which no clock of a test can replace"
)]

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;
use wasmtime::UpdateDeadline;

/// The limit of a call, and the processor time of its thread when its epochs first ran out.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    limit_us: u64,
    since: Option<Duration>,
}

impl Deadline {
    /// Starts again; returns the number of epochs until the first check.
    pub(crate) fn again(&mut self, limit_us: u64) -> u64 {
        *self = Self { limit_us, since: None };
        half(limit_us)
    }

    /// Epochs ran out; `now` is the processor time that the thread has used in its life.
    pub(crate) fn passed(&mut self, now: Duration) -> UpdateDeadline {
        let half_limit = Duration::from_micros(self.limit_us / 2);
        match self.since {
            None => {
                self.since = Some(now);
                UpdateDeadline::Continue(half(self.limit_us))
            }
            Some(since) if now.saturating_sub(since) >= half_limit => UpdateDeadline::Interrupt,
            Some(_) => UpdateDeadline::Continue(1),
        }
    }
}

/// Epochs of half the limit, plus the current one.
fn half(limit_us: u64) -> u64 {
    limit_us.div_ceil(2_000).max(1).saturating_add(1)
}

/// Processor time that this thread has used.
pub(crate) fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_stood_still_goes_on_and_one_that_ran_is_stopped() {
        let mut deadline = Deadline { limit_us: 10_000, since: None };
        let ms = Duration::from_millis;
        assert!(matches!(deadline.passed(ms(100)), UpdateDeadline::Continue(6)));
        assert!(matches!(deadline.passed(ms(101)), UpdateDeadline::Continue(1)));
        assert!(matches!(deadline.passed(ms(104)), UpdateDeadline::Continue(1)));
        assert!(matches!(deadline.passed(ms(105)), UpdateDeadline::Interrupt));
    }
}

//! Waits between attempts.

use std::time::Duration;

/// Waits that double up to a limit, each drawn evenly between zero and the current value ("full jitter"),
/// so that many clients that lost one server do not return at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    tries: u32,
}

impl Default for Backoff {
    /// From a quarter of a second to 30 seconds.
    fn default() -> Self {
        Self::new(Duration::from_millis(250), Duration::from_secs(30))
    }
}

impl Backoff {
    /// From `first` to `cap`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, tries: 0 }
    }

    /// The next wait. `random` is drawn evenly from all numbers. `retry_after` is the wait that the server
    /// requested: the result is at least that.
    pub fn next(&mut self, random: u64, retry_after: Option<Duration>) -> Duration {
        let whole = self.first.saturating_mul(1 << self.tries.min(16)).min(self.cap);
        self.tries = self.tries.saturating_add(1);
        let drawn = |whole: Duration| {
            let millis = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
            Duration::from_millis(random.checked_rem(millis.saturating_add(1)).unwrap_or_default())
        };
        match retry_after {
            None => drawn(whole),
            Some(asked) => asked.saturating_add(drawn(whole.max(asked))),
        }
    }

    /// Resets the wait after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

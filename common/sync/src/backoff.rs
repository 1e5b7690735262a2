//! How long to wait before the next try.

use std::time::Duration;

/// Waits that double up to a cap, each drawn evenly from nothing to the whole ("full jitter"), so that many who lost one
/// server do not come back at once.
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

    /// How long to wait before the next try. `random` is drawn evenly from all numbers. `retry_after` is what the server asked
    /// for: the wait is at least that, and at most twice that more than it would be.
    pub fn next(&mut self, random: u64, retry_after: Option<Duration>) -> Duration {
        let whole = self.first.saturating_mul(1 << self.tries.min(16)).min(self.cap);
        self.tries = self.tries.saturating_add(1);
        let drawn = |whole: Duration| {
            let millis = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
            Duration::from_millis(random % millis.saturating_add(1))
        };
        match retry_after {
            None => drawn(whole),
            Some(asked) => asked.saturating_add(drawn(whole.max(asked))),
        }
    }

    /// A try went well: the next wait is short again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

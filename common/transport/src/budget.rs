//! How many frames that are of no use a peer of HTTP/2 or HTTP/3 may send.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

use std::time::Duration;

use tokio::time::Instant;

/// Frames that each second adds, for pings on idle connections.
const EARNED_A_SECOND: u64 = 50;

/// How many unnecessary frames a peer may still send.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) left: u32,
    most: u32,
    /// When time last added to it; the clock is read only when it is used up.
    since: Instant,
}

impl Budget {
    /// A full one of so many frames.
    pub(crate) fn new(most: u32) -> Self {
        Self { left: most, most, since: Instant::now() }
    }

    /// Adds what a useful frame earns.
    pub(crate) fn earn(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(self.most);
    }

    /// Takes the cost of an unnecessary frame from the budget; returns whether the budget was large enough.
    pub(crate) fn spend(&mut self, frames: u32) -> bool {
        if self.left < frames {
            let now = Instant::now();
            let passed = now.saturating_duration_since(std::mem::replace(&mut self.since, now));
            self.earn(earned_in(passed));
        }
        let left = self.left.checked_sub(frames);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

fn earned_in(passed: Duration) -> u32 {
    let milliseconds = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
    let earned = milliseconds.saturating_mul(EARNED_A_SECOND).checked_div(1_000);
    earned.and_then(|earned| u32::try_from(earned).ok()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_adds_to_a_budget_that_is_used_up() {
        let mut budget = Budget::new(10);
        let spent = |budget: &mut Budget| (0..100).filter(|_| budget.spend(1)).count();
        assert_eq!(spent(&mut budget), 10);
        assert!(!budget.spend(1));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(spent(&mut budget), 5);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(spent(&mut budget), 10);
    }
}

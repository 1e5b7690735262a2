//! The retry budget: retries are a share of requests, plus a floor, over ten seconds (as Finagle's `RetryBudget`).

use std::time::Instant;

const SECONDS: usize = 10;

#[derive(Clone, Copy, Default)]
struct SecondCounts {
    number: u64,
    requests: u64,
    retries: u64,
}

/// Requests and retries of the last ten seconds.
pub(crate) struct Budget {
    start: Instant,
    seconds: [SecondCounts; SECONDS],
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { start: now, seconds: Default::default() }
    }

    /// A request began.
    pub(crate) fn request(&mut self, now: Instant) {
        if let Some(second) = self.second(now) {
            second.requests += 1;
        }
    }

    /// Retries still allowed.
    pub(crate) fn left(&self, percent: u32, min_per_second: u32, now: Instant) -> u32 {
        let number = self.number(now);
        let (mut requests, mut retries) = (0_u64, 0_u64);
        for second in &self.seconds {
            if second.number + (SECONDS as u64) > number {
                requests += second.requests;
                retries += second.retries;
            }
        }
        let floor = u64::from(min_per_second) * SECONDS as u64;
        let allowed = requests * u64::from(percent) / 100 + floor;
        u32::try_from(allowed.saturating_sub(retries)).unwrap_or(u32::MAX)
    }

    /// Takes one retry from the budget; false when it is used up.
    pub(crate) fn spend(&mut self, percent: u32, min_per_second: u32, now: Instant) -> bool {
        if self.left(percent, min_per_second, now) == 0 {
            return false;
        }
        if let Some(second) = self.second(now) {
            second.retries += 1;
        }
        true
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }

    fn second(&mut self, now: Instant) -> Option<&mut SecondCounts> {
        let number = self.number(now);
        let index = usize::try_from(number).unwrap_or(0) % SECONDS;
        let second = self.seconds.get_mut(index)?;
        if second.number != number {
            *second = SecondCounts { number, ..SecondCounts::default() };
        }
        Some(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn retries_never_exceed_share_and_floor(
            events in prop::collection::vec((0_u64..3_000, any::<bool>()), 0..400),
            percent in 0_u32..50, floor in 0_u32..5,
        ) {
            let start = Instant::now();
            let mut budget = Budget::new(start);
            let mut events = events;
            events.sort_unstable();
            let (mut requests, mut granted) = (0_u64, 0_u64);
            for (at, retry) in events {
                let now = start + Duration::from_millis(at);
                if retry {
                    granted += u64::from(budget.spend(percent, floor, now));
                } else {
                    requests += 1;
                    budget.request(now);
                }
            }
            // All within ten seconds, so nothing was forgotten.
            prop_assert!(granted <= requests * u64::from(percent) / 100 + u64::from(floor) * 10);
        }
    }

    #[test]
    fn what_was_spent_comes_back() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for _ in 0..10 {
            assert!(budget.spend(0, 1, start));
        }
        assert!(!budget.spend(0, 1, start));
        assert!(budget.spend(0, 1, start + Duration::from_secs(10)));
    }
}

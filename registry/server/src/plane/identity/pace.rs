//! The pace of renewals: signing costs time, and each proxy has its share of it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Renewals that a proxy may ask for at once: one that restarts again and again, or whose answers are lost.
const BURST: u32 = 10;
/// The shortest time between renewals in the long run.
const INTERVAL: Duration = Duration::from_secs(10);
/// For SVIDs that live shortly, this part of their life: a proxy renews at half of it.
const PART_OF_LIFE: u32 = 20;
/// Proxies that are kept before those are forgotten that may ask as often as anybody.
const KEPT: usize = 1_024;

/// When each proxy has used up what it asked for.
#[derive(Default)]
pub(crate) struct RenewalPace(Mutex<HashMap<String, Instant>>);

impl RenewalPace {
    /// Counts a renewal of a proxy whose SVIDs live that long.
    ///
    /// # Errors
    /// It asks too often: how long it has to wait.
    pub(crate) fn take(
        &self,
        proxy: &str,
        lifetime: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        let interval = INTERVAL.min(lifetime / PART_OF_LIFE);
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= KEPT {
            used.retain(|_, until| *until > now);
        }
        let until = used.get(proxy).map_or(now, |until| (*until).max(now)) + interval;
        let ahead = until.saturating_duration_since(now);
        let most = interval * BURST;
        if ahead > most {
            return Err(ahead.saturating_sub(most));
        }
        used.insert(proxy.to_owned(), until);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_renews_a_few_times_at_once_and_then_no_faster_than_its_pace() {
        for (lifetime, interval) in [(3_600, 10_000), (200, 10_000), (10, 500), (0, 0)] {
            let (pace, start) = (RenewalPace::default(), Instant::now());
            let interval = Duration::from_millis(interval);
            let lifetime = Duration::from_secs(lifetime);
            let (mut now, mut signed) = (start, 0);
            // Sixty a second, for ten minutes.
            for _ in 0..36_000 {
                now += Duration::from_millis(1_000) / 60;
                match pace.take("a", lifetime, now) {
                    Ok(()) => signed += 1,
                    Err(wait) => assert!(wait > Duration::ZERO && wait <= interval, "{wait:?}"),
                }
            }
            let most = match interval.is_zero() {
                true => 36_000,
                false => u64::from(BURST) + 600_000 / u64::try_from(interval.as_millis()).unwrap(),
            };
            assert!(signed <= most && signed + 1 >= most, "{lifetime:?}: {signed} of {most}");
            // Others have their own.
            pace.take("b", lifetime, now).unwrap();
        }
    }

    #[test]
    fn who_waits_as_long_as_it_is_told_renews() {
        let (pace, mut now) = (RenewalPace::default(), Instant::now());
        let life = Duration::from_secs(3_600);
        for _ in 0..100 {
            if let Err(wait) = pace.take("a", life, now) {
                now += wait;
                pace.take("a", life, now).unwrap();
            }
        }
    }

    #[test]
    fn proxies_that_do_not_ask_any_more_are_forgotten() {
        let (pace, mut now) = (RenewalPace::default(), Instant::now());
        for at in 0..10 * KEPT {
            now += INTERVAL;
            pace.take(&at.to_string(), Duration::from_secs(3_600), now).unwrap();
        }
        assert!(pace.0.lock().unwrap().len() <= KEPT);
    }
}

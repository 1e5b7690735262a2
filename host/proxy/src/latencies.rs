//! Recent durations of exchanges, as quantiles.

use std::time::{Duration, Instant};
use tamis_engine::Latencies;

/// Below this many microseconds every value has its own bucket; above, eight buckets share each doubling,
/// so that a quantile is at most an eighth too high.
const LINEAR: u32 = 16;
const BUCKETS: usize = 16 + 28 * 8;

/// Samples are forgotten after one to two of these.
const HALF: Duration = Duration::from_secs(10);

/// Recent samples.
pub(crate) struct RecentLatencies {
    now: LatencyCounts,
    before: LatencyCounts,
    turned: Instant,
}

/// Allocated at the first sample: most rules of a long list get none.
type LatencyCounts = Option<Box<[u32; BUCKETS]>>;

impl RecentLatencies {
    pub(crate) fn new(now: Instant) -> Self {
        Self { now: None, before: None, turned: now }
    }

    pub(crate) fn add(&mut self, latency: Duration) {
        let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        let counts = self.now.get_or_insert_with(|| Box::new([0; BUCKETS]));
        if let Some(count) = counts.get_mut(bucket(micros)) {
            *count = count.saturating_add(1);
        }
    }

    /// Drops samples that are too old. Returns whether there were any.
    pub(crate) fn turn(&mut self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.turned);
        if age < HALF {
            return false;
        }
        self.turned = now;
        let had = self.before.is_some();
        self.before = self.now.take();
        let stale = age >= 2 * HALF && self.before.take().is_some();
        had || stale
    }

    /// Quantiles for the rule with that index.
    pub(crate) fn quantiles(&self, rule: u32) -> Latencies {
        let none = [0; BUCKETS];
        let of = |counts: &LatencyCounts| counts.as_ref().map_or(none, |counts| **counts);
        let mut seen: u64 = 0;
        let (now, before) = (of(&self.now), of(&self.before));
        let line: Vec<u64> = now
            .iter()
            .zip(&before)
            .map(|(now, before)| {
                seen += u64::from(*now) + u64::from(*before);
                seen
            })
            .collect();
        let quantile = |percent: u64| {
            let wanted = (seen * percent).div_ceil(100);
            if seen == 0 { 0 } else { upper(line.partition_point(|sum| *sum < wanted)) }
        };
        Latencies {
            rule,
            samples: u32::try_from(seen).unwrap_or(u32::MAX),
            p50_us: quantile(50),
            p90_us: quantile(90),
            p95_us: quantile(95),
            p99_us: quantile(99),
        }
    }
}

fn bucket(micros: u32) -> usize {
    if micros < LINEAR {
        return micros as usize;
    }
    let exponent = 31 - micros.leading_zeros();
    let eighth = (micros >> (exponent - 3)) & 7;
    (LINEAR + (exponent - 4) * 8 + eighth) as usize
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u32 {
    let bucket = u32::try_from(bucket).unwrap_or(u32::MAX);
    let Some(above) = bucket.checked_sub(LINEAR) else { return bucket };
    let (exponent, eighth) = (above / 8 + 4, above % 8);
    let next = u64::from(8 + eighth + 1) << (exponent - 3);
    u32::try_from(next - 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_seen_is_zero_everywhere() {
        let recent = RecentLatencies::new(Instant::now());
        assert_eq!(recent.quantiles(3), Latencies { rule: 3, ..Latencies::default() });
    }

    #[test]
    fn samples_are_forgotten_after_one_to_two_halves() {
        let start = Instant::now();
        let mut recent = RecentLatencies::new(start);
        recent.add(Duration::from_micros(5));
        assert!(!recent.turn(start + HALF / 2));
        assert!(!recent.turn(start + HALF), "moved, not forgotten");
        assert_eq!(recent.quantiles(0).samples, 1);
        assert!(recent.turn(start + HALF * 2));
        assert_eq!(recent.quantiles(0).samples, 0);
        recent.add(Duration::from_micros(5));
        assert!(recent.turn(start + HALF * 5), "after a long silence at once");
        assert_eq!(recent.quantiles(0).samples, 0);
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket_and_within_an_eighth(micros: u32) {
            let bucket = bucket(micros);
            prop_assert!(bucket < BUCKETS);
            let top = upper(bucket);
            prop_assert!(top >= micros);
            prop_assert!(u64::from(top - micros) * 8 <= u64::from(micros) + 8);
            if bucket > 0 {
                prop_assert!(upper(bucket - 1) < micros);
            }
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_samples(
            samples in prop::collection::vec(0_u32..5_000_000, 1..300),
        ) {
            let mut recent = RecentLatencies::new(Instant::now());
            for sample in &samples {
                recent.add(Duration::from_micros(u64::from(*sample)));
            }
            let mut sorted = samples;
            sorted.sort_unstable();
            let seen = recent.quantiles(0);
            prop_assert_eq!(seen.samples as usize, sorted.len());
            for (percent, said) in
                [(50, seen.p50_us), (90, seen.p90_us), (95, seen.p95_us), (99, seen.p99_us)]
            {
                let exact = sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
                prop_assert!(said >= exact && u64::from(said - exact) * 8 <= u64::from(exact) + 8);
            }
        }
    }
}

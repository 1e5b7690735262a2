//! Measured durations.

use std::time::Duration;

use serde_json::{Value, json};

/// Durations of one kind.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The value that `percent` of a hundred stay within; `None` without values.
    pub(crate) fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    }

    /// Count, median, 99th percentile and largest, in milliseconds.
    pub(crate) fn json(&self) -> Value {
        let at = |percent| self.percentile(percent).map(milliseconds);
        json!({ "count": self.0.len(), "p50Ms": at(50), "p99Ms": at(99), "maxMs": at(100) })
    }
}

/// With one decimal.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_of_a_hundred_is_one_of_them() {
        let mut times = Times::default();
        assert_eq!(times.percentile(99), None);
        (1..=200).rev().for_each(|ms| times.add(Duration::from_millis(ms)));
        assert_eq!(times.percentile(50), Some(Duration::from_millis(100)));
        assert_eq!(times.percentile(99), Some(Duration::from_millis(198)));
        assert_eq!(times.percentile(100), Some(Duration::from_millis(200)));
    }
}

//! What a proxy says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tamis_trust::{Digest, Name, Version};

/// What a proxy runs, and what it counted since its report before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReported {
    /// Its name, like `sidecar:shop/a/0`.
    pub node: String,
    /// All its slots; one that is missing is not there any more.
    #[serde(default)]
    pub slots: Vec<SlotReport>,
    /// What it counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statistics: Vec<Statistics>,
    /// How shadows compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<ShadowReport>,
}

/// One slot. Running and not refused: it serves what it was assigned. Both: it keeps its last good one.
/// Refused only: it refuses exchanges, or lets them pass, as its attachment says. Neither: it prepares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotReport {
    /// Its name, as in assignments.
    pub slot: String,
    /// The filter's name.
    pub filter: Name,
    /// What runs in it; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// What it was assigned and refused; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedReport>,
}

/// What runs in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Digest of its configuration.
    pub config: Digest,
    /// Version of the artifact.
    pub version: Version,
    /// Version of its assignment.
    pub assignment: u64,
    /// Since when, by the node's clock; milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// What a slot refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReport {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Stable name of the rule, like `trust.threshold`.
    pub code: String,
}

/// What one digest did in one slot since the report before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Exchanges it was asked about.
    #[serde(default)]
    pub exchanges: u64,
    /// Faults of it: traps, limits, answers the contract does not allow.
    #[serde(default)]
    pub traps: u64,
    /// Exchanges that were answered with a status of 500 to 599.
    #[serde(default)]
    pub server_errors: u64,
    /// Exchanges that it denied.
    #[serde(default)]
    pub denials: u64,
    /// Time that it added to exchanges.
    #[serde(default)]
    pub added: Histogram,
}

/// [`Counts`] and what they are about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// The slot.
    pub slot: String,
    /// The digest.
    pub digest: Digest,
    /// What it did.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How the verdicts of a shadow compared with those that counted, since the report before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// The slot that it is the shadow of.
    pub slot: String,
    /// The digest in the shadow.
    pub digest: Digest,
    /// Verdicts compared.
    pub samples: u64,
    /// Those that differed, by cause.
    #[serde(default)]
    pub differences: BTreeMap<String, DifferenceReport>,
}

/// Differences of one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceReport {
    /// How many.
    pub count: u64,
    /// A few of them in words.
    #[serde(default)]
    pub examples: Vec<String>,
}

/// Durations in buckets that can be added up. Bucket `n` counts those of up to 2^n µs that are in no
/// bucket before; 0 to 32 (a little over an hour), larger numbers count as 32.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, u64>")]
pub struct Histogram(BTreeMap<u8, u64>);

impl TryFrom<BTreeMap<String, u64>> for Histogram {
    type Error = std::num::ParseIntError;

    /// Names of members are text, and stay it where one struct is flattened into another.
    fn try_from(buckets: BTreeMap<String, u64>) -> Result<Self, Self::Error> {
        let read = |(bucket, count): (String, u64)| Ok((bucket.parse()?, count));
        buckets.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

const LAST_BUCKET: u8 = 32;

impl Histogram {
    /// Counts one more duration.
    pub fn count(&mut self, us: u64) {
        let bucket = (0..LAST_BUCKET).find(|at| us <= 1 << at).unwrap_or(LAST_BUCKET);
        let count = self.0.entry(bucket).or_default();
        *count = count.saturating_add(1);
    }

    /// One of buckets and how many each counted; buckets of nothing are left out.
    pub fn of(buckets: impl IntoIterator<Item = (u8, u64)>) -> Self {
        Self(buckets.into_iter().filter(|(_, count)| *count > 0).collect())
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        for (bucket, more) in &other.0 {
            let count = self.0.entry((*bucket).min(LAST_BUCKET)).or_default();
            *count = count.saturating_add(*more);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, more| sum.saturating_add(*more))
    }

    /// What 99 of 100 stay below, in milliseconds; none without any. Within a bucket durations are taken
    /// to lie evenly.
    #[must_use]
    pub fn p99_ms(&self) -> Option<f64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let rank = total.saturating_mul(99).div_ceil(100);
        let mut below = 0u64;
        for (bucket, count) in &self.0 {
            let up_to = below.saturating_add(*count);
            if rank <= up_to {
                let bucket = (*bucket).min(LAST_BUCKET);
                let low = if bucket == 0 { 0.0 } else { power(bucket - 1) };
                let share = ratio(rank - below, *count);
                return Some((low + (power(bucket) - low) * share) / 1_000.0);
            }
            below = up_to;
        }
        None
    }
}

fn power(bucket: u8) -> f64 {
    f64::from(bucket).exp2()
}

/// `part / whole`; 0 when there is no whole.
fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.exchanges, other.exchanges),
            (&mut self.traps, other.traps),
            (&mut self.server_errors, other.server_errors),
            (&mut self.denials, other.denials),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.added.add(&other.added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_of_100_is_found_across_reports() {
        let (mut slow, mut fast) = (Histogram::default(), Histogram::default());
        (0..98).for_each(|_| fast.count(100));
        (0..2).for_each(|_| slow.count(8_000));
        fast.add(&slow);
        let p99 = fast.p99_ms().unwrap();
        assert!(p99 > 4.096 && p99 <= 8.192, "{p99}");
        assert_eq!(fast.total(), 100);
        assert_eq!(Histogram::default().p99_ms(), None);
    }

    #[test]
    fn a_report_survives_its_line() {
        let mut counts = Counts { exchanges: 3, ..Counts::default() };
        [1, 5, 1_000].iter().for_each(|us| counts.added.count(*us));
        let digest = Digest::of(b"a");
        let statistics = vec![Statistics { slot: "a/b".to_owned(), digest, counts }];
        let node = "sidecar:shop/a/0".to_owned();
        let report = NodeReported { node, slots: vec![], statistics, shadows: vec![] };
        let line = serde_json::to_string(&crate::FromNode::Report(report.clone())).unwrap();
        let read = serde_json::from_str::<crate::FromNode>(&line).unwrap();
        assert_eq!(read, crate::FromNode::Report(report.clone()));
        let body = serde_json::to_value(&report).unwrap();
        assert_eq!(serde_json::from_value::<NodeReported>(body).unwrap(), report);
    }

    #[test]
    fn absurd_counts_overflow_nothing() {
        let read = |text| serde_json::from_str::<Histogram>(text).unwrap();
        let mut sum = read(r#"{"255":18446744073709551615,"0":18446744073709551615}"#);
        sum.add(&sum.clone());
        sum.count(u64::MAX);
        assert_eq!(sum.total(), u64::MAX);
        assert!(sum.p99_ms().unwrap() > 0.0);
    }
}

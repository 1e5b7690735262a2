//! The differences of a shadow, grouped by cause, in bounded memory.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::record::short;
use tamis_sync::ComparisonReport;

/// Most distinct causes; further ones count as `other`.
pub const MAX_CAUSES: usize = 64;
/// Most examples kept per cause, the first ones.
pub const MAX_EXAMPLES: usize = 5;
const OTHER: &str = "other";

/// All differences of a shadow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// Verdicts compared.
    pub samples: u64,
    /// Those that differed, by cause.
    pub causes: BTreeMap<String, CauseCount>,
}

/// Differences of one cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CauseCount {
    /// How many.
    pub count: u64,
    /// At most [`MAX_EXAMPLES`], each of at most 300 characters.
    pub examples: Vec<String>,
}

impl Differences {
    /// Number of verdicts that differed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.causes.values().fold(0, |sum, one| sum.saturating_add(one.count))
    }

    /// Adds a report.
    pub fn add(&mut self, report: &ComparisonReport) {
        self.samples = self.samples.saturating_add(report.samples);
        for (cause, more) in &report.differences {
            let cause = short(cause);
            let known = self.causes.contains_key(&cause) || self.causes.len() < MAX_CAUSES - 1;
            let cause = if known { cause } else { OTHER.to_owned() };
            let difference = self.causes.entry(cause).or_default();
            difference.count = difference.count.saturating_add(more.count);
            let room = MAX_EXAMPLES.saturating_sub(difference.examples.len());
            difference.examples.extend(more.examples.iter().take(room).map(|one| short(one)));
        }
    }
}

#[cfg(test)]
mod tests {
    use tamis_trust::Digest;

    use super::*;
    use tamis_sync::DifferenceReport;

    #[test]
    fn causes_and_examples_are_bounded_and_counts_are_not_lost() {
        let mut differences = Differences::default();
        for at in 0..200 {
            let examples = vec!["é".repeat(900); 9];
            let one = DifferenceReport { count: 2, examples };
            differences.add(&ComparisonReport {
                slot: "shop/retry".to_owned(),
                digest: Digest::of(b"x"),
                samples: 10,
                differences: [(format!("cause {at}"), one)].into(),
            });
        }
        assert_eq!((differences.samples, differences.count()), (2_000, 400));
        assert_eq!(differences.causes.len(), MAX_CAUSES);
        assert_eq!(differences.causes["other"].count, 2 * (200 - 63));
        for one in differences.causes.values() {
            assert!(one.examples.len() <= MAX_EXAMPLES);
            assert!(one.examples.iter().all(|one| one.chars().count() == 300));
        }
    }
}

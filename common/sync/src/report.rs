//! Reports of proxies.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tamis_refused::Refused;
use tamis_trust::{Digest, Name, Version};

/// What a proxy runs, and its counts since the previous report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name, like `sidecar:shop/a/0`.
    pub node: String,
    /// All its slots; a missing one no longer exists.
    #[serde(default)]
    pub slots: Vec<SlotReport>,
    /// Its counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statistics: Vec<SlotStatistics>,
    /// The comparisons of shadows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<ComparisonReport>,
    /// Its problems outside slots: files, certificates, sockets, documents; at most [`MAX_PROBLEMS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemReport>,
    /// Its identity inside the mesh; `None`: it has not joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityReport>,
    /// Its ports that are served in plain text too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plaintext: Vec<PlaintextReport>,
}

/// Connections in plain text to a port of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaintextReport {
    /// The port of the proxy's service.
    pub port: u16,
    /// Open connections.
    pub open: u64,
    /// Connections since the proxy started.
    pub total: u64,
    /// The last second in which one was open, since the Unix epoch; `None`: none was since the proxy started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
}

/// The identity of a proxy inside the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityReport {
    /// Its SPIFFE id.
    pub id: String,
    /// The last second of its SVID, since the Unix epoch.
    pub expires: u64,
    /// When the SVID was renewed last, in seconds since the Unix epoch; `None`: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<u64>,
}

/// Most problems of a report.
pub const MAX_PROBLEMS: usize = 20;
/// Most slots of a report: a proxy has at most so many filters.
const MAX_SLOTS: usize = 256;
/// Most ports of a report: a service has at most so many.
const MAX_PORTS: usize = 16;
/// Most bytes of the name of a slot: `NAMESPACE/NAME`, and what distinguishes the parts of a document.
const MAX_SLOT: usize = 600;
/// Most causes of differences in one shadow, and most examples of each.
const MAX_CAUSES: usize = 16;
/// Most characters of one text in a report.
const MAX_WORDS: usize = 1_000;
/// Most characters of a SPIFFE id (SPIFFE-ID §2.3).
const MAX_ID: usize = 2_048;

/// A problem of a proxy, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemReport {
    /// Stable name of the rule, like `node` or `pin.missing`.
    pub code: String,
    /// The problem, and the way out.
    pub message: String,
}

/// Shortens each part of a refusal to at most this many characters.
fn cut_refusal(refused: &mut Refused, most: usize) {
    for text in [refused.code.to_mut(), &mut refused.rule, &mut refused.set_by, &mut refused.remedy]
    {
        cut(text, most);
    }
}

/// Shortens a text to at most this many characters, without characters that terminals act on.
fn cut(text: &mut String, most: usize) {
    if text.chars().count() > most || text.chars().any(char::is_control) {
        let plain = |one: char| if one.is_control() { ' ' } else { one };
        let shown: String = text.chars().map(plain).take(most).collect();
        *text = if text.chars().count() > most { shown + "…" } else { shown };
    }
}

impl NodeReport {
    /// The report with texts of at most a thousand characters, at most [`MAX_PROBLEMS`] problems and at most 256
    /// slots, each once: the journal stores it for ever. Of two reports about one slot the first counts.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.cut(MAX_WORDS, MAX_PROBLEMS);
        let mut names = BTreeSet::new();
        let has_name = |slot: &str| slot.len() <= MAX_SLOT;
        self.slots.retain(|one| has_name(&one.slot) && names.insert(one.slot.clone()));
        self.slots.truncate(MAX_SLOTS);
        self.statistics.retain(|one| has_name(&one.slot));
        // Of each slot what runs in it, and what is in its shadow.
        self.statistics.truncate(2 * MAX_SLOTS);
        self.shadows.retain(|one| has_name(&one.slot));
        self.shadows.truncate(MAX_SLOTS);
        self.shadows.iter_mut().for_each(ComparisonReport::cut);
        self.plaintext.truncate(MAX_PORTS);
        self
    }

    /// The report in at most this many bytes of JSON: first its texts are cut, then its problems and the
    /// examples of shadows are dropped. `None` when its slots alone are larger.
    #[must_use]
    pub fn within(mut self, bytes: usize) -> Option<Self> {
        let fits =
            |report: &Self| serde_json::to_string(report).is_ok_and(|text| text.len() <= bytes);
        for (words, problems) in [(MAX_WORDS, MAX_PROBLEMS), (200, 5), (60, 1)] {
            self.cut(words, problems);
            if fits(&self) {
                return Some(self);
            }
        }
        self.problems.clear();
        self.shadows.clear();
        fits(&self).then_some(self)
    }

    fn cut(&mut self, words: usize, problems: usize) {
        let more = self.problems.len().saturating_sub(problems);
        self.problems.truncate(problems);
        for problem in &mut self.problems {
            cut(&mut problem.code, words);
            cut(&mut problem.message, words);
        }
        if let (1.., Some(last)) = (more, self.problems.last_mut()) {
            last.message.push_str(&format!(" (and {more} more)"));
        }
        if let Some(identity) = &mut self.identity {
            // A longer one is none: SPIFFE ids have at most 2,048 bytes.
            cut(&mut identity.id, MAX_ID);
        }
        for slot in &mut self.slots {
            if let Some(refused) = &mut slot.refused {
                cut_refusal(&mut refused.why, words);
            }
        }
    }
}

/// One slot. With `running` only: it serves what is assigned. With both: it keeps its last good filter.
/// With `refused` only: it refuses exchanges, or lets them pass, as its attachment states. With neither: it
/// is being prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotReport {
    /// Its name, as in assignments.
    pub slot: String,
    /// The filter's name.
    pub filter: Name,
    /// What runs in it; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningReport>,
    /// The refused assignment; `None`: nothing was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedReport>,
}

/// What runs in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningReport {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Digest of its configuration.
    pub config: Digest,
    /// Version of the artifact.
    pub version: Version,
    /// Version of its assignment.
    pub assignment: u64,
    /// Since when, by the node's clock, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// A refused assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReport {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Why.
    #[serde(flatten)]
    pub why: Refused,
}

/// Counts of one digest in one slot since the previous report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCounts {
    /// Exchanges in which it was called.
    #[serde(default)]
    pub exchanges: u64,
    /// Its faults: traps, exceeded limits, verdicts that the contract does not allow.
    #[serde(default)]
    pub traps: u64,
    /// Exchanges with a response status of 500 to 599.
    #[serde(default)]
    pub server_errors: u64,
    /// Exchanges that it denied.
    #[serde(default)]
    pub denials: u64,
    /// Time that it added to exchanges.
    #[serde(default)]
    pub added: Histogram,
}

/// [`CallCounts`] with their slot and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatistics {
    /// The slot.
    pub slot: String,
    /// The digest.
    pub digest: Digest,
    /// Its counts.
    #[serde(flatten)]
    pub counts: CallCounts,
}

/// Comparison of a shadow's verdicts with the effective ones, since the previous report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparisonReport {
    /// The slot of the effective filter.
    pub slot: String,
    /// The digest in the shadow.
    pub digest: Digest,
    /// Verdicts compared.
    pub samples: u64,
    /// Differing verdicts, by cause.
    #[serde(default)]
    pub differences: BTreeMap<String, DifferenceReport>,
}

impl ComparisonReport {
    fn cut(&mut self) {
        let all = std::mem::take(&mut self.differences).into_iter().take(MAX_CAUSES);
        let bounded = all.map(|(mut cause, mut one)| {
            one.examples.truncate(MAX_CAUSES);
            one.examples.iter_mut().for_each(|words| cut(words, MAX_WORDS));
            cut(&mut cause, MAX_WORDS);
            (cause, one)
        });
        self.differences = bounded.collect();
    }
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

/// Durations in buckets that can be added. Bucket `n` counts durations up to 2^n µs that are in no lower
/// bucket; `n` is 0 to 32 (a little over an hour), larger numbers count as 32.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, u64>")]
pub struct Histogram(BTreeMap<u8, u64>);

impl TryFrom<BTreeMap<String, u64>> for Histogram {
    type Error = std::num::ParseIntError;

    /// Keys are text because a flattened struct keeps them as text.
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

    /// A histogram with the given counts per bucket; empty buckets are left out.
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

    /// The number of durations.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, more| sum.saturating_add(*more))
    }

    /// The 99th percentile in milliseconds; `None` without durations. Within a bucket durations are assumed
    /// to be evenly spread.
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
                let low = bucket.checked_sub(1).map_or(0.0, power);
                let share = ratio(rank.saturating_sub(below), *count);
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

/// `part / whole`; 0 when `whole` is 0.
fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl CallCounts {
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
        let mut counts = CallCounts { exchanges: 3, ..CallCounts::default() };
        [1, 5, 1_000].iter().for_each(|us| counts.added.count(*us));
        let digest = Digest::of(b"a");
        let statistics = vec![SlotStatistics { slot: "a/b".to_owned(), digest, counts }];
        let node = "sidecar:shop/a/0".to_owned();
        let problems = vec![ProblemReport { code: "node".into(), message: "ca.crt".into() }];
        let (slots, shadows, identity) = (vec![], vec![], None);
        let plaintext = vec![PlaintextReport { port: 1, open: 0, total: 0, used: None }; 40];
        let report = NodeReport { node, slots, statistics, shadows, problems, identity, plaintext };
        let line = serde_json::to_string(&crate::MessageFromNode::Report(report.clone())).unwrap();
        let read = serde_json::from_str::<crate::MessageFromNode>(&line).unwrap();
        assert_eq!(read, crate::MessageFromNode::Report(report.clone()));
        let body = serde_json::to_value(&report).unwrap();
        assert_eq!(serde_json::from_value::<NodeReport>(body).unwrap(), report);
    }

    #[test]
    fn a_report_of_many_words_is_cut_until_it_fits_and_keeps_its_codes() {
        let long = || "\u{1b}x".repeat(5_000);
        let why = Refused { code: "a.b".into(), rule: long(), set_by: long(), remedy: long() };
        let digest = Digest::of(b"a");
        let slot = |at| SlotReport {
            slot: format!("shop/{at}"),
            filter: "acme/a".parse().unwrap(),
            running: None,
            refused: Some(RefusedReport { digest, why: why.clone() }),
        };
        let problem = || ProblemReport { code: "node".into(), message: long() };
        let report = NodeReport {
            identity: None,
            plaintext: Vec::new(),
            node: "sidecar:shop/a/0".into(),
            slots: (0..40).map(slot).collect(),
            statistics: vec![],
            shadows: vec![],
            problems: (0..100).map(|_| problem()).collect(),
        };
        let bounded = report.clone().bounded();
        assert_eq!(bounded.problems.len(), MAX_PROBLEMS);
        assert!(bounded.problems.last().unwrap().message.ends_with("(and 80 more)"));
        assert!(!serde_json::to_string(&bounded).unwrap().contains("u001b"));
        for bytes in [100_000, 60_000, 20_000] {
            let fits = report.clone().within(bytes).unwrap();
            assert!(serde_json::to_string(&fits).unwrap().len() <= bytes);
            assert_eq!(fits.slots[39].refused.as_ref().unwrap().why.code, "a.b");
        }
        assert_eq!(report.within(1_000), None);
    }

    #[test]
    fn a_report_has_each_slot_once_and_no_more_than_a_proxy_may_have() {
        let digest = Digest::of(b"a");
        let slot = |name: String| SlotReport {
            slot: name,
            filter: "acme/a".parse().unwrap(),
            running: None,
            refused: None,
        };
        let counts = CallCounts::default();
        let statistic =
            |at| SlotStatistics { slot: format!("a/{at}"), digest, counts: counts.clone() };
        let difference = || DifferenceReport { count: 1, examples: vec!["x".repeat(1_500); 20] };
        let shadow = |at| ComparisonReport {
            slot: format!("a/{at}"),
            digest,
            samples: 1,
            differences: (0..20).map(|it| (format!("{it}"), difference())).collect(),
        };
        let names = |all: &[usize]| all.iter().map(|at| slot(format!("a/{at}"))).collect();
        let long = vec![slot("x".repeat(601)), slot("x".repeat(600))];
        for (what, slots, wanted) in [
            ("few", names(&[1, 2, 3]), 3),
            ("one twice", names(&[1, 1, 2, 1]), 2),
            ("many", (0..5_000).map(|at| slot(format!("a/{at}"))).collect(), MAX_SLOTS),
            ("long names", long, 1),
        ] {
            let report = NodeReport {
                node: "sidecar:shop/a/0".into(),
                slots,
                statistics: (0..600).map(statistic).collect(),
                shadows: (0..MAX_SLOTS + 1).map(shadow).collect(),
                problems: vec![],
                identity: None,
                plaintext: Vec::new(),
            };
            let bounded = report.bounded();
            assert_eq!(bounded.slots.len(), wanted, "{what}");
            assert_eq!(bounded.statistics.len(), 2 * MAX_SLOTS);
            assert_eq!(bounded.shadows.len(), MAX_SLOTS);
            let differences = &bounded.shadows[0].differences;
            assert_eq!(differences.len(), MAX_CAUSES);
            assert!(differences.values().all(|one| one.examples.len() == MAX_CAUSES));
            assert_eq!(bounded.clone().bounded(), bounded, "{what}");
        }
    }

    #[test]
    fn a_report_of_an_older_release_has_a_code_and_no_words() {
        let text = format!(r#"{{"digest":"{}","code":"trust.key"}}"#, Digest::of(b"a"));
        let read: RefusedReport = serde_json::from_str(&text).unwrap();
        assert_eq!((&*read.why.code, read.why.rule.as_str()), ("trust.key", ""));
        let again: RefusedReport =
            serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, read);
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

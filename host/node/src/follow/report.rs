//! The reports of a proxy.

use std::collections::BTreeMap;

use tamis_proxy::{PlaintextStatus, SlotCounts};
use tamis_sync::{
    CallCounts, ComparisonReport, DifferenceReport, Histogram, IdentityReport, NodeReport,
    PlaintextReport, ProblemReport, SlotReport, SlotStatistics,
};

use super::followed::FollowedPlan;
use crate::Node;

/// Makes reports: what every slot runs, and the counts since the previous report.
#[derive(Default)]
pub(crate) struct Reporter {
    /// The counts up to the last report, by slot and digest.
    reported: BTreeMap<(String, String), SlotCounts>,
}

impl Reporter {
    /// The current report; it contains each count once.
    pub(crate) fn report(&mut self, followed: &FollowedPlan, node: Option<&Node>) -> NodeReport {
        let (mut statistics, mut shadows) = (Vec::new(), Vec::new());
        if let Some(node) = node {
            for counts in node.proxy().slot_counts() {
                statistics.extend(self.since(counts));
            }
            shadows = node.proxy().shadow_reports().into_iter().filter_map(shadow).collect();
        }
        let slots = followed.slot_reports();
        let problems = node.map(problems).unwrap_or_default();
        let (identity, plaintext) = (node.and_then(identity), node.map(plaintext));
        let (node, plaintext) = (followed.name().to_string(), plaintext.unwrap_or_default());
        NodeReport { node, slots, statistics, shadows, problems, identity, plaintext }.bounded()
    }

    /// The counts since the previous report; `None` without any.
    fn since(&mut self, now: SlotCounts) -> Option<SlotStatistics> {
        let digest = now.digest.parse().ok()?;
        let key = (now.slot.clone(), now.digest.clone());
        let before = self.reported.insert(key, now.clone()).unwrap_or_default();
        let buckets = now.added.iter().map(|(bucket, count)| {
            (*bucket, count.saturating_sub(before.added.get(bucket).copied().unwrap_or(0)))
        });
        let counts = CallCounts {
            exchanges: now.exchanges.saturating_sub(before.exchanges),
            traps: now.traps.saturating_sub(before.traps),
            server_errors: now.server_errors.saturating_sub(before.server_errors),
            denials: now.denials.saturating_sub(before.denials),
            added: Histogram::of(buckets),
        };
        (counts != CallCounts::default()).then_some(SlotStatistics {
            slot: now.slot,
            digest,
            counts,
        })
    }
}

impl FollowedPlan {
    /// Every slot, for a report.
    fn slot_reports(&self) -> Vec<SlotReport> {
        let facts = self.facts();
        let Some(assembled) = &facts.assembled else { return Vec::new() };
        let all = assembled.slots.iter().chain(&assembled.shadows);
        let reports = all.filter_map(|(slot, activation)| {
            Some(SlotReport {
                slot: slot.clone(),
                filter: activation.filter.filter.parse().ok()?,
                running: facts.running.get(slot).cloned(),
                refused: facts.refused.get(slot).cloned(),
            })
        });
        reports.collect()
    }
}

/// Problems outside slots, as the admin listener shows them: a slot's refusal is in its own report.
fn problems(node: &Node) -> Vec<ProblemReport> {
    let status = node.proxy().status();
    let read = |problem: &serde_json::Value| {
        let text = |name: &str| problem.get(name).and_then(serde_json::Value::as_str);
        let place = problem.get("place").and_then(|place| {
            let (source, line) = (place.get("source")?.as_str()?, place.get("line")?.as_u64()?);
            Some(format!("{source}:{line}: "))
        });
        let help = text("help").map(|help| format!("; {help}")).unwrap_or_default();
        let (place, message) = (place.unwrap_or_default(), text("message").unwrap_or_default());
        let code = text("code").unwrap_or(crate::node::NODE_PROBLEM).to_owned();
        ProblemReport { code, message: format!("{place}{message}{help}") }
    };
    status.problems.iter().map(read).collect()
}

/// The identity inside the mesh, as the admin listener shows it.
fn identity(node: &Node) -> Option<IdentityReport> {
    let status = node.proxy().status();
    let one = status.identity.as_ref()?;
    let expires = u64::try_from(one.not_after).unwrap_or(0);
    Some(IdentityReport { id: one.id.clone(), expires, renewed: one.last_renewal })
}

/// Connections in plain text, as the admin listener shows them.
fn plaintext(node: &Node) -> Vec<PlaintextReport> {
    let status = node.proxy().status();
    let report = |one: &PlaintextStatus| PlaintextReport {
        port: one.port,
        open: one.open,
        total: one.total,
        used: one.used,
    };
    status.plaintext.iter().map(report).collect()
}

/// The comparisons of a shadow since the previous report; `None` without any.
fn shadow(report: tamis_proxy::ShadowReport) -> Option<ComparisonReport> {
    let tamis_proxy::ShadowReport { slot, digest, samples, differences } = report;
    let differences = differences.into_iter().map(|(cause, difference)| {
        let tamis_proxy::Difference { count, examples } = difference;
        (cause, DifferenceReport { count, examples })
    });
    let (digest, differences) = (digest.parse().ok()?, differences.collect());
    (samples > 0).then_some(ComparisonReport { slot, digest, samples, differences })
}

//! Slots that do not run what is assigned.

use serde::Serialize;
use tamis_trust::Digest;

use crate::plans::Plans;
use crate::state::State;
use tamis_sync::SlotReport;

/// A slot of a node that does not run what is assigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The node.
    pub node: String,
    /// Its slot.
    pub slot: String,
    /// Assigned manifest and configuration; `None`: nothing.
    pub assigned: Option<(Digest, Digest)>,
    /// Manifest and configuration that it runs; `None`: nothing.
    pub running: Option<(Digest, Digest)>,
    /// Why it does not run what is assigned, as reported; `None` without a report of a reason.
    pub refused: Option<String>,
    /// When it reported, in milliseconds since the Unix epoch; `None`: never.
    pub seen_ms: Option<u64>,
}

/// All drift at `now` (seconds since the Unix epoch): of nodes in the documents, by node and slot. A new
/// assignment of what runs already is not drift.
#[must_use]
pub fn drift(state: &State, plans: &mut Plans, now: u64) -> Vec<Drift> {
    let mut drifts = Vec::new();
    for node in state.nodes() {
        let wanted = plans.node(state, &node, now);
        let last = state.last_report(&node);
        let mut compare = |slot: &str, assigned: Option<(Digest, Digest)>| {
            let report = last.and_then(|last| last.slots.get(slot));
            let running = report.and_then(running);
            if running != assigned {
                let refused = report.and_then(|report| report.refused.as_ref());
                drifts.push(Drift {
                    node: node.to_string(),
                    slot: slot.to_owned(),
                    assigned,
                    running,
                    refused: refused.map(|refused| refused.why.code.clone().into_owned()),
                    seen_ms: last.map(|last| last.time_ms),
                });
            }
        };
        for (slot, assigned) in &wanted.assigned {
            compare(slot, Some((assigned.digest, assigned.config)));
        }
        let reported = last.into_iter().flat_map(|last| last.slots.keys());
        for slot in reported.filter(|slot| !wanted.assigned.contains_key(*slot)) {
            compare(slot, None);
        }
    }
    drifts
}

fn running(report: &SlotReport) -> Option<(Digest, Digest)> {
    report.running.as_ref().map(|running| (running.digest, running.config))
}

#[cfg(test)]
mod tests;

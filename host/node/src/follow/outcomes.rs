//! Records what runs in each slot once a plan was staged.

use tamis_sync::{Activation, AssembledPlan, Refused, RefusedReport, RunningReport};
use tamis_trust::{Digest, Version};

use super::followed::{AdmittedAssignment, FollowedPlan, PlanFacts};

/// What runs in a slot, and the rule that refuses what should run.
pub(crate) struct SlotOutcome {
    pub(crate) slot: String,
    pub(crate) runs: Option<(Digest, Version)>,
    pub(crate) refusal: Option<Refused>,
}

impl FollowedPlan {
    /// Records what runs in each slot now, including shadows.
    pub(crate) fn record_outcomes(&self, assembled: &AssembledPlan, slots: Vec<SlotOutcome>) {
        let mut facts = self.facts();
        let PlanFacts { admitted, running, refused, .. } = &mut *facts;
        let known = |slot: &String| activation(assembled, slot);
        running.retain(|slot, _| known(slot).is_some());
        refused.clear();
        for SlotOutcome { slot, runs, refusal } in slots {
            let Some(activation) = known(&slot) else { continue };
            let wanted = activation.filter.digest.parse::<Digest>().ok();
            // The same component may keep running under its previous configuration when it refuses the new
            // one.
            let kept = refusal.is_some();
            if let (Some(why), Some(digest)) = (refusal, wanted) {
                refused.insert(slot.clone(), RefusedReport { digest, why });
            }
            let allowed = admitted.get(&slot).and_then(|it| it.as_ref().ok()).copied().flatten();
            match (runs, allowed) {
                (Some((digest, release)), Some(AdmittedAssignment { version, config }))
                    if Some(digest) == wanted && !kept =>
                {
                    let since_ms = match running.get(&slot) {
                        Some(before) if (before.digest, before.config) == (digest, config) => {
                            before.since_ms
                        }
                        _ => self.clock.unix_ms(),
                    };
                    let (assignment, version) = (version, release);
                    let now = RunningReport { digest, config, version, assignment, since_ms };
                    running.insert(slot, now);
                }
                // The slot keeps its last good filter.
                (Some(_), _) => {}
                (None, _) => drop(running.remove(&slot)),
            }
        }
    }
}

fn activation<'a>(assembled: &'a AssembledPlan, slot: &str) -> Option<&'a Activation> {
    assembled.slots.get(slot).or_else(|| assembled.shadows.get(slot))
}

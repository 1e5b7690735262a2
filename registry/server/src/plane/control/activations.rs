//! The parts of slots: each filter with its assignment and the evidence for it.

use std::sync::Arc;

use tamis_api::ApiProblem;
use tamis_director::{AssignmentRecord, Refused};
use tamis_resources::plan::FilterPlan;
use tamis_sync::{Activation, Part, SHADOW, placed, slot_part};

use crate::plane::control::Control;
use crate::plane::control::proxy_plan::{ComputedPlan, ProxyPlan};

impl Control {
    /// The parts of all slots. Unchanged ones are taken from `before`.
    pub(crate) async fn slot_parts(
        &self,
        plan: &ComputedPlan,
        before: Option<&ProxyPlan>,
    ) -> Result<Vec<Arc<Part>>, ApiProblem> {
        let before = before.and_then(ProxyPlan::made);
        let before = before.filter(|(key, _)| key.proofs() == plan.key.proofs());
        let mut slots = Vec::new();
        for (name, filter) in placed(&plan.plan) {
            let shadow = format!("{name}{SHADOW}");
            if let Some(assigned) = plan.assigned.get(&shadow) {
                let filter = Arc::new(candidate(filter, assigned));
                let activation = self.activation(filter, assigned).await?;
                slots.extend(slot_part(&shadow, &activation).map(Arc::new));
            }
            let activation = match (plan.assigned.get(&name), plan.refused.get(&name)) {
                (Some(assigned), _) => {
                    let kept = before.filter(|(key, _)| key.keeps(&name, filter, assigned.version));
                    if let Some(part) =
                        kept.and_then(|(_, parts)| parts.get(&format!("slot/{name}")))
                    {
                        slots.push(Arc::clone(part));
                        continue;
                    }
                    self.activation(Arc::clone(filter), assigned).await?
                }
                (None, why) => unassigned(filter, why),
            };
            slots.extend(slot_part(&name, &activation).map(Arc::new));
        }
        Ok(slots)
    }

    async fn activation(
        &self,
        filter: Arc<FilterPlan>,
        assigned: &AssignmentRecord,
    ) -> Result<Activation, ApiProblem> {
        let digest = &assigned.digest;
        // What was pinned here was read then; what another replica pinned is read now.
        let artifact = match self.known_artifact(digest)? {
            Some(artifact) => Some(artifact),
            None => self.artifact(digest).await?,
        };
        let envelopes = assigned.envelopes.clone();
        Ok(match artifact {
            Some(artifact) => Activation {
                filter,
                manifest: Some(artifact.manifest.clone()),
                bundles: artifact.bundles.clone(),
                envelopes,
                logged: artifact.logged.clone(),
            },
            None => Activation {
                filter,
                manifest: None,
                bundles: Vec::new(),
                envelopes,
                logged: Vec::new(),
            },
        })
    }
}

/// The plan of a slot with the candidate in it.
fn candidate(filter: &FilterPlan, assigned: &AssignmentRecord) -> FilterPlan {
    FilterPlan { digest: assigned.digest.to_string(), ..filter.clone() }
}

/// A slot without an assignment: the proxy refuses or skips, as its attachment states.
fn unassigned(filter: &FilterPlan, why: Option<&Refused>) -> Activation {
    let none = || {
        let remedy = "wait: the director assigns it automatically; `tamis status` shows when";
        let rule = "the director has not assigned it yet";
        Refused::new("assign.missing", rule, "the director", remedy)
    };
    let refused = filter.refused.clone().or_else(|| Some(why.cloned().unwrap_or_else(none)));
    Activation {
        filter: Arc::new(FilterPlan { refused, ..filter.clone() }),
        manifest: None,
        bundles: Vec::new(),
        envelopes: Vec::new(),
        logged: Vec::new(),
    }
}

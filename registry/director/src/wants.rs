//! What the slots of a proxy should run, apart from assignments: the filter, its digest and its configuration.

use std::collections::BTreeMap;

use tamis_resources::NodeName;
use tamis_resources::plan::{FilterPlan, NodePlan};
use tamis_sync::{SHADOW, placed};
use tamis_trust::{AssignmentMode, Digest, Name, config_digest};

use crate::desired::DesiredState;
use crate::order::{Lane, SlotOrder};
use crate::refused::{Refused, code};
use crate::rollout::RolloutStep;
use crate::state::revoked;

/// The desired slots of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DesiredSlots {
    pub(crate) lanes: BTreeMap<Lane, SlotOrder>,
    /// Slots that cannot be served, and why.
    pub(crate) refused: BTreeMap<String, Refused>,
}

/// The plan of a slot, apart from pins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SlotPlan {
    filter: String,
    config: Digest,
    refused: Option<Refused>,
    digest: Option<Digest>,
}

impl SlotPlan {
    /// The same slot with the current pins.
    pub(crate) fn repin(&mut self, digest: impl Fn(&str) -> Option<Digest>) {
        if self.digest.is_some() {
            self.digest = digest(&self.filter).or(self.digest);
        }
    }
}

/// The slots of a plan, by name.
pub(crate) fn slot_plans(
    plan: &NodePlan,
    mut config: impl FnMut(&FilterPlan) -> Digest,
) -> BTreeMap<String, SlotPlan> {
    let placed = placed(plan).into_iter();
    placed.map(|(name, filter)| (name, slot_plan(filter, config(filter)))).collect()
}

/// The digest of a filter's configuration, computed again.
pub(crate) fn config(filter: &FilterPlan) -> Digest {
    config_digest(&filter.config)
}

fn slot_plan(filter: &FilterPlan, config: Digest) -> SlotPlan {
    let refused = filter.refused.clone();
    let digest = filter.digest.parse().ok().filter(|_| filter.refused.is_none());
    SlotPlan { filter: filter.filter.clone(), config, refused, digest }
}

impl DesiredSlots {
    /// The desired slots of `node`.
    pub(crate) fn of(
        desired: &DesiredState,
        node: &NodeName,
        plans: &BTreeMap<String, SlotPlan>,
    ) -> Self {
        let mut slots = Self::default();
        for (name, plan) in plans {
            match order(desired, plan) {
                Err(why) => drop(slots.refused.insert(name.clone(), why)),
                Ok(order) => {
                    if let Some(shadow) = shadow(desired, node, &order) {
                        let lane = Lane { slot: format!("{name}{SHADOW}"), rollout: None };
                        slots.lanes.insert(lane, shadow);
                    }
                    let lift = desired.lift(node, &order.filter);
                    let rollout = lift.map(|it| it.rollout.name().to_owned());
                    slots.lanes.insert(Lane { slot: name.clone(), rollout }, order);
                }
            }
        }
        slots
    }
}

fn order(desired: &DesiredState, plan: &SlotPlan) -> Result<SlotOrder, Refused> {
    let refuse = |rule: String| Refused {
        code: code::SLOT_REFUSED.into(),
        rule,
        set_by: "the documents in force".to_owned(),
        remedy: "run `tamis plan` and read the problems".to_owned(),
    };
    let Some(digest) = plan.digest else {
        let why = plan.refused.as_ref();
        let rule = why.map(|why| format!("{}: {}", why.code, why.rule)).unwrap_or_default();
        let remedy = why.map(|why| why.remedy.clone()).filter(|remedy| !remedy.is_empty());
        let refused = refuse(rule);
        return Err(Refused {
            remedy: remedy.unwrap_or_else(|| refused.remedy.clone()),
            ..refused
        });
    };
    let filter: Name = plan.filter.parse().map_err(|error| refuse(format!("{error}")))?;
    // A revocation that does not stop what runs only prevents a new pin.
    if let Some(revocation) = desired.revoked_digests.get(&digest).filter(|it| it.now) {
        return Err(revoked(&filter, &digest, revocation));
    }
    Ok(SlotOrder { filter, digest, config: plan.config, mode: AssignmentMode::Serve })
}

fn shadow(desired: &DesiredState, node: &NodeName, serving: &SlotOrder) -> Option<SlotOrder> {
    let rollout = desired.rollout(node.key(), &serving.filter)?;
    let to = rollout.rollout.spec().to;
    let shadowed = rollout.step() == Some(RolloutStep::Shadow);
    shadowed.then(|| SlotOrder { digest: to, mode: AssignmentMode::Shadow, ..serving.clone() })
}

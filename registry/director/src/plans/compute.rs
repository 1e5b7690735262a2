//! Computes the plan of a proxy that is not known, which combines all documents.

use std::sync::Arc;

use tamis_resources::{FoldResult, NodeName, ResourceStatus};

use super::{KnownProxy, Plans};
use crate::desired::{DesiredState, fold_with};
use crate::wants::{DesiredSlots, slot_plans};

impl Plans {
    /// What follows from the documents for a proxy.
    pub(super) fn fold(&mut self, desired: &DesiredState, node: &NodeName) -> KnownProxy {
        let FoldResult { mut plan, problems, statuses } =
            fold_with(desired, &mut self.parsed, node);
        if let Some(plan) = &mut plan {
            self.shared.share(plan);
        }
        let well = |one: &ResourceStatus| one.conditions.iter().all(|condition| condition.status);
        let unwell = statuses.iter().filter(|one| !well(one)).cloned().collect();
        if self.statuses.as_ref().is_none_or(|(of, _)| of == node) {
            self.statuses = Some((node.clone(), statuses.into()));
        }
        let slot_plans =
            plan.as_ref().map(|plan| slot_plans(plan, |filter| self.shared.digest(filter)));
        let slot_plans = slot_plans.unwrap_or_default();
        let slots = DesiredSlots::of(desired, node, &slot_plans);
        let pins = desired.resolve(node).into_iter();
        let pins = pins.map(|it| (it.filter.clone(), (it.version.clone(), it.digest))).collect();
        let (revision, plan) = (desired.revision, plan.map(Arc::new));
        KnownProxy { revision, pins, plan, slot_plans, slots, problems, unwell }
    }
}

//! What a node should run: its plan, and the assignment of each of its slots.

use std::collections::BTreeMap;
use std::sync::Arc;

use tamis_resources::NodeName;
use tamis_resources::plan::NodePlan;

use crate::plans::Plans;
use crate::record::AssignmentRecord;
use crate::refused::{Refused, code};
use crate::service_wants::combined_orders;
use crate::state::State;
use crate::wants::{DesiredSlots, config, slot_plans};

/// What a node should run now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeWants<'a> {
    /// Its plan with its pins; `None` when no document declares it.
    pub plan: Option<Arc<NodePlan>>,
    /// Its assignments, by slot. The verdicts of a slot whose name ends with `~shadow` are only compared.
    pub assigned: BTreeMap<String, &'a AssignmentRecord>,
    /// Slots without a valid assignment: [`assign`](crate::assign) drafts it. Until it is written the node
    /// should keep what it has.
    pub missing: Vec<String>,
    /// Slots that get no assignment, and why.
    pub refused: BTreeMap<String, Refused>,
}

impl<'a> NodeWants<'a> {
    /// Finds the assignments for `slots` in the ledger at `now`.
    fn find(
        state: &'a State,
        node: &NodeName,
        now: u64,
        plan: Option<Arc<NodePlan>>,
        slots: &DesiredSlots,
    ) -> Self {
        let refused = slots.refused.clone();
        let mut out = Self { plan, refused, ..Self::default() };
        let service = node.key();
        for (lane, order) in &slots.lanes {
            let active = state.desired.rollout(service, &order.filter);
            let active = active.map(|it| it.rollout.name());
            let min_version = state.ledger.min_version(service, lane, active, None);
            match state.ledger.current(service, lane, order, min_version, now) {
                Some(assigned) => drop(out.assigned.insert(lane.slot.clone(), assigned)),
                None => out.missing.push(lane.slot.clone()),
            }
        }
        out
    }

    /// Marks slots that are missing because proxies disagree as refused.
    fn explain(&mut self, mut refused: BTreeMap<String, Refused>) {
        let is_ambiguous = |why: &Refused| why.code == code::AMBIGUOUS;
        self.missing.retain(|slot| match refused.remove(slot).filter(is_ambiguous) {
            Some(why) => {
                self.refused.insert(slot.clone(), why);
                false
            }
            None => true,
        });
    }
}

impl Plans {
    /// What a node should run at `now` (seconds since the Unix epoch); the same as
    /// [`for_node`].
    pub fn node<'a>(&mut self, state: &'a State, node: &NodeName, now: u64) -> NodeWants<'a> {
        let Some(known) = self.known(&state.desired, node) else { return NodeWants::default() };
        let mut out = NodeWants::find(state, node, now, known.plan.clone(), &known.slots);
        if state.desired.documents.are_two(node.key()) {
            let mut nodes = state.nodes();
            nodes.retain(|one| one.key() == node.key());
            let all = self.slots_of(&state.desired, &nodes);
            out.explain(combined_orders(node.key(), all.into_iter()).1);
        }
        out
    }
}

/// What a node should run at `now` (seconds since the Unix epoch), according to the assignments. It is
/// never below what the node had before, and never names a revoked digest.
///
/// Combines all documents; [`Plans::node`] has the same result, and caches.
#[must_use]
pub fn for_node<'a>(state: &'a State, node: &NodeName, now: u64) -> NodeWants<'a> {
    let mut folder = state.desired.folder();
    let mut slots_of = |node: &NodeName| {
        let plan = folder.fold(node).plan;
        let plans = plan.as_ref().map(|plan| slot_plans(plan, config)).unwrap_or_default();
        (plan, DesiredSlots::of(&state.desired, node, &plans))
    };
    let (plan, slots) = slots_of(node);
    let mut out = NodeWants::find(state, node, now, plan.map(Arc::new), &slots);
    if state.desired.documents.are_two(node.key()) {
        let nodes = state.nodes().into_iter().filter(|one| one.key() == node.key());
        let all: Vec<DesiredSlots> = nodes.map(|one| slots_of(&one).1).collect();
        out.explain(combined_orders(node.key(), all.iter()).1);
    }
    out
}

//! From plans to assignments, with versions that only rise.
//!
//! A slot keeps its assignment as long as it matches the plan. When nodes move from one assignment to
//! another, the new one has the higher version, since a node refuses an older one: also for a rollout, its
//! return, and an older digest.

use std::collections::BTreeMap;

use tamis_resources::NodeName;

use crate::order::{Lane, SlotOrder};
use crate::plans::Plans;
use crate::refused::Refused;
use crate::service_wants::combined_orders;
use crate::state::State;
use crate::wants::{DesiredSlots, config, slot_plans};

mod draft;

pub use draft::AssignmentDraft;

/// How long assignments are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignmentTerms {
    /// In seconds; a week. A proxy can start without the director for that long.
    pub lifetime: u64,
    /// An assignment with less than this left is renewed; half of the lifetime, in seconds. More than half
    /// counts as half: otherwise a new assignment would be renewed at once, for ever.
    pub renew: u64,
}

impl Default for AssignmentTerms {
    fn default() -> Self {
        Self { lifetime: 7 * 86_400, renew: 7 * 43_200 }
    }
}

/// The assignments due for a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignments {
    /// To be signed and appended in this order, at the head of the state: another entry in between may have
    /// changed the plan.
    pub drafts: Vec<AssignmentDraft>,
    /// Number of slots that keep their assignment.
    pub kept: usize,
    /// Slots without an assignment in at least one proxy, and why.
    pub refused: Vec<(String, Refused)>,
}

/// The assignments due for a service at `now` (seconds since the Unix epoch). Without a change and long
/// before an expiry there are none.
///
/// Computes the plan of each of its proxies; [`Plans::drafts`] has the same result
/// for all services, and caches.
#[must_use]
pub fn assign(state: &State, service: &str, now: u64, terms: &AssignmentTerms) -> Assignments {
    let mut folder = state.desired.folder();
    let nodes = state.nodes();
    let slots: Vec<DesiredSlots> = nodes
        .iter()
        .filter(|node| node.key() == service)
        .map(|node| {
            let plan = folder.fold(node).plan;
            let plans = plan.as_ref().map(|plan| slot_plans(plan, config)).unwrap_or_default();
            DesiredSlots::of(&state.desired, node, &plans)
        })
        .collect();
    draft_all(state, service, slots.iter(), now, terms)
}

impl Plans {
    /// The assignments due for all services at `now` (seconds since the Unix epoch); the same as
    /// [`assign`] for one after the other, in the order of [`State::services`]. To be signed
    /// and appended in this order, at the head of the state.
    pub fn drafts(
        &mut self,
        state: &State,
        now: u64,
        terms: &AssignmentTerms,
    ) -> Vec<AssignmentDraft> {
        let mut services: BTreeMap<String, Vec<NodeName>> = BTreeMap::new();
        for node in state.nodes() {
            services.entry(node.key().to_owned()).or_default().push(node);
        }
        let mut drafts = Vec::new();
        for (service, nodes) in services {
            let slots = self.slots_of(&state.desired, &nodes).into_iter();
            drafts.extend(draft_all(state, &service, slots, now, terms).drafts);
        }
        drafts
    }
}

/// The assignments due for a service whose proxies have these slots.
fn draft_all<'a>(
    state: &State,
    service: &str,
    slots: impl Iterator<Item = &'a DesiredSlots>,
    now: u64,
    terms: &AssignmentTerms,
) -> Assignments {
    let (orders, refused) = combined_orders(service, slots);
    let renewed = now.saturating_add(terms.renew.min(terms.lifetime / 2));
    let epoch_floor = state.ledger.epoch_floor(service);
    let mut out = Assignments { refused: refused.into_iter().collect(), ..Assignments::default() };
    // In order of slots, and within a slot those outside rollouts first: those of rollouts must be above
    // them.
    let mut bases: BTreeMap<&str, u64> = BTreeMap::new();
    for (lane, order) in &orders {
        let active = state.desired.rollout(service, &order.filter).map(|it| it.rollout.name());
        let base = bases.get(lane.slot.as_str()).copied();
        let min_version = state.ledger.min_version(service, lane, active, base);
        let current = state.ledger.current(service, lane, order, min_version, renewed);
        let version = if let Some(current) = current {
            out.kept += 1;
            current.version
        } else {
            let at = u64::try_from(out.drafts.len()).unwrap_or(u64::MAX);
            let next =
                epoch_floor.saturating_add(state.head()).saturating_add(1).saturating_add(at);
            let highest = state.ledger.highest(service, &lane.slot).max(base.unwrap_or(0));
            let version = next.max(highest.saturating_add(1));
            let expires = now.saturating_add(terms.lifetime.max(1));
            out.drafts.push(draft(service, lane, order, version, (now, expires)));
            version
        };
        if lane.rollout.is_none() {
            bases.insert(&lane.slot, version);
        }
    }
    out
}

fn draft(
    service: &str,
    lane: &Lane,
    order: &SlotOrder,
    version: u64,
    (issued, expires): (u64, u64),
) -> AssignmentDraft {
    AssignmentDraft {
        service: service.to_owned(),
        slot: lane.slot.clone(),
        filter: order.filter.clone(),
        digest: order.digest,
        config: order.config,
        version,
        issued,
        expires,
        mode: order.mode,
        rollout: lane.rollout.clone(),
    }
}

#[cfg(test)]
mod tests;

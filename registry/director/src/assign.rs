//! From plans to assignments, with versions that only rise.
//!
//! A slot keeps its assignment as long as it matches the plan. When nodes move from one assignment to
//! another, the new one has the higher version, since a node refuses an older one: also for a rollout, its
//! return, and an older digest.

use std::collections::BTreeMap;

use tamis_trust::first_version;

use crate::refused::TrustRefusal;
use crate::state::State;
use crate::wants::{DesiredSlots, SlotOrder, above, config, holds, join, places};

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
    pub refused: Vec<(String, TrustRefusal)>,
}

/// The assignments due for a service at `now` (seconds since the Unix epoch). Without a change and long
/// before an expiry there are none.
///
/// Computes the plan of each of its proxies; [`Plans::drafts`](crate::Plans::drafts) has the same result
/// for all services, and caches.
#[must_use]
pub fn assign(state: &State, service: &str, now: u64, terms: &AssignmentTerms) -> Assignments {
    let mut folder = state.desired.folder();
    let nodes = state.nodes();
    let wants: Vec<DesiredSlots> = nodes
        .iter()
        .filter(|node| node.key() == service)
        .map(|node| {
            let plan = folder.fold(node).plan;
            let places = plan.as_ref().map(|plan| places(plan, config)).unwrap_or_default();
            DesiredSlots::of(&state.desired, node, &places)
        })
        .collect();
    draft_all(state, service, wants.iter(), now, terms)
}

/// The assignments due for a service with these plans.
pub(crate) fn draft_all<'a>(
    state: &State,
    service: &str,
    wants: impl Iterator<Item = &'a DesiredSlots>,
    now: u64,
    terms: &AssignmentTerms,
) -> Assignments {
    let (wants, refused) = join(service, wants);
    let renewed = now.saturating_add(terms.renew.min(terms.lifetime / 2));
    let mut out = Assignments { refused: refused.into_iter().collect(), ..Assignments::default() };
    // In order of slots, and within a slot those outside rollouts first: those of rollouts must be above
    // them.
    let mut base: BTreeMap<&str, u64> = BTreeMap::new();
    for ((slot, lane), wanted) in &wants {
        let known = state.ledger.slot(service, slot);
        let alive = state.desired.rollout(service, &wanted.filter).map(|it| it.rollout.name());
        let new_base = base.get(slot.as_str()).copied();
        let floor = first_version(state.ledger.epoch(service));
        let above = above(known, alive, lane.as_deref(), new_base).max(floor);
        let had = known.and_then(|known| known.lane(lane.as_deref()));
        let kept = had.filter(|had| holds(had, wanted, above, renewed));
        let version = if let Some(had) = kept {
            out.kept += 1;
            had.version
        } else {
            let at = u64::try_from(out.drafts.len()).unwrap_or(u64::MAX);
            let next = floor.saturating_add(state.head()).saturating_add(1).saturating_add(at);
            let highest = known.map_or(0, |known| known.highest);
            let version =
                next.max(highest.saturating_add(1)).max(new_base.unwrap_or(0).saturating_add(1));
            let expires = now.saturating_add(terms.lifetime.max(1));
            out.drafts.push(draft(service, (slot, lane), wanted, version, (now, expires)));
            version
        };
        if lane.is_none() {
            base.insert(slot, version);
        }
    }
    out
}

fn draft(
    service: &str,
    (slot, rollout): (&str, &Option<String>),
    wanted: &SlotOrder,
    version: u64,
    (issued, expires): (u64, u64),
) -> AssignmentDraft {
    AssignmentDraft {
        service: service.to_owned(),
        slot: slot.to_owned(),
        filter: wanted.filter.clone(),
        digest: wanted.digest,
        config: wanted.config,
        version,
        issued,
        expires,
        mode: wanted.mode,
        rollout: rollout.clone(),
    }
}

#[cfg(test)]
mod tests;

//! What a proxy should run: for each slot the filter, its digest and its configuration, and the lane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tamis_resources::NodeName;
use tamis_resources::plan::{FilterPlan, NodePlan, RefusedPlan};
use tamis_sync::{SHADOW, placed};
use tamis_trust::{AssignmentMode, Digest, Name, config_digest, first_version};

use crate::desired::DesiredState;
use crate::ledger::Slot;
use crate::record::AssignmentRecord;
use crate::refused::{TrustRefusal, code};
use crate::rollout::RolloutStep;
use crate::state::{State, revoked};

/// The desired content of a slot in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotOrder {
    pub(crate) filter: Name,
    pub(crate) digest: Digest,
    pub(crate) config: Digest,
    pub(crate) mode: AssignmentMode,
}

/// A slot, and the rollout whose nodes it is for.
pub(crate) type Lane = (String, Option<String>);

/// The desired slots of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DesiredSlots {
    pub(crate) lanes: BTreeMap<Lane, SlotOrder>,
    /// Slots that cannot be served, and why.
    pub(crate) refused: BTreeMap<String, TrustRefusal>,
}

/// The plan of a slot, apart from pins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SlotPlace {
    filter: String,
    config: Digest,
    refused: Option<RefusedPlan>,
    digest: Option<Digest>,
}

impl SlotPlace {
    /// The same slot with the current pins.
    pub(crate) fn repin(&mut self, digest: impl Fn(&str) -> Option<Digest>) {
        if self.digest.is_some() {
            self.digest = digest(&self.filter).or(self.digest);
        }
    }
}

/// The slots of a plan, by name.
pub(crate) fn places(
    plan: &NodePlan,
    mut config: impl FnMut(&FilterPlan) -> Digest,
) -> BTreeMap<String, SlotPlace> {
    let placed = placed(plan).into_iter();
    placed.map(|(name, filter)| (name, place(filter, config(filter)))).collect()
}

/// The digest of a filter's configuration, computed again.
pub(crate) fn config(filter: &FilterPlan) -> Digest {
    config_digest(&filter.config)
}

fn place(filter: &FilterPlan, config: Digest) -> SlotPlace {
    let refused = filter.refused.clone();
    let digest = filter.digest.parse().ok().filter(|_| filter.refused.is_none());
    SlotPlace { filter: filter.filter.clone(), config, refused, digest }
}

impl DesiredSlots {
    /// The desired slots of `node`.
    pub(crate) fn of(
        desired: &DesiredState,
        node: &NodeName,
        places: &BTreeMap<String, SlotPlace>,
    ) -> Self {
        let mut wants = Self::default();
        for (name, place) in places {
            match wanted(desired, place) {
                Err(why) => drop(wants.refused.insert(name.clone(), why)),
                Ok(wanted) => {
                    if let Some(shadow) = shadow(desired, node, &wanted) {
                        wants.lanes.insert((format!("{name}{SHADOW}"), None), shadow);
                    }
                    let lifted = desired.lift(node, &wanted.filter);
                    let lane = lifted.map(|it| it.rollout.name().to_owned());
                    wants.lanes.insert((name.clone(), lane), wanted);
                }
            }
        }
        wants
    }
}

fn wanted(desired: &DesiredState, place: &SlotPlace) -> Result<SlotOrder, TrustRefusal> {
    let refuse = |rule: String| TrustRefusal {
        code: code::SLOT_REFUSED,
        rule,
        set_by: "the documents in force".to_owned(),
        remedy: "run `tamis plan` and read the problems".to_owned(),
    };
    let Some(digest) = place.digest else {
        let why = place.refused.as_ref();
        let rule = why.map(|why| format!("{}: {}", why.code, why.reason)).unwrap_or_default();
        let remedy = why.map(|why| why.remedy.clone()).filter(|remedy| !remedy.is_empty());
        let refused = refuse(rule);
        return Err(TrustRefusal {
            remedy: remedy.unwrap_or_else(|| refused.remedy.clone()),
            ..refused
        });
    };
    let filter: Name = place.filter.parse().map_err(|error| refuse(format!("{error}")))?;
    // A revocation that does not stop what runs only prevents a new pin.
    if let Some(revocation) = desired.revoked_digests.get(&digest).filter(|it| it.now) {
        return Err(revoked(&filter, &digest, revocation));
    }
    Ok(SlotOrder { filter, digest, config: place.config, mode: AssignmentMode::Serve })
}

fn shadow(desired: &DesiredState, node: &NodeName, serving: &SlotOrder) -> Option<SlotOrder> {
    let rollout = desired.rollout(node.key(), &serving.filter)?;
    let to = rollout.rollout.spec().to;
    let shadowed = rollout.step() == Some(RolloutStep::Shadow);
    shadowed.then(|| SlotOrder { digest: to, mode: AssignmentMode::Shadow, ..serving.clone() })
}

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
    pub refused: BTreeMap<String, TrustRefusal>,
}

impl<'a> NodeWants<'a> {
    /// Finds the assignments for `wants` in the ledger at `now`.
    pub(crate) fn find(
        state: &'a State,
        node: &NodeName,
        now: u64,
        plan: Option<Arc<NodePlan>>,
        wants: &DesiredSlots,
    ) -> Self {
        let refused = wants.refused.clone();
        let mut out = Self { plan, refused, ..Self::default() };
        for ((slot, lane), wanted) in &wants.lanes {
            let known = state.ledger.slot(node.key(), slot);
            let alive = state.desired.rollout(node.key(), &wanted.filter);
            let above = above(known, alive.map(|it| it.rollout.name()), lane.as_deref(), None);
            // Assignments of an earlier epoch no longer count.
            let above = above.max(first_version(state.ledger.epoch(node.key())));
            match known.and_then(|known| known.lane(lane.as_deref())) {
                Some(had) if holds(had, wanted, above, now) => {
                    out.assigned.insert(slot.clone(), had);
                }
                Some(_) | None => out.missing.push(slot.clone()),
            }
        }
        out
    }
}

impl NodeWants<'_> {
    /// Marks slots that are missing because proxies disagree as refused.
    pub(crate) fn explain(&mut self, mut refused: BTreeMap<String, TrustRefusal>) {
        let torn = |why: &TrustRefusal| why.code == code::AMBIGUOUS;
        self.missing.retain(|slot| match refused.remove(slot).filter(torn) {
            Some(why) => {
                self.refused.insert(slot.clone(), why);
                false
            }
            None => true,
        });
    }
}

/// The version that an assignment must exceed: whatever nodes of its lane may have had before. `base` is
/// the assignment about to be made for all others.
pub(crate) fn above(
    known: Option<&Slot>,
    alive: Option<&str>,
    lane: Option<&str>,
    base: Option<u64>,
) -> u64 {
    let dead = known.map_or(0, |known| known.dead(alive));
    if lane.is_none() {
        return dead;
    }
    let current = known.and_then(|known| known.lane(None)).map_or(0, |lane| lane.version);
    dead.max(current).max(base.unwrap_or(0))
}

/// Whether an assignment matches the plan, is high enough, and is valid past `until`.
pub(crate) fn holds(had: &AssignmentRecord, wanted: &SlotOrder, above: u64, until: u64) -> bool {
    let same = had.filter == wanted.filter
        && had.digest == wanted.digest
        && had.config == wanted.config
        && had.mode == wanted.mode;
    same && had.version > above && had.expires > until
}

/// What a node should run at `now` (seconds since the Unix epoch), according to the assignments. It is
/// never below what the node had before, and never names a revoked digest.
///
/// Combines all documents; [`Plans::node`](crate::Plans::node) has the same result, and caches.
#[must_use]
pub fn for_node<'a>(state: &'a State, node: &NodeName, now: u64) -> NodeWants<'a> {
    let mut folder = state.desired.folder();
    let mut wants_of = |node: &NodeName| {
        let plan = folder.fold(node).plan;
        let places = plan.as_ref().map(|plan| places(plan, config)).unwrap_or_default();
        (plan, DesiredSlots::of(&state.desired, node, &places))
    };
    let (plan, wants) = wants_of(node);
    let mut out = NodeWants::find(state, node, now, plan.map(Arc::new), &wants);
    if state.desired.documents.are_two(node.key()) {
        let nodes = state.nodes().into_iter().filter(|one| one.key() == node.key());
        let all: Vec<DesiredSlots> = nodes.map(|one| wants_of(&one).1).collect();
        out.explain(join(node.key(), all.iter()).1);
    }
    out
}

/// The combined plan of all proxies of a service. Where they disagree, nothing is assigned.
pub(crate) fn join<'a>(
    service: &str,
    all: impl Iterator<Item = &'a DesiredSlots>,
) -> (BTreeMap<&'a Lane, &'a SlotOrder>, BTreeMap<String, TrustRefusal>) {
    let (mut wants, mut refused, mut torn) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for one in all {
        refused.extend(one.refused.clone());
        for (lane, wanted) in &one.lanes {
            if *wants.entry(lane).or_insert(wanted) != wanted {
                torn.insert(lane.0.as_str());
            }
        }
    }
    wants.retain(|lane, _| !torn.contains(lane.0.as_str()));
    refused.extend(torn.into_iter().map(|slot| (slot.to_owned(), ambiguous(slot, service))));
    (wants, refused)
}

fn ambiguous(slot: &str, service: &str) -> TrustRefusal {
    TrustRefusal {
        code: code::AMBIGUOUS,
        rule: format!(
            "proxies of {service} need different filters or configurations in slot {slot}"
        ),
        set_by: "the rule that a slot of a service has one assignment".to_owned(),
        remedy: "give a Gateway and a Service of one namespace different names".to_owned(),
    }
}

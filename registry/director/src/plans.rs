//! A cache of the plans and desired slots of all proxies.
//!
//! A plan follows from the documents and from the digest of each filter. Combining the documents is
//! expensive, so it is done once per proxy and change of the documents. A changed pin only replaces a
//! digest in the existing plan.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tamis_resources::plan::{FilterPlan, NodePlan};
use tamis_resources::{Document, FoldResult, NodeName, Problem, ResourceStatus};
use tamis_trust::{Digest, Name, Version};

use crate::desired::{DesiredState, ResolvedFilter, fold_with};
use crate::pins::ALL;
use crate::plans::shared::SharedValues;
pub(crate) use crate::plans::shared::hash_of;
use crate::state::State;
use crate::wants::{DesiredSlots, SlotPlan, slot_plans};

/// A cache over the states of one journal, in the order of their revisions.
///
/// It stores a plan for each proxy that the documents declare, and nothing for other names, so invented
/// names cost no memory. A state with a lower revision than an earlier one is handled correctly too, but
/// without the benefit of the cache.
/// A clone shares what it knows already, so it costs little, and another thread can compute with it; [`Plans::learn`] brings
/// back what it found.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    /// Revision of the documents that everything below is based on.
    documents: u64,
    /// The parsed documents.
    parsed: Vec<Arc<Document>>,
    nodes: HashMap<NodeName, Arc<KnownProxy>>,
    /// The statuses of the last computation for one proxy, and which; for other proxies only worse ones
    /// count. It follows that proxy: with an older result they would stay worse than they are.
    statuses: Option<(NodeName, Arc<[ResourceStatus]>)>,
    shared: SharedValues,
    /// All problems and statuses, at this revision of the desired state.
    everything: Option<(u64, Arc<FoldResult>)>,
}

/// The cached facts about a proxy.
#[derive(Debug, Clone)]
pub(crate) struct KnownProxy {
    /// Revision of the desired state at which this is valid.
    revision: u64,
    pins: BTreeMap<Name, (Version, Digest)>,
    pub(crate) plan: Option<Arc<NodePlan>>,
    slot_plans: BTreeMap<String, SlotPlan>,
    pub(crate) slots: DesiredSlots,
    pub(crate) problems: Vec<Problem>,
    /// Statuses with a failing condition.
    unwell: Vec<ResourceStatus>,
}

impl Plans {
    /// The result for all documents, over all proxies: every problem once, and conditions that hold when
    /// they hold for each proxy. It has no plan.
    pub fn everything(&mut self, state: &State) -> Arc<FoldResult> {
        let revision = state.desired.revision;
        self.follow(&state.desired);
        if let Some((at, known)) = &self.everything
            && *at == revision
        {
            return Arc::clone(known);
        }
        let nodes = state.nodes();
        for node in &nodes {
            self.known(&state.desired, node);
        }
        // No proxy is declared: the result for a proxy that has every pin.
        let nobody = NodeName::Gateway { key: ALL.to_owned() };
        let nobody = nodes.is_empty().then(|| self.fold(&state.desired, &nobody));
        let known = nodes.iter().filter_map(|node| self.nodes.get(node)).map(|known| &**known);
        let everything = Arc::new(merge(
            self.statuses.as_ref().map_or(&[][..], |(_, all)| all),
            known.chain(&nobody),
        ));
        self.everything = Some((revision, Arc::clone(&everything)));
        everything
    }

    /// The desired slots of each of these proxies that the documents declare.
    pub(crate) fn slots_of(
        &mut self,
        desired: &DesiredState,
        nodes: &[NodeName],
    ) -> Vec<&DesiredSlots> {
        for node in nodes {
            self.known(desired, node);
        }
        nodes.iter().filter_map(|node| self.nodes.get(node)).map(|known| &known.slots).collect()
    }

    /// The plan of a proxy; `None` when no document declares it.
    pub fn node_plan(&mut self, state: &State, node: &NodeName) -> Option<Arc<NodePlan>> {
        self.known(&state.desired, node)?.plan.clone()
    }

    /// The current facts about a proxy; `None` when no document declares it.
    pub(crate) fn known(&mut self, desired: &DesiredState, node: &NodeName) -> Option<&KnownProxy> {
        self.follow(desired);
        if !desired.documents.has(node) {
            return None;
        }
        let now = self.nodes.remove(node);
        let known = match now {
            Some(known) if known.revision == desired.revision => known,
            Some(mut shared) => {
                let pins = desired.resolve(node);
                if shared.has(&pins) {
                    let known = Arc::make_mut(&mut shared);
                    known.repin(&pins);
                    known.slots = DesiredSlots::of(desired, node, &known.slot_plans);
                    known.revision = desired.revision;
                    shared
                } else {
                    Arc::new(self.fold(desired, node))
                }
            }
            None => Arc::new(self.fold(desired, node)),
        };
        Some(&**self.nodes.entry(node.clone()).or_insert(known))
    }

    /// Takes over what a clone found out about proxies that are not known here, if it is about the same documents.
    pub fn learn(&mut self, other: Self) {
        if other.documents != self.documents {
            return;
        }
        for (node, known) in other.nodes {
            self.nodes.entry(node).or_insert(known);
        }
        self.statuses = self.statuses.take().or(other.statuses);
    }

    /// Whether the plan of a proxy is known as it is now, or follows from what is known.
    #[must_use]
    pub fn knows(&self, state: &State, node: &NodeName) -> bool {
        self.documents == state.desired.documents.changed
            && self.nodes.get(node).is_some_and(|known| known.has(&state.desired.resolve(node)))
    }

    /// Drops what is based on other documents.
    fn follow(&mut self, desired: &DesiredState) {
        if self.documents != desired.documents.changed {
            self.nodes.clear();
            self.shared.tidy();
            self.statuses = None;
            self.everything = None;
            self.parsed = desired.documents.all();
            self.documents = desired.documents.changed;
        }
    }

    fn fold(&mut self, desired: &DesiredState, node: &NodeName) -> KnownProxy {
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

impl KnownProxy {
    /// Whether it was computed with pins of the same filters.
    pub(crate) fn has(&self, pins: &[ResolvedFilter<'_>]) -> bool {
        self.pins.len() == pins.len() && pins.iter().all(|pin| self.pins.contains_key(pin.filter))
    }

    /// Replaces the versions of the same filters in the plan.
    fn repin(&mut self, pins: &[ResolvedFilter<'_>]) {
        if let Some(plan) = &mut self.plan {
            repin(plan, pins);
        }
        for plan in self.slot_plans.values_mut() {
            plan.repin(|filter| pin(pins, filter).map(|pin| pin.digest));
        }
        let pins = pins.iter();
        self.pins = pins.map(|it| (it.filter.clone(), (it.version.clone(), it.digest))).collect();
    }
}

fn pin<'a>(pins: &'a [ResolvedFilter<'a>], filter: &str) -> Option<&'a ResolvedFilter<'a>> {
    pins.iter().find(|pin| pin.filter.as_str() == filter)
}

/// Puts pins of the same filters into a plan; the plan stays the same object when it has them already.
pub(crate) fn repin(plan: &mut Arc<NodePlan>, pins: &[ResolvedFilter<'_>]) {
    let other = |filter: &FilterPlan| {
        // Empty: refused before its pin was read.
        let pin = pin(pins, &filter.filter).filter(|_| !filter.digest.is_empty())?;
        let (version, digest) = (pin.version.to_string(), pin.digest.to_string());
        (filter.version != version || filter.digest != digest).then_some((version, digest))
    };
    if plan.filters.iter().all(|filter| other(filter).is_none()) {
        return;
    }
    for filter in &mut Arc::make_mut(plan).filters {
        if let Some((version, digest)) = other(filter) {
            let filter = Arc::make_mut(filter);
            filter.version = version;
            filter.digest = digest;
        }
    }
}

fn merge<'a>(statuses: &[ResourceStatus], all: impl Iterator<Item = &'a KnownProxy>) -> FoldResult {
    type Id = (String, String, String);
    let id = |one: &ResourceStatus| -> Id {
        (one.kind.clone(), one.namespace.clone(), one.name.clone())
    };
    // The lock is the director's own.
    let documents = |one: &&ResourceStatus| one.kind != "FiltersLock";
    let mut by_id: BTreeMap<Id, ResourceStatus> =
        statuses.iter().filter(documents).map(|one| (id(one), one.clone())).collect();
    let (mut problems, mut seen) = (Vec::new(), BTreeSet::new());
    for known in all {
        for problem in &known.problems {
            let place = (problem.place.source.clone(), problem.message.clone());
            if seen.insert((problem.code.clone(), place)) {
                problems.push(problem.clone());
            }
        }
        for one in &known.unwell {
            let Some(status) = by_id.get_mut(&id(one)) else { continue };
            for worse in one.conditions.iter().filter(|it| !it.status) {
                let same = status.conditions.iter_mut().find(|it| it.kind == worse.kind);
                if let Some(same) = same.filter(|it| it.status) {
                    *same = worse.clone();
                }
            }
        }
    }
    FoldResult { plan: None, problems, statuses: by_id.into_values().collect() }
}

mod shared;
#[cfg(test)]
mod tests;

//! A cache of the plans and desired slots of all proxies.
//!
//! A plan follows from the documents and from the digest of each filter. Combining the documents is
//! expensive, so it is done once per proxy and change of the documents. A changed pin only replaces a
//! digest in the existing plan.

mod compute;
mod everything;
mod shared;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tamis_resources::plan::{FilterPlan, NodePlan};
use tamis_resources::{Document, FoldResult, NodeName, Problem, ResourceStatus};
use tamis_trust::{Digest, Name, Version};

use crate::desired::{DesiredState, ResolvedFilter};
use crate::plans::shared::SharedValues;
pub(crate) use crate::plans::shared::hash_of;
use crate::state::State;
use crate::wants::{DesiredSlots, SlotPlan};

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

#[cfg(test)]
mod tests;

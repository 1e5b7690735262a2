//! The effect of a change on proxies.

mod applications;
mod outside;
mod protection;
mod trust;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;
use tamis_resources::crowded_plan;
use tamis_resources::plan::{FilterPlan, NodePlan};
use tamis_resources::{NodeName, Phase, Problem};
use tamis_sync::placed;
use tamis_trust::{Digest, config_digest};

use crate::change::{Change, PlanError, changed, pinned};
use crate::desired::{DesiredState, Folder};
use crate::documents::value;
use crate::fields::{FieldEffect, fields};
use crate::plans::{Plans, hash_of, repin};
use crate::record::PinRecord;
use crate::state::State;
use applications::SharedApplications;
use outside::MovedApplications;
use protection::BareEndpoints;
pub use trust::{DistrustedSlot, SignedManifest, TrustChange};

/// The effect of a change on proxies.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChangeEffect {
    /// Slots, by service, then slot.
    pub slots: Vec<SlotEffect>,
    /// Changes outside slots, by service, in words like `listener https: clientAddress` or `upstream shop/a:80`.
    pub others: BTreeMap<String, BTreeSet<String>>,
    /// Changes in documents that exist before and after, by key.
    pub documents: Vec<DocumentEffect>,
    /// Proxies added.
    pub nodes_added: Vec<String>,
    /// Proxies removed.
    pub nodes_removed: Vec<String>,
    /// Node and listener of chains that would lose all their filters.
    pub emptied: Vec<(String, String)>,
    /// What would guard less, by service, in words like `"shop/pay-jwt" (tamis/jwt) no longer guards listener "https"`.
    pub unguarded: BTreeMap<String, BTreeSet<String>>,
    /// Problems that the change introduces.
    pub problems: Vec<Problem>,
    /// What would start to run: each digest with its configuration, grant and world once.
    #[serde(skip)]
    pub fresh: Vec<Arc<FilterPlan>>,
    /// Why proxies would have more of one namespace, or of all, than they may.
    #[serde(skip)]
    pub crowded: Vec<String>,
    /// Number of services that have proxies now.
    pub services: usize,
    /// The services whose proxies would change: in slots, listeners, trust or identity; and those that are reached in
    /// another way, or of which nothing is where it was. Single endpoints come and go, and are not counted.
    pub touched: BTreeSet<String>,
    /// The change of trust policies; `None`: they stay the same.
    #[serde(skip)]
    pub trust: Option<TrustChange>,
}

/// The changes in one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DocumentEffect {
    /// `Kind/namespace/name`.
    pub key: String,
    /// The fields that differ, at most [`MAX_FIELDS`](crate::MAX_FIELDS).
    pub fields: Vec<FieldEffect>,
}

/// What changes in a slot of a service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlotEffect {
    /// The service.
    pub service: String,
    /// Its slot.
    pub slot: String,
    /// Its proxies in which it changes.
    pub nodes: Vec<String>,
    /// Whether it decides who may pass, before or after: it is in the phase `authn` or `authz`.
    pub guards: bool,
    /// The change.
    #[serde(flatten)]
    pub change: SlotTransition,
}

/// How a slot changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum SlotTransition {
    /// It is new.
    Added {
        /// Its new content.
        after: SlotContent,
    },
    /// It is removed.
    Removed {
        /// Its old content.
        before: SlotContent,
    },
    /// Its content changes.
    Changed {
        /// Its old content.
        before: SlotContent,
        /// Its new content.
        after: SlotContent,
        /// What differs, at least one.
        parts: Vec<SlotAspect>,
    },
}

/// The content of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotContent {
    /// The filter's name.
    pub filter: String,
    /// Version of the artifact; empty when unknown.
    pub version: String,
    /// Digest of the manifest; `None` when nothing may run.
    pub digest: Option<Digest>,
    /// Digest of the configuration.
    pub config: Digest,
    /// The code of the reason why nothing may run.
    pub refused: Option<String>,
}

/// What differs in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotAspect {
    /// Another filter.
    Filter,
    /// Another digest.
    Digest,
    /// Another configuration.
    Config,
    /// Its grant, or the keys that must have signed.
    Grant,
    /// Its phase, order or scope.
    Placement,
    /// The effect of its faults, or how long instances live.
    Faults,
    /// The world that its component must implement.
    World,
    /// Whether it may run, or why not.
    Refused,
}

/// The effect of `change`, without making it.
///
/// Computes the plan of every proxy. [`Plans::effect`] has the same result, and caches.
///
/// # Errors
/// [`PlanError`] when the change cannot be made at all. Problems that leave a slot refused or a document
/// unused are part of the [`ChangeEffect`].
pub fn effect(state: &State, change: &Change) -> Result<ChangeEffect, PlanError> {
    Plans::default().effect(state, change)
}

impl Plans {
    /// The effect of `change`, without making it; the cache keeps the current plans.
    ///
    /// A change of documents computes each proxy's plan once; a pin of a filter that was pinned before
    /// computes none.
    ///
    /// # Errors
    /// [`PlanError`] when the change cannot be made at all. Problems that leave a slot refused or a
    /// document unused are part of the [`ChangeEffect`].
    pub fn effect(&mut self, state: &State, change: &Change) -> Result<ChangeEffect, PlanError> {
        let after = changed(&state.desired, change, state)?;
        Ok(self.effect_between(&state.desired, &after))
    }

    /// The effect of all these pins together, as where a rollout ends: however many there are, it is computed once. A pin that
    /// cannot be made has none.
    pub fn effect_of_pins(&mut self, state: &State, pins: &[PinRecord]) -> ChangeEffect {
        self.effect_between(&state.desired, &pinned(&state.desired, pins, state))
    }

    fn effect_between(&mut self, before: &DesiredState, after: &DesiredState) -> ChangeEffect {
        let mut there = after.folder();
        let here = before.documents.nodes();
        let services: BTreeSet<&str> = here.iter().map(NodeName::key).collect();
        let (mut effect, mut known) = (ChangeEffect::default(), BTreeSet::new());
        let mut seen = SeenParts::default();
        effect.documents = documents(before, after);
        // Pins have no effect on what guards what.
        let is_of_documents = before.documents.changed != after.documents.changed;
        let bare = is_of_documents.then(|| BareEndpoints::of(before, after));
        let mut shared = match is_of_documents {
            true => SharedApplications::of(before, after),
            false => SharedApplications::default(),
        };
        let gateways = if is_of_documents { self.gateways(before, &here) } else { Vec::new() };
        effect.services = services.len();
        effect.trust = TrustChange::between(before, after);
        let fresh = after.documents.nodes().into_iter();
        let fresh: Vec<NodeName> = fresh.filter(|node| !before.documents.has(node)).collect();
        let (mut problems, mut added) = (Vec::new(), Vec::new());
        for node in here.iter().chain(&fresh) {
            let Some(pair) = self.pair((before, after), &mut there, node) else { continue };
            shared.node(node, (pair.before.as_ref(), pair.after.as_ref()));
            known.extend(pair.known.iter().map(identity));
            problems.extend(pair.problems);
            let (before, after) = (pair.before.as_deref(), pair.after.as_deref());
            effect.crowded.extend(after.and_then(|after| crowded_plan(before, after)));
            if let (Some(trust), Some(before), Some(after)) = (&mut effect.trust, before, after) {
                trust.node(node, before, after);
            }
            effect.node(node, before, after, &mut seen);
            if let (Some(before), Some(bare)) = (before, &bare) {
                effect.protection(node, (before, after), (bare, &gateways));
            }
            added.extend(pair.after.filter(|_| pair.before.is_none()).map(|plan| (node, plan)));
        }
        effect.applications(&shared);
        new_gateways(&gateways, &added, &mut effect);
        effect.moved(&here, &seen.moved);
        for problem in problems {
            if known.insert(identity(&problem)) {
                effect.problems.push(problem);
            }
        }
        if effect.trust.is_some() {
            let faults = trust::faults(before, after, &effect.problems);
            effect.problems.extend(faults);
        }
        effect.touched.retain(|service| services.contains(service.as_str()));
        effect
            .slots
            .sort_by(|one, other| (&one.service, &one.slot).cmp(&(&other.service, &other.slot)));
        effect
    }

    /// The plans of all gateways.
    fn gateways(&mut self, before: &DesiredState, here: &[NodeName]) -> Vec<Arc<NodePlan>> {
        let gateways = here.iter().filter(|node| is_gateway(node));
        gateways.filter_map(|node| self.known(before, node)?.plan.clone()).collect()
    }

    /// A proxy before and after a change; `None` when nothing about it changes. `there` computes plans of
    /// the state `after`.
    fn pair(
        &mut self,
        (before, after): (&DesiredState, &DesiredState),
        there: &mut Folder<'_>,
        node: &NodeName,
    ) -> Option<PlanPair> {
        let pins = after.resolve(node);
        let same = before.documents.changed == after.documents.changed;
        let known = self.known(before, node);
        if let Some(known) = known.filter(|known| same && known.has(&pins)) {
            let current = known.plan.clone()?;
            let mut next = Arc::clone(&current);
            repin(&mut next, &pins);
            let differs = !Arc::ptr_eq(&current, &next);
            return differs.then(|| PlanPair {
                before: Some(current),
                after: Some(next),
                ..PlanPair::default()
            });
        }
        let (current, known) =
            known.map(|known| (known.plan.clone(), known.problems.clone())).unwrap_or_default();
        let folded = after.documents.has(node).then(|| there.fold(node));
        let (next, problems) =
            folded.map(|it| (it.plan.map(Arc::new), it.problems)).unwrap_or_default();
        Some(PlanPair { before: current, after: next, known, problems })
    }
}

fn is_gateway(node: &NodeName) -> bool {
    matches!(node, NodeName::Gateway { .. })
}

/// Adds what new gateways do not guard of the rules of others.
fn new_gateways(
    gateways: &[Arc<NodePlan>],
    added: &[(&NodeName, Arc<NodePlan>)],
    effect: &mut ChangeEffect,
) {
    for (node, after) in added.iter().filter(|(node, _)| is_gateway(node)) {
        effect.new_gateway(node, gateways, after);
    }
}

/// A proxy before and after a change.
#[derive(Debug, Default)]
struct PlanPair {
    /// Its plan before; `None` when it does not exist yet.
    before: Option<Arc<NodePlan>>,
    /// Its plan after; `None` when it no longer exists.
    after: Option<Arc<NodePlan>>,
    /// Problems before.
    known: Vec<Problem>,
    /// Problems after.
    problems: Vec<Problem>,
}

/// Where parts of an effect are: many proxies have the same.
#[derive(Debug, Default)]
struct SeenParts {
    /// Indices of [`ChangeEffect::slots`], by service and slot.
    slots: HashMap<(String, String), Vec<usize>>,
    /// Indices of [`ChangeEffect::fresh`], by their hash.
    fresh: HashMap<u64, Vec<usize>>,
    /// Applications that are no longer where they were.
    moved: MovedApplications,
}

/// The documents whose content changes.
fn documents(before: &DesiredState, after: &DesiredState) -> Vec<DocumentEffect> {
    if before.documents.changed == after.documents.changed {
        return Vec::new();
    }
    let changed = after.documents.by_key.iter().filter_map(|(key, new)| {
        let old = before.documents.by_key.get(key).filter(|old| old.digest != new.digest)?;
        let fields = fields(&value(&old.document), &value(&new.document));
        Some(DocumentEffect { key: key.clone(), fields })
    });
    changed.collect()
}

fn identity(problem: &Problem) -> (String, String, String) {
    (problem.code.clone(), problem.message.clone(), problem.place.source.clone())
}

impl ChangeEffect {
    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
            && self.others.is_empty()
            && self.nodes_added.is_empty()
            && self.nodes_removed.is_empty()
    }

    fn node(
        &mut self,
        node: &NodeName,
        before: Option<&NodePlan>,
        after: Option<&NodePlan>,
        seen: &mut SeenParts,
    ) {
        match (before, after) {
            (None, None) => return,
            (None, Some(_)) => self.nodes_added.push(node.to_string()),
            (Some(_), None) => self.nodes_removed.push(node.to_string()),
            (Some(before), Some(after)) => {
                self.outside_slots(node, (before, after), &mut seen.moved);
            }
        }
        let old = before.map(placed).unwrap_or_default();
        let new = after.map(placed).unwrap_or_default();
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (before, after) = (old.get(name).copied(), new.get(name).copied());
            let change = compare(before, after);
            // A router that stays as it is may lack a rule that something is attached to now.
            let covers = before.map(|one| &one.covers) != after.map(|one| &one.covers);
            let fresh = after.filter(|one| one.refused.is_none() && (covers || change.is_some()));
            if let Some(fresh) = fresh {
                self.fresh(fresh, seen);
            }
            if let Some(change) = change {
                let guards = before.into_iter().chain(after).any(|one| is_guard(one));
                self.slot(node, (name, guards), change, seen);
            }
        }
        if before.is_some() && after.is_none() {
            self.touched.insert(node.key().to_owned());
        }
    }

    /// Counts the services all of whose applications are no longer where they were.
    fn moved(&mut self, nodes: &[NodeName], moved: &MovedApplications) {
        for (service, moved) in moved {
            if nodes.iter().filter(|node| node.key() == service).count() == *moved {
                self.touched.insert(service.clone());
            }
        }
    }

    /// A filter that would start to run, once.
    fn fresh(&mut self, fresh: &Arc<FilterPlan>, seen: &mut SeenParts) {
        let alike = seen.fresh.entry(hash_of(&fresh.config)).or_default();
        let mut known = alike.iter().filter_map(|at| self.fresh.get(*at));
        if !known.any(|one| is_same(one, fresh)) {
            alike.push(self.fresh.len());
            self.fresh.push(Arc::clone(fresh));
        }
    }

    /// One entry for all proxies of a service in which a slot changes in the same way.
    fn slot(
        &mut self,
        node: &NodeName,
        (slot, guards): (&str, bool),
        change: SlotTransition,
        seen: &mut SeenParts,
    ) {
        let service = node.key();
        self.touched.insert(service.to_owned());
        let of = (service.to_owned(), slot.to_owned());
        let changes = seen.slots.entry(of.clone()).or_default();
        let same = |at: &&usize| {
            let there = self.slots.get(**at);
            there.is_some_and(|one| one.change == change && one.guards == guards)
        };
        match changes.iter().find(same).and_then(|at| self.slots.get_mut(*at)) {
            Some(same) => same.nodes.push(node.to_string()),
            None => {
                changes.push(self.slots.len());
                let ((service, slot), nodes) = (of, vec![node.to_string()]);
                self.slots.push(SlotEffect { service, slot, nodes, guards, change });
            }
        }
    }
}

fn compare(
    before: Option<&Arc<FilterPlan>>,
    after: Option<&Arc<FilterPlan>>,
) -> Option<SlotTransition> {
    match (before, after) {
        (None, None) => None,
        (None, Some(after)) => Some(SlotTransition::Added { after: side(after) }),
        (Some(before), None) => Some(SlotTransition::Removed { before: side(before) }),
        (Some(before), Some(after)) => {
            let parts = if Arc::ptr_eq(before, after) { Vec::new() } else { parts(before, after) };
            (!parts.is_empty()).then(|| SlotTransition::Changed {
                before: side(before),
                after: side(after),
                parts,
            })
        }
    }
}

fn parts(before: &FilterPlan, after: &FilterPlan) -> Vec<SlotAspect> {
    let code = |one: &FilterPlan| one.refused.as_ref().map(|refused| refused.code.clone());
    let placement = |one: &FilterPlan| (one.phase, one.order, one.extend, one.scope.clone());
    let rows = [
        (SlotAspect::Filter, before.filter != after.filter),
        (SlotAspect::Digest, digest(before) != digest(after)),
        // Equal JSON has equal digests, but different JSON may have too: 1 and 1.0 are one number.
        (SlotAspect::Config, before.config != after.config && config(before) != config(after)),
        (SlotAspect::Grant, (&before.grant, &before.signed_by) != (&after.grant, &after.signed_by)),
        (SlotAspect::Placement, placement(before) != placement(after)),
        (
            SlotAspect::Faults,
            (before.on_failure, before.isolation) != (after.on_failure, after.isolation),
        ),
        (SlotAspect::World, before.world != after.world),
        (SlotAspect::Refused, code(before) != code(after)),
    ];
    rows.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect()
}

fn side(filter: &FilterPlan) -> SlotContent {
    SlotContent {
        filter: filter.filter.clone(),
        version: filter.version.clone(),
        digest: digest(filter),
        config: config(filter),
        refused: filter.refused.as_ref().map(|refused| refused.code.clone().into_owned()),
    }
}

/// Whether a filter decides who may pass.
fn is_guard(filter: &FilterPlan) -> bool {
    matches!(filter.phase, Phase::Authn | Phase::Authz)
}

/// Whether a filter would run as one that is known: whether it may run does not depend on its place.
fn is_same(one: &FilterPlan, other: &FilterPlan) -> bool {
    (&one.digest, &one.filter, one.world) == (&other.digest, &other.filter, other.world)
        && (&one.grant, &one.signed_by) == (&other.grant, &other.signed_by)
        && one.config == other.config
        && one.covers == other.covers
}

/// The pinned digest; `None` when nothing may run.
fn digest(filter: &FilterPlan) -> Option<Digest> {
    filter.digest.parse().ok().filter(|_| filter.refused.is_none())
}

fn config(filter: &FilterPlan) -> Digest {
    config_digest(&filter.config)
}

#[cfg(test)]
mod tests;

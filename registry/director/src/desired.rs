//! The desired state: documents, pins, rollouts and revocations, and the plans that follow from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use tamis_resources::{
    BundleAuthority, Document, FoldResult, NodeName, Resource, Security, fold_under, parse,
};
use tamis_trust::{Digest, Name, Version};

use crate::documents::Documents;
use crate::pins::{ALL, Pins, lock};
use crate::rollout::{Cohort, Rollout, RolloutStage, RolloutStep, RolloutTally, rank};
use crate::stamp::JournalStamp;

/// A rollout and its progress.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RolloutState {
    /// What is rolled out, where and how.
    pub rollout: Rollout,
    /// Its stage.
    pub stage: RolloutStage,
    /// Who began it.
    pub started: JournalStamp,
    /// When the stage began; milliseconds since the Unix epoch.
    pub began_ms: u64,
    /// The nodes that it has moved, by name: those of the current step and of earlier ones. A moved node
    /// stays moved until the rollout is over, whatever other nodes come or go.
    pub moved: BTreeSet<String>,
    /// Number of nodes that it concerned at the last computation.
    pub concerned: usize,
    /// The counts.
    pub tally: RolloutTally,
    /// What the candidate may do more than the one before, as it was agreed to at the start, each in words.
    pub grown: Vec<String>,
    /// Why it is in this stage, in words; empty at its beginning.
    pub why: String,
}

/// A revocation in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StandingRevocation {
    /// Signatures that the log recorded before this index stay valid; `None`: all become invalid. Always
    /// `None` for a digest.
    pub from_index: Option<u64>,
    /// Who revoked it.
    pub stamp: JournalStamp,
    /// The reason.
    pub reason: String,
    /// Whether what runs must stop; otherwise it is only no longer pinned.
    pub now: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DesiredState {
    /// The namespaces whose grants and trust policies decide; `None`: all.
    pub(crate) security: Option<Arc<[String]>>,
    /// The last revision that may have changed something here, apart from counts.
    pub(crate) revision: u64,
    pub(crate) documents: Documents,
    pub(crate) pins: Pins,
    pub(crate) rollouts: BTreeMap<String, RolloutState>,
    pub(crate) revoked_digests: BTreeMap<Digest, StandingRevocation>,
    pub(crate) revoked_keys: BTreeMap<String, StandingRevocation>,
}

impl RolloutState {
    /// Its current step; `None` when it is over.
    #[must_use]
    pub fn step(&self) -> Option<RolloutStep> {
        self.stage.step()
    }
}

impl DesiredState {
    pub(crate) fn security(&self) -> Security<'_> {
        self.security.as_deref().map_or(Security::Everybody, Security::Namespaces)
    }

    /// The trust policies among the documents, in the form of the trust crate.
    pub(crate) fn trust_policies(&self) -> Vec<serde_json::Value> {
        let kept = self.documents.by_key.values();
        let policies = kept.filter(|held| matches!(held.resource(), Resource::TrustPolicy(_)));
        let documents: Vec<_> = policies.map(|held| Arc::clone(&held.document)).collect();
        let files = |path: &str| self.documents.file(path);
        tamis_resources::trust_policies(&documents, &files, self.security())
    }

    /// The authorities of each trust domain that documents federate with the mesh, by domain.
    pub(crate) fn federated(&self) -> BTreeMap<String, Vec<BundleAuthority>> {
        let kept = self.documents.by_key.values();
        let kept = kept.filter(|held| matches!(held.resource(), Resource::FederatedTrustDomain(_)));
        let documents: Vec<_> = kept.map(|held| Arc::clone(&held.document)).collect();
        if documents.is_empty() {
            return BTreeMap::new();
        }
        let files = |path: &str| self.documents.file(path);
        tamis_resources::federated_authorities(&documents, &files, self.security())
    }

    pub(crate) fn is_revoked(&self, digest: &Digest) -> bool {
        self.revoked_digests.contains_key(digest)
    }

    /// The rollout in progress for a filter of a service: it names the service, is not over, starts from
    /// the pinned digest, and its candidate is not revoked.
    pub(crate) fn rollout(&self, service: &str, filter: &Name) -> Option<&RolloutState> {
        let pinned = self.pins.effective(service, filter)?.digest;
        self.rollouts.values().find(|one| {
            let spec = one.rollout.spec();
            one.step().is_some()
                && spec.filter == *filter
                && one.rollout.names(service)
                && spec.from == pinned
                && !self.is_revoked(&spec.to)
        })
    }

    /// The rollout that lifts this node over the pin of a filter.
    pub(crate) fn lift(&self, node: &NodeName, filter: &Name) -> Option<&RolloutState> {
        let found = self.rollout(node.key(), filter)?;
        found.moved.contains(&node.to_string()).then_some(found)
    }

    /// Chooses the nodes of the current step of each rollout: exactly its share, rounded up, of the nodes
    /// that it concerns now. Nodes chosen earlier stay.
    pub(crate) fn settle(&mut self) {
        let active = self.rollouts.values().filter(|one| one.step().is_some());
        let names: Vec<String> = active.map(|one| one.rollout.name().to_owned()).collect();
        for name in names {
            let Some(state) = self.rollouts.get(&name) else { continue };
            let Some(step) = state.step() else { continue };
            let mut nodes: Vec<String> = self.concerned(state);
            let wanted = state.rollout.share(step, nodes.len());
            let concerned = nodes.len();
            nodes.sort_by_cached_key(|node| (!state.moved.contains(node), rank(&name, node)));
            nodes.truncate(wanted);
            if let Some(state) = self.rollouts.get_mut(&name) {
                state.concerned = concerned;
                state.moved.extend(nodes);
            }
        }
    }

    /// The nodes that a rollout concerns.
    pub(crate) fn concerned(&self, state: &RolloutState) -> Vec<String> {
        let (name, filter) = (state.rollout.name(), &state.rollout.spec().filter);
        let nodes = self.documents.nodes().into_iter().filter(|node| {
            self.rollout(node.key(), filter).is_some_and(|one| one.rollout.name() == name)
        });
        nodes.map(|node| node.to_string()).collect()
    }

    /// Another rollout that is not over and shares a place with this one.
    pub(crate) fn overlapping(&self, rollout: &Rollout) -> Option<&RolloutState> {
        let spec = rollout.spec();
        self.rollouts.values().find(|one| {
            one.step().is_some()
                && one.rollout.spec().filter == spec.filter
                && (spec
                    .services
                    .iter()
                    .any(|service| service == ALL || one.rollout.names(service))
                    || one.rollout.names(ALL))
        })
    }

    /// The numbers of nodes that the current step of a rollout moves and leaves.
    pub(crate) fn cohort(&self, state: &RolloutState) -> Cohort {
        // A rollout that is over concerns no nodes; what remains is the number that it moved.
        if state.step().is_none() {
            let moved = state.moved.len();
            return Cohort { moved, rest: state.concerned.saturating_sub(moved) };
        }
        let nodes = self.concerned(state);
        let moved = nodes.iter().filter(|node| state.moved.contains(*node)).count();
        Cohort { moved, rest: nodes.len() - moved }
    }

    /// The digest of each filter for a node: its pin, or the candidate that lifts it over the pin.
    pub(crate) fn resolve(&self, node: &NodeName) -> Vec<ResolvedFilter<'_>> {
        let service = node.key();
        let resolved = self.pins.filters().filter_map(|filter| {
            let pin = self.pins.effective(service, filter)?;
            let lifted = self.lift(node, filter).map(|state| state.rollout.spec());
            let (version, digest) =
                lifted.map_or((&pin.version, pin.digest), |spec| (&spec.version, spec.to));
            Some(ResolvedFilter { filter, version, digest })
        });
        resolved.collect()
    }

    pub(crate) fn folder(&self) -> Folder<'_> {
        Folder { desired: self, documents: self.documents.all() }
    }
}

/// A filter and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResolvedFilter<'a> {
    pub(crate) filter: &'a Name,
    pub(crate) version: &'a Version,
    pub(crate) digest: Digest,
}

/// Computes the plans of several nodes from the same documents.
pub(crate) struct Folder<'a> {
    desired: &'a DesiredState,
    documents: Vec<Arc<Document>>,
}

impl Folder<'_> {
    /// The plan of a node with its pins.
    pub(crate) fn fold(&mut self, node: &NodeName) -> FoldResult {
        fold_with(self.desired, &mut self.documents, node)
    }
}

/// The plan of a node. `documents` are the documents of `desired`; they are the same again when it returns.
pub(crate) fn fold_with(
    desired: &DesiredState,
    documents: &mut Vec<Arc<Document>>,
    node: &NodeName,
) -> FoldResult {
    let pins = desired.resolve(node).into_iter();
    let lock = lock(pins.map(|it| (node.key(), it.filter, it.version, it.digest)));
    let before = documents.len();
    documents.extend(parse("pins", &lock).0.into_iter().map(Arc::new));
    let files = |path: &str| desired.documents.file(path);
    let folded = fold_under(documents, node, &files, desired.security());
    documents.truncate(before);
    folded
}

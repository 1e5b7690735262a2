//! The plan that a proxy should have, and what distinguishes it from an earlier one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tamis_director::{AssignmentRecord, Refused};
use tamis_resources::NodeName;
use tamis_resources::plan::{FilterPlan, NodePlan};
use tamis_sync::{Parts, placed};

use crate::plane::control::Control;
use crate::plane::policy::PolicyFolder;

/// The plan of a proxy, in parts.
#[derive(Debug, Clone)]
pub struct ProxyPlan {
    /// The journal's revision behind it.
    pub revision: u64,
    /// Its parts.
    pub parts: Parts,
    pub(crate) key: Option<Key>,
}

impl ProxyPlan {
    /// Before it is computed for the first time.
    pub(crate) fn unknown() -> Self {
        Self { revision: 0, parts: Parts::default(), key: None }
    }

    /// Whether it is the same as a computed plan.
    pub(crate) fn is(&self, plan: &ComputedPlan) -> bool {
        self.key.as_ref() == Some(&plan.key)
    }

    /// What it was made of, and its parts.
    pub(super) fn made(&self) -> Option<(&Key, &Parts)> {
        Some((self.key.as_ref()?, &self.parts))
    }

    /// Whether the proxy's plan is known yet.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.key.is_some()
    }
}

/// The plan of a proxy, computed from the state.
pub(crate) struct ComputedPlan {
    pub(super) revision: u64,
    pub(super) plan: Arc<NodePlan>,
    pub(super) assigned: BTreeMap<String, AssignmentRecord>,
    pub(super) refused: BTreeMap<String, Refused>,
    pub(super) key: Key,
}

impl Control {
    /// The number of times that new policy metadata was accepted.
    pub(crate) fn policies_accepted(&self) -> u64 {
        self.0.policy.as_ref().map_or(0, PolicyFolder::accepted)
    }

    /// The plan of a proxy; `None` when no document declares the proxy, or some of its slots are not assigned yet: until
    /// then the proxy keeps what it has.
    pub(crate) fn computed_plan(&self, node: &NodeName) -> Option<ComputedPlan> {
        let state = self.state();
        let mut plans = self.plans();
        let wants = plans.node(&state, node, self.now_secs());
        let plan = wants.plan.clone()?;
        if !wants.missing.is_empty() {
            return None;
        }
        let assigned = wants.assigned.iter();
        let assigned: BTreeMap<String, AssignmentRecord> =
            assigned.map(|(slot, assigned)| (slot.clone(), (*assigned).clone())).collect();
        let key = Key {
            plan: Arc::clone(&plan),
            versions: assigned.iter().map(|(slot, one)| (slot.clone(), one.version)).collect(),
            revoked: {
                let digests = state.revoked_digests().values();
                digests.chain(state.revoked_keys().values()).filter(|one| one.now).count()
            },
            referrers: self.0.store.referrers_seen(),
            policy: self.policies_accepted(),
        };
        Some(ComputedPlan { revision: state.head(), plan, assigned, refused: wants.refused, key })
    }
}

/// Distinguishes a proxy's plan from an earlier one, without building it.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(super) plan: Arc<NodePlan>,
    /// Versions of assignments, by slot.
    versions: BTreeMap<String, u64>,
    /// Revocations are never undone.
    revoked: usize,
    /// The last revision that added a signature.
    referrers: u64,
    /// The number of times that new policy metadata was accepted.
    policy: u64,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        // The same plan object: it is kept alive here, so its address cannot be reused.
        Arc::ptr_eq(&self.plan, &other.plan)
            && self.versions == other.versions
            && self.proofs() == other.proofs()
    }
}

impl Key {
    /// What slots depend on in addition to their filters and assignments.
    pub(super) fn proofs(&self) -> (usize, u64, u64) {
        (self.revoked, self.referrers, self.policy)
    }

    /// Whether a slot is unchanged: the same filter object and the same assignment.
    pub(super) fn keeps(&self, slot: &str, filter: &Arc<FilterPlan>, version: u64) -> bool {
        self.versions.get(slot) == Some(&version)
            && placed(&self.plan).get(slot).is_some_and(|there| Arc::ptr_eq(there, filter))
    }
}

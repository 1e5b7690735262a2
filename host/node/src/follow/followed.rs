//! The director's plan for this proxy, which the stream sets and staging reads, and what is known about its slots.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tamis_ambient::Clock;
use tamis_resources::NodeName;
use tamis_sync::{AssembledPlan, Parts, Refused, RefusedReport, RunningReport, assemble};
use tamis_trust::{Digest, DirectorKeys, VersionFloors};
use tamis_tuf::TrustedPolicies;

use super::FollowSettings;
use super::state::StateFolder;
use crate::NodeError;

/// The director's plan for a proxy, as far as it is known here.
pub(crate) struct FollowedPlan {
    name: NodeName,
    pub(super) keys: DirectorKeys,
    pub(crate) clock: Clock,
    pub(crate) state: StateFolder,
    /// Policy metadata, trusted from the operator's root; `None`: the director's documents count.
    pub(super) policy: Option<Mutex<TrustedPolicies>>,
    facts: Mutex<PlanFacts>,
}

/// The plan, and what is known about its slots.
pub(super) struct PlanFacts {
    pub(super) assembled: Option<Arc<AssembledPlan>>,
    /// Files of policy metadata that came with the plan, by name.
    pub(super) policy_files: BTreeMap<String, Vec<u8>>,
    /// The versions below which no assignment is accepted.
    pub(super) floors: VersionFloors,
    /// When the last message of the director arrived, in seconds since the Unix epoch.
    pub(super) last_message: u64,
    /// The last result for each slot: what its assignment allows, or why it is refused; `None`: its documents do not allow it.
    pub(super) admitted: BTreeMap<String, Result<Option<AdmittedAssignment>, Refused>>,
    pub(super) running: BTreeMap<String, RunningReport>,
    pub(super) refused: BTreeMap<String, RefusedReport>,
}

/// What an assignment allows, once it is verified.
#[derive(Clone, Copy)]
pub(super) struct AdmittedAssignment {
    pub(super) version: u64,
    /// The digest of the configuration.
    pub(super) config: Digest,
}

impl FollowedPlan {
    /// The plan of the stored parts, if they form one.
    ///
    /// # Errors
    /// A file of the state folder cannot be read.
    pub(crate) fn open(
        name: NodeName,
        follow: &FollowSettings,
        state: StateFolder,
        stored: &Parts,
        clock: Clock,
    ) -> Result<Self, NodeError> {
        let policy = match &follow.policy_root {
            None => None,
            Some(root) => Some(Mutex::new(TrustedPolicies::open(root, &state.policy())?)),
        };
        let assembled = match assemble(stored) {
            Ok(assembled) => Some(Arc::new(assembled)),
            Err(_) if stored.is_empty() => None,
            Err(error) => {
                tracing::warn!(%error, "the stored parts form no plan");
                None
            }
        };
        let facts = PlanFacts {
            assembled,
            policy_files: policy_files(stored),
            floors: state.floors()?,
            last_message: state.last_message(),
            admitted: BTreeMap::new(),
            running: BTreeMap::new(),
            refused: BTreeMap::new(),
        };
        let keys = follow.keys.clone();
        Ok(Self { name, keys, clock, state, policy, facts: Mutex::new(facts) })
    }

    /// Seconds since the Unix epoch. A clock that stands before it reads 0: then no assignment is issued yet.
    pub(super) fn now(&self) -> u64 {
        self.clock.unix_secs()
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, PlanFacts> {
        // Each change is a sequence of assignments that cannot panic.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self) -> &NodeName {
        &self.name
    }

    /// The desired plan; `None`: there is none yet.
    pub(crate) fn assembled(&self) -> Option<Arc<AssembledPlan>> {
        self.facts().assembled.clone()
    }

    /// Sets the plan that comes from these parts.
    pub(crate) fn adopt(&self, assembled: AssembledPlan, parts: &Parts) {
        let mut facts = self.facts();
        facts.policy_files = policy_files(parts);
        facts.assembled = Some(Arc::new(assembled));
    }

    /// Records that a message of the director arrived.
    pub(crate) fn note_message(&self) {
        self.facts().last_message = self.now();
    }

    /// When the last message of the director arrived, in seconds since the Unix epoch; 0: never.
    pub(crate) fn last_message(&self) -> u64 {
        self.facts().last_message
    }

    /// Stores when the last message of the director arrived.
    pub(crate) fn store_last_message(&self) {
        if let Err(error) = self.state.keep_last_message(self.last_message()) {
            tracing::warn!(%error, "the time of the director's last message cannot be stored");
        }
    }
}

fn policy_files(parts: &Parts) -> BTreeMap<String, Vec<u8>> {
    let files = parts.iter().filter_map(|part| {
        let name = part.name.strip_prefix("policy/")?;
        Some((name.to_owned(), part.body.as_str()?.as_bytes().to_vec()))
    });
    files.collect()
}

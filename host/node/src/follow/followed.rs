//! The director's plan, and whether each part of it may run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tamis_ambient::Clock;
use tamis_proxy::SlotRefusal;
use tamis_resources::NodeName;
use tamis_resources::plan::NodePlan;
use tamis_sync::{
    Activation, AssembledPlan, Hello, Parts, PartsError, ProtocolError, Push, RefusedReport,
    Replica, ReplicaChange, RunningReport, SHADOW, SlotReport, assemble,
};
use tamis_trust::{
    Assignment, AssignmentMode, AssignmentRequest, Digest, DirectorKeys, SignaturePolicy, Version,
    VersionFloors, config_digest, verify_assignment,
};
use tamis_tuf::TrustedPolicies;

use super::FollowSettings;
use super::state::StateFolder;
use crate::NodeError;
use crate::build::{DesiredSlot, Refusal};

/// The director's plan for a proxy, as far as it is known here.
pub(crate) struct FollowedPlan {
    name: NodeName,
    keys: DirectorKeys,
    pub(crate) clock: Clock,
    pub(crate) state: StateFolder,
    /// Policy metadata, trusted from the operator's root; `None`: the director's documents count.
    policy: Option<Mutex<TrustedPolicies>>,
    inner: Mutex<Inner>,
}

struct Inner {
    replica: Replica,
    assembled: Option<Arc<AssembledPlan>>,
    seen: VersionFloors,
    /// When the last message of the director arrived, in seconds since the Unix epoch.
    heard: u64,
    /// The last result for each slot: the version of its assignment, or why it is refused.
    admitted: BTreeMap<String, Result<u64, Refusal>>,
    running: BTreeMap<String, RunningReport>,
    refused: BTreeMap<String, RefusedReport>,
}

impl FollowedPlan {
    pub(crate) fn open(
        name: NodeName,
        follow: &FollowSettings,
        state: StateFolder,
        clock: Clock,
    ) -> Result<Self, NodeError> {
        let policy = match &follow.policy_root {
            None => None,
            Some(root) => Some(Mutex::new(TrustedPolicies::open(root, &state.policy())?)),
        };
        let replica = state.replica();
        let assembled = match assemble(replica.parts()) {
            Ok(assembled) => Some(Arc::new(assembled)),
            Err(_) if replica.parts().is_empty() => None,
            Err(error) => {
                tracing::warn!(%error, "the stored parts form no plan");
                None
            }
        };
        let inner = Inner {
            replica,
            assembled,
            seen: state.seen()?,
            heard: state.heard(),
            admitted: BTreeMap::new(),
            running: BTreeMap::new(),
            refused: BTreeMap::new(),
        };
        let keys = follow.keys.clone();
        Ok(Self { name, keys, clock, state, policy, inner: Mutex::new(inner) })
    }

    /// Seconds since the Unix epoch. A clock that stands before it reads 0: then no assignment is issued yet.
    fn now(&self) -> u64 {
        self.clock.unix_secs()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each change is a sequence of assignments that cannot panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self) -> &NodeName {
        &self.name
    }

    /// The desired plan; `None`: there is none yet.
    pub(crate) fn assembled(&self) -> Option<Arc<AssembledPlan>> {
        self.inner().assembled.clone()
    }

    pub(crate) fn hello(&self, release: &str) -> Hello {
        let name = self.name.to_string();
        self.inner().replica.hello(&name, release)
    }

    pub(crate) fn take(&self, push: Push) -> Result<Option<ReplicaChange>, ProtocolError> {
        self.inner().replica.take(push)
    }

    /// The plan after a change.
    pub(crate) fn assemble(&self, parts: &Parts) -> Result<AssembledPlan, PartsError> {
        let assembled = assemble(parts)?;
        let node = &assembled.plan.node;
        if *node != self.name.to_string() {
            let why = format!("it is the plan of {node}");
            return Err(PartsError::Malformed { name: "node".to_owned(), why });
        }
        Ok(assembled)
    }

    /// Adopts a change. If it cannot be written to disk it still takes effect; a restart then resumes from
    /// the previous one.
    pub(crate) fn keep(&self, change: ReplicaChange, assembled: AssembledPlan) {
        let mut inner = self.inner();
        inner.replica.keep(change);
        inner.assembled = Some(Arc::new(assembled));
        if let Err(error) = self.state.keep_replica(&inner.replica) {
            tracing::warn!(%error, "the director's plan cannot be stored");
        }
    }

    /// Records that a message of the director arrived.
    pub(crate) fn heard(&self) {
        self.inner().heard = self.now();
    }

    /// When the last message of the director arrived, in seconds since the Unix epoch; 0: never.
    pub(crate) fn heard_at(&self) -> u64 {
        self.inner().heard
    }

    /// Stores when the last message of the director arrived.
    pub(crate) fn keep_heard(&self) {
        let heard = self.inner().heard;
        if let Err(error) = self.state.keep_heard(heard) {
            tracing::warn!(%error, "the time of the director's last message cannot be stored");
        }
    }

    /// The policies in force: those of metadata that follows from the operator's root, or else those of the
    /// director's documents.
    pub(crate) fn policies(
        &self,
        plan: &NodePlan,
        notes: &mut Vec<String>,
    ) -> Vec<SignaturePolicy> {
        let Some(policy) = &self.policy else { return crate::policies::policies(plan, notes) };
        let mut trusted = policy.lock().unwrap_or_else(PoisonError::into_inner);
        let files: BTreeMap<String, Vec<u8>> = {
            let inner = self.inner();
            let parts = inner.replica.parts().iter();
            let named = parts.filter_map(|part| Some((part.name.strip_prefix("policy/")?, part)));
            named
                .filter_map(|(name, part)| {
                    Some((name.to_owned(), part.body.as_str()?.as_bytes().to_vec()))
                })
                .collect()
        };
        if let Err(error) = trusted.take(&files, self.now()) {
            notes.push(format!(
                "policy metadata is refused, the previous metadata stays in force: {}",
                tamis_transport::causes(&error)
            ));
        }
        trusted.policies()
    }

    /// How long ago the policies were known to be in force.
    pub(crate) fn age(&self) -> Duration {
        if let Some(policy) = &self.policy {
            return policy.lock().unwrap_or_else(PoisonError::into_inner).age(self.now());
        }
        Duration::from_secs(self.now().saturating_sub(self.inner().heard))
    }

    /// The desired content of each slot, with the director's permission or its refusal.
    pub(crate) fn wanted<'a>(
        &self,
        assembled: &'a AssembledPlan,
        notes: &mut Vec<String>,
    ) -> Vec<DesiredSlot<'a>> {
        let mut inner = self.inner();
        let mut rose = false;
        let inner = &mut *inner;
        inner.admitted.clear();
        let mut all = Vec::new();
        let mut admit = |slot: &str, activation: &Activation, mode: AssignmentMode| {
            let admitted = self.admit(&inner.seen, slot, activation, mode);
            if let Ok(Some(assignment)) = &admitted {
                rose |= inner.seen.take(assignment);
            }
            let refused = admitted.as_ref().err().cloned();
            let version = admitted.map(|it| it.map_or(0, |assignment| assignment.version));
            inner.admitted.insert(slot.to_owned(), version);
            refused
        };
        for slot in &assembled.slot_of_filter {
            let Some(activation) = assembled.slots.get(slot) else { continue };
            let refused = admit(slot, activation, AssignmentMode::Serve);
            let candidate = assembled.shadows.get_key_value(&format!("{slot}{SHADOW}"));
            let shadow = candidate.map(|(name, candidate)| {
                let refused = admit(name, candidate, AssignmentMode::Shadow);
                let (plan, logged) = (&candidate.filter, candidate.logged.as_slice());
                Box::new(DesiredSlot { slot: name, plan, refused, logged, shadow: None })
            });
            let (plan, logged) = (&activation.filter, activation.logged.as_slice());
            all.push(DesiredSlot { slot, plan, refused, logged, shadow });
        }
        // Before anything runs under a higher version: a crash must not forget it.
        if rose && let Err(error) = self.state.keep_seen(&inner.seen) {
            notes.push(format!(
                "the versions seen cannot be stored ({error}); make room in the state folder"
            ));
        }
        all
    }

    /// Whether the director allows this to run in the slot; `None`: documents do not allow it anyway.
    fn admit(
        &self,
        seen: &VersionFloors,
        slot: &str,
        activation: &Activation,
        mode: AssignmentMode,
    ) -> Result<Option<Assignment>, Refusal> {
        let filter = &activation.filter;
        if filter.refused.is_some() {
            return Ok(None);
        }
        if let (Some(policy), Ok(name)) = (&self.policy, filter.filter.parse()) {
            policy.lock().unwrap_or_else(PoisonError::into_inner).fresh(&name, self.now())?;
        }
        let manifest: Digest = filter.digest.parse().map_err(|error| {
            let rule = format!("the pin is not a digest: {error}");
            Refusal::new("pin.missing", rule, "pin it by version, or copy the digest whole")
        })?;
        let envelopes: Vec<&[u8]> = activation.envelopes.iter().map(String::as_bytes).collect();
        let assignment = verify_assignment(&AssignmentRequest {
            service: self.name.key(),
            slot,
            manifest: &manifest,
            config: &filter.config,
            envelopes: &envelopes,
            director: &self.keys,
            floor: seen.floor(self.name.key(), slot),
            now: self.now(),
        })?;
        if assignment.mode != mode {
            let rule =
                format!("it is assigned to {}, but should {}", word(assignment.mode), word(mode));
            return Err(Refusal::new("assign.mode", rule, AGAIN));
        }
        if assignment.filter.as_str() != filter.filter {
            let rule =
                format!("{} is assigned, but {} should run", assignment.filter, filter.filter);
            return Err(Refusal::new("assign.other-filter", rule, AGAIN));
        }
        Ok(Some(assignment))
    }

    /// Records what runs in each slot now, including shadows.
    pub(crate) fn runs(&self, assembled: &AssembledPlan, slots: Vec<SlotOutcome>) {
        let mut inner = self.inner();
        let Inner { admitted, running, refused, .. } = &mut *inner;
        let known = |slot: &String| activation(assembled, slot);
        running.retain(|slot, _| known(slot).is_some());
        refused.clear();
        for SlotOutcome { slot, runs, refusal } in slots {
            let Some(activation) = known(&slot) else { continue };
            let wanted = activation.filter.digest.parse::<Digest>().ok();
            // The same component may keep running under its previous configuration when it refuses the new
            // one.
            let kept = refusal.is_some();
            if let (Some(refusal), Some(digest)) = (refusal, wanted) {
                let SlotRefusal { code, rule, set_by, remedy } = refusal;
                let why = tamis_sync::RefusalReport { code, rule, set_by, remedy };
                refused.insert(slot.clone(), RefusedReport { digest, why });
            }
            let config = config_digest(&activation.filter.config);
            let version = admitted.get(&slot).and_then(|it| it.as_ref().ok()).copied();
            match (runs, version) {
                (Some((digest, release)), Some(assignment)) if Some(digest) == wanted && !kept => {
                    let since_ms = match running.get(&slot) {
                        Some(before) if (before.digest, before.config) == (digest, config) => {
                            before.since_ms
                        }
                        _ => self.clock.unix_ms(),
                    };
                    let now =
                        RunningReport { digest, config, version: release, assignment, since_ms };
                    running.insert(slot, now);
                }
                // It keeps its last good one.
                (Some(_), _) => {}
                (None, _) => drop(running.remove(&slot)),
            }
        }
    }

    /// Every slot, for a report.
    pub(crate) fn slots(&self) -> Vec<SlotReport> {
        let inner = self.inner();
        let Some(assembled) = &inner.assembled else { return Vec::new() };
        let all = assembled.slots.iter().chain(&assembled.shadows);
        let reports = all.filter_map(|(slot, activation)| {
            Some(SlotReport {
                slot: slot.clone(),
                filter: activation.filter.filter.parse().ok()?,
                running: inner.running.get(slot).cloned(),
                refused: inner.refused.get(slot).cloned(),
            })
        });
        reports.collect()
    }
}

/// What runs in a slot, and the rule that refuses what should run.
pub(crate) struct SlotOutcome {
    pub(crate) slot: String,
    pub(crate) runs: Option<(Digest, Version)>,
    pub(crate) refusal: Option<SlotRefusal>,
}

/// The way out for an assignment that does not match.
const AGAIN: &str =
    "the director assigns it again automatically; `tamis reassign` makes it do so now";

fn activation<'a>(assembled: &'a AssembledPlan, slot: &str) -> Option<&'a Activation> {
    assembled.slots.get(slot).or_else(|| assembled.shadows.get(slot))
}

fn word(mode: AssignmentMode) -> &'static str {
    match mode {
        AssignmentMode::Serve => "serve",
        AssignmentMode::Shadow => "run in the shadow",
    }
}

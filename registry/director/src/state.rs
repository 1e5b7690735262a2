//! The state computed from the journal.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use tamis_resources::NodeName;
use tamis_trust::{Digest, Name};

use crate::desired::{DesiredState, RolloutState, StandingRevocation};
use crate::documents::{DocumentHistory, DocumentInForce, DocumentRefusal, FileInForce};
use crate::ledger::AssignmentLedger;
use crate::need::RequiredRight;
use crate::observed::{LastConnection, LastReport, ObservedFleet, SlotRun};
use crate::pins::{FilterEvent, FilterEventKind, PinOrigin, ServicePin, check, check_service};
use crate::record::{
    ApplyRecord, AssignmentRecord, PinRecord, ReassignRecord, RecordBody, RecordError,
    RevocationRecord, RevocationTarget, RolloutEndRecord, RolloutMoveRecord, RolloutStartRecord,
    UnpinRecord, short,
};
use crate::rollout::{Rollout, RolloutOutcome, RolloutStage};
use crate::stamp::JournalStamp;
use tamis_sync::NodeReport;

mod ask;
mod revocations;
mod rollouts;

pub use ask::revoked;

/// Most faults stored; further ones are only counted.
pub const MAX_FAULTS: usize = 1_000;

/// The result of the journal's entries, up to a revision.
///
/// Entries are applied in order: the same entries give the same state, whether all at once or in parts.
/// There is no other input, neither a clock nor a file.
///
/// Invariants: versions of each slot of each service only rise; a filter of a service has at most one
/// rollout that is not over; every document in force was parsed without a problem.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    head: u64,
    /// The last revision that may have changed what any proxy should run.
    decided: u64,
    time_ms: u64,
    pub(crate) desired: DesiredState,
    pub(crate) ledger: AssignmentLedger,
    pub(crate) observed: ObservedFleet,
    /// Changes that wait for others to agree, by subject.
    pub(crate) proposals: BTreeMap<Digest, Proposal>,
    /// By subject, then actor: the last time.
    pub(crate) approvals: BTreeMap<Digest, BTreeMap<String, JournalStamp>>,
    past: DocumentHistory,
    faults: Vec<RecordFault>,
    faults_total: u64,
}

/// The most who are remembered to have asked for one change; the guards judge approvals of others anyway.
const MAX_ASKERS: usize = 64;

/// A change that waits for others to agree.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Proposal {
    /// What one must hold a right to before one agrees to it.
    pub(crate) needs: Vec<RequiredRight>,
    /// Who asked for it.
    pub(crate) askers: BTreeSet<String>,
}

/// An entry, or a part of one, that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordFault {
    /// Who wrote it, and where it is.
    pub stamp: JournalStamp,
    /// Kind of the record.
    pub kind: String,
    /// The fault.
    pub why: String,
}

/// The body of a record, read, with its documents parsed: all that can be computed without the state.
#[derive(Debug)]
pub struct PreparedRecord(Result<Option<RecordBody>, RecordError>);

impl PreparedRecord {
    /// The body of a record of that kind.
    #[must_use]
    pub fn of(kind: &str, body: &Value) -> Self {
        let body = RecordBody::from_body(kind, body);
        if let Ok(Some(RecordBody::Applied(applied))) = &body {
            // What has problems is parsed again where they are reported.
            applied.documents.iter().for_each(|one| drop(crate::documents::read(one)));
        }
        Self(body)
    }
}

impl State {
    /// Nothing yet, of a registry in which only the grants and trust policies of these namespaces decide; those of others
    /// narrow them. [`State::default`] is of one owner, and all of them decide.
    #[must_use]
    pub fn under(security: &[String]) -> Self {
        let desired = DesiredState { security: Some(security.into()), ..DesiredState::default() };
        Self { desired, ..Self::default() }
    }

    /// Applies an entry of the journal, whoever wrote it.
    ///
    /// Kinds of other writers change only the head. A body that does not parse, or has impossible content,
    /// is recorded as a [`RecordFault`] and otherwise ignored: the journal cannot change, so a reader that
    /// stopped there would never get past it. Entries up to the head were applied before and are ignored.
    pub fn apply(&mut self, revision: u64, time_ms: u64, actor: &str, kind: &str, body: &Value) {
        self.apply_prepared(revision, time_ms, actor, kind, PreparedRecord::of(kind, body));
    }

    /// The same with what follows from the body alone.
    pub fn apply_prepared(
        &mut self,
        revision: u64,
        time_ms: u64,
        actor: &str,
        kind: &str,
        PreparedRecord(body): PreparedRecord,
    ) {
        if revision <= self.head {
            return;
        }
        self.head = revision;
        self.time_ms = self.time_ms.max(time_ms);
        let stamp = JournalStamp { revision, time_ms: self.time_ms, actor: actor.to_owned() };
        let whys = match body {
            Ok(None) => return,
            Ok(Some(body)) => self.take(body, &stamp),
            Err(error) => vec![error.to_string()],
        };
        if !matches!(kind, "node-reported" | "node-connections") {
            self.decided = revision;
        }
        for why in whys {
            self.faults_total = self.faults_total.saturating_add(1);
            if self.faults.len() < MAX_FAULTS {
                let (stamp, why) = (stamp.clone(), short(&why));
                self.faults.push(RecordFault { stamp, kind: kind.to_owned(), why });
            }
        }
    }

    /// Applies a body and returns its faults.
    fn take(&mut self, body: RecordBody, stamp: &JournalStamp) -> Vec<String> {
        if matches!(
            body,
            RecordBody::Proposed(_)
                | RecordBody::Approved(_)
                | RecordBody::NodeReport(_)
                | RecordBody::NodeConnections(_)
                | RecordBody::Assigned(_)
        ) {
            return self.change(body, stamp);
        }
        self.desired.revision = stamp.revision;
        let whys = self.change(body, stamp);
        self.desired.settle();
        whys
    }

    fn change(&mut self, body: RecordBody, stamp: &JournalStamp) -> Vec<String> {
        let taken = match body {
            RecordBody::Applied(applied) => return self.applied(&applied, stamp),
            RecordBody::Pinned(pinned) => self.pinned(pinned, stamp),
            RecordBody::Unpinned(unpinned) => self.unpinned(&unpinned, stamp),
            RecordBody::Proposed(proposed) => {
                let proposal = self.proposals.entry(proposed.subject).or_default();
                proposal.needs = proposed.needs;
                if proposal.askers.len() < MAX_ASKERS {
                    proposal.askers.insert(stamp.actor.clone());
                }
                Ok(())
            }
            RecordBody::Approved(approved) => {
                let approvals = self.approvals.entry(approved.subject).or_default();
                approvals.insert(stamp.actor.clone(), stamp.clone());
                Ok(())
            }
            RecordBody::RolloutStarted(started) => self.rollout_started(started, stamp),
            RecordBody::RolloutMoved(moved) => self.rollout_moved(&moved, stamp),
            RecordBody::RolloutEnded(ended) => self.rollout_ended(&ended, stamp),
            RecordBody::Revoked(revoked) => {
                self.revoked(revoked, stamp);
                Ok(())
            }
            RecordBody::NodeReport(report) => self.reported(&report, stamp),
            RecordBody::NodeConnections(connections) => {
                self.observed.connections(connections, stamp);
                Ok(())
            }
            RecordBody::Assigned(assigned) => self.ledger.record(assigned),
            RecordBody::Reassigned(reassigned) => self.reassigned(&reassigned),
        };
        taken.err().into_iter().collect()
    }

    fn reassigned(&mut self, reassigned: &ReassignRecord) -> Result<(), String> {
        check_service(&reassigned.service)?;
        self.ledger.begin_epoch(&reassigned.service, reassigned.epoch)
    }

    fn applied(&mut self, applied: &ApplyRecord, stamp: &JournalStamp) -> Vec<String> {
        let keys = applied.documents.iter().map(|one| &one.key).chain(&applied.removed);
        let keys: BTreeSet<&String> = keys.collect();
        let before: Vec<Option<DocumentInForce>> =
            keys.iter().map(|key| self.desired.documents.by_key.get(*key).cloned()).collect();
        let refused = self.desired.documents.apply(applied, stamp);
        for (key, before) in keys.into_iter().zip(&before) {
            let after = self.desired.documents.by_key.get(key);
            self.past.note(key, before.as_ref(), after, stamp);
        }
        let whys = refused.into_iter().map(|(key, why)| match why {
            DocumentRefusal::Rule(why) => why,
            DocumentRefusal::Problems(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                format!("{key} is not a valid document: {first}")
            }
        });
        whys.collect()
    }

    fn pinned(&mut self, pinned: PinRecord, stamp: &JournalStamp) -> Result<(), String> {
        check(&pinned)?;
        let PinRecord { service, filter, version, digest, allow_older: _, rollback } = pinned;
        let by = if rollback { PinOrigin::Rollback } else { PinOrigin::Hand };
        self.desired
            .pins
            .pin(ServicePin { service, filter, version, digest, stamp: stamp.clone() }, by);
        Ok(())
    }

    fn unpinned(&mut self, unpinned: &UnpinRecord, stamp: &JournalStamp) -> Result<(), String> {
        check_service(&unpinned.service)?;
        if self.desired.pins.unpin(&unpinned.service, &unpinned.filter, stamp) {
            return Ok(());
        }
        Err(format!("{} had no pin for {}", unpinned.filter, unpinned.service))
    }

    /// Of two revocations of one key the stricter one applies. One that stops what runs is not undone by
    /// one that does not.
    fn revoked(&mut self, revoked: RevocationRecord, stamp: &JournalStamp) {
        let (stamp, reason, now) = (stamp.clone(), revoked.reason, revoked.now);
        match revoked.what {
            RevocationTarget::Digest { digest } => {
                let revocation = StandingRevocation { from_index: None, stamp, reason, now };
                let known = self.desired.revoked_digests.entry(digest).or_insert(revocation);
                known.now |= now;
            }
            RevocationTarget::Key { key, from_index } => {
                let revocation = StandingRevocation { from_index, stamp, reason, now };
                let known =
                    self.desired.revoked_keys.entry(key).or_insert_with(|| revocation.clone());
                let ends = known.now || now;
                // `None`, the revocation of all signatures, sorts before every index.
                if from_index < known.from_index {
                    *known = revocation;
                }
                known.now = ends;
            }
        }
    }

    fn reported(&mut self, report: &NodeReport, stamp: &JournalStamp) -> Result<(), String> {
        let node: NodeName = report.node.parse().map_err(|error| format!("{error}"))?;
        self.count(&node, report);
        self.observed.report(&node, report, stamp);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

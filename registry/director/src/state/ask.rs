//! Queries to a state.

use std::cmp::Ordering;

use tamis_resources::{BundleAuthority, Resource};
use tamis_trust::{MAX_EPOCH, epoch};

use super::*;
use crate::documents::PastDocument;
use crate::need::RequiredRight;
use crate::record::{ProposalRecord, ReassignRecord, RolloutStartRecord, short};
use crate::refused::{Refused, code};
use crate::rollout::{Cohort, Event, Judgement, MAX_SERVICES, judge};

/// Services that a refusal names.
const NAMED: usize = 3;

impl State {
    /// The last revision applied; 0 before the first.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The last revision that may have changed what any proxy should run; reports never do.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.decided
    }

    /// The time of the last entry; milliseconds since the Unix epoch.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The first [`MAX_FAULTS`] faults, oldest first, and their total number.
    #[must_use]
    pub fn faults(&self) -> (&[RecordFault], u64) {
        (&self.faults, self.faults_total)
    }

    /// The authorities of each trust domain that documents federate with the mesh, by domain.
    #[must_use]
    pub fn federated(&self) -> BTreeMap<String, Vec<BundleAuthority>> {
        self.desired.federated()
    }

    /// Documents in force, by `Kind/namespace/name`.
    #[must_use]
    pub fn documents(&self) -> &BTreeMap<String, DocumentInForce> {
        &self.desired.documents.by_key
    }

    /// Whether a `Grant` that decides names a filter: then it may run wherever somebody attaches it.
    #[must_use]
    pub fn is_granted(&self, filter: &Name) -> bool {
        let grants = self.documents().range("Grant/".to_owned()..);
        let grants = grants.take_while(|(key, _)| key.starts_with("Grant/"));
        let mut grants = grants.map(|(_, held)| held);
        grants.any(|held| {
            let namespace = held.document.metadata.namespace.as_str();
            self.desired.security().is_in(namespace)
                && matches!(held.resource(), Resource::Grant(spec) if spec.filter == filter.as_str())
        })
    }

    /// Files in force, by path.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, FileInForce> {
        &self.desired.documents.files
    }

    /// All proxies that the documents declare.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeName> {
        self.desired.documents.nodes()
    }

    /// All services and gateways that have a proxy, sorted.
    #[must_use]
    pub fn services(&self) -> BTreeSet<String> {
        self.nodes().iter().map(|node| node.key().to_owned()).collect()
    }

    /// The trust policies among the documents in force, in the form of the trust crate.
    #[must_use]
    pub fn trust_policies(&self) -> Vec<Value> {
        self.desired.trust_policies()
    }

    /// Pins in force, by filter, then service.
    pub fn pins(&self) -> impl Iterator<Item = &ServicePin> {
        self.desired.pins.all()
    }

    /// The pin of a filter for a service: its own, else that of all.
    #[must_use]
    pub fn pin(&self, service: &str, filter: &Name) -> Option<&ServicePin> {
        self.desired.pins.effective(service, filter)
    }

    /// Filters with any event, by name.
    pub fn filters(&self) -> impl Iterator<Item = &Name> {
        self.desired.pins.known()
    }

    /// Digests of a filter that were ever pinned or rolled out.
    #[must_use]
    pub fn known_digests(&self, filter: &Name) -> BTreeSet<Digest> {
        self.desired.pins.digests(filter)
    }

    /// Who approved a change, and when last; milliseconds since the Unix epoch.
    pub fn approved(&self, subject: &Digest) -> impl Iterator<Item = (&str, u64)> {
        let all = self.approvals.get(subject).into_iter().flatten();
        all.map(|(actor, stamp)| (actor.as_str(), stamp.time_ms))
    }

    /// The needs of a change that somebody proposed and that others may approve; `None`: there is no such
    /// proposal.
    #[must_use]
    pub fn proposed(&self, subject: &Digest) -> Option<&[RequiredRight]> {
        self.proposals.get(subject).map(|proposal| proposal.needs.as_slice())
    }

    /// Who asked for a change that waits for others to agree; nobody: nobody is known to have.
    pub fn askers(&self, subject: &Digest) -> impl Iterator<Item = &str> {
        let known = self.proposals.get(subject).into_iter().flat_map(|one| &one.askers);
        known.map(String::as_str)
    }

    /// Whether it is written already that somebody asked for a change that needs this; also when so many asked that no
    /// more are remembered.
    #[must_use]
    pub fn is_proposed(&self, proposed: &ProposalRecord, actor: &str) -> bool {
        self.proposals.get(&proposed.subject).is_some_and(|known| {
            known.needs == proposed.needs
                && (known.askers.contains(actor) || known.askers.len() >= MAX_ASKERS)
        })
    }

    /// The digest that was pinned last for a service, even if that pin was removed.
    #[must_use]
    pub fn pinned_last(&self, service: &str, filter: &Name) -> Option<Digest> {
        self.desired.pins.timeline(service, filter).last().map(|(_, digest)| *digest)
    }

    /// The digests that ran last in services which have no pin of their own any more, and so would follow one for all.
    #[must_use]
    pub fn pinned_last_of_followers(&self, filter: &Name) -> BTreeSet<Digest> {
        let services = self.desired.pins.services(filter).into_iter();
        let follows = |pin: &ServicePin| pin.service == crate::pins::ALL;
        let followers = services.filter(|service| self.pin(service, filter).is_none_or(follows));
        followers.filter_map(|service| self.pinned_last(service, filter)).collect()
    }

    /// The proxies that the current step of a rollout moves and leaves; `None` when there is no such
    /// rollout.
    #[must_use]
    pub fn cohort(&self, rollout: &str) -> Option<Cohort> {
        self.desired.rollouts.get(rollout).map(|state| self.desired.cohort(state))
    }

    /// The events of a filter of a service, oldest first.
    #[must_use]
    pub fn history(&self, service: &str, filter: &Name) -> Vec<&FilterEvent> {
        self.desired.pins.history(service, filter)
    }

    /// All rollouts, including ended ones, by name.
    #[must_use]
    pub fn rollouts(&self) -> &BTreeMap<String, RolloutState> {
        &self.desired.rollouts
    }

    /// Revoked digests.
    #[must_use]
    pub fn revoked_digests(&self) -> &BTreeMap<Digest, StandingRevocation> {
        &self.desired.revoked_digests
    }

    /// Revoked keys, by id.
    #[must_use]
    pub fn revoked_keys(&self) -> &BTreeMap<String, StandingRevocation> {
        &self.desired.revoked_keys
    }

    /// What ran for a service between two moments, both included, by node and slot; for a single moment
    /// both are the same.
    ///
    /// It is based on reports of nodes: between two reports the older one applies until the moment from
    /// which the newer one reports something else.
    #[must_use]
    pub fn who_ran(&self, service: &str, between_ms: (u64, u64)) -> Vec<&SlotRun> {
        self.observed.who_ran(service, between_ms)
    }

    /// Services and gateways that have a proxy, and those of which one has ever reported, sorted.
    #[must_use]
    pub fn known_services(&self) -> BTreeSet<String> {
        self.services().into_iter().chain(self.observed.services().cloned()).collect()
    }

    /// Every node that was ever connected, with its last record.
    pub fn last_connections(&self) -> impl Iterator<Item = (&String, &LastConnection)> {
        self.observed.all_connections()
    }

    /// Whether a node was connected to a replica, according to its last record; `None` when it never was.
    #[must_use]
    pub fn last_connection(&self, node: &str) -> Option<&LastConnection> {
        self.observed.connection(node)
    }

    /// The last report of a node; `None` when it never reported.
    #[must_use]
    pub fn last_report(&self, node: &NodeName) -> Option<&LastReport> {
        self.observed.last(node)
    }

    /// The newest assignments, by service, slot and rollout, including expired ones.
    pub fn assigned(&self) -> impl Iterator<Item = &AssignmentRecord> {
        self.ledger.all()
    }

    /// The pin before the current one, to be pinned again. It becomes a new entry with new, higher
    /// assignments: nothing is removed from the journal. A second rollback returns to the first pin.
    ///
    /// # Errors
    /// [`code::ROLLBACK_NONE`] when nothing is pinned or there is no earlier pin, [`code::PIN_REVOKED`]
    /// when the earlier digest is revoked.
    pub fn rollback(&self, service: &str, filter: &Name) -> Result<PinRecord, Refused> {
        let timeline = self.desired.pins.timeline(service, filter);
        let now = self.pin(service, filter).map(|pin| pin.digest);
        let before = timeline.iter().rev().find(|(_, digest)| Some(*digest) != now);
        let (Some(_), Some((version, digest))) = (now, before) else {
            return Err(Refused {
                code: code::ROLLBACK_NONE.into(),
                rule: format!("{filter} of {service} has no earlier pin"),
                set_by: "the journal".to_owned(),
                remedy: format!("pin the version of {filter} that should run"),
            });
        };
        if let Some(revocation) = self.desired.revoked_digests.get(digest) {
            return Err(revoked(filter, digest, revocation));
        }
        Ok(PinRecord {
            service: service.to_owned(),
            filter: filter.clone(),
            version: version.clone(),
            digest: *digest,
            allow_older: true,
            rollback: true,
        })
    }

    /// Whether a digest of a filter may still be pinned or rolled out, that is, whether it is not revoked.
    ///
    /// # Errors
    /// [`code::PIN_REVOKED`], with who revoked it and why.
    pub fn not_revoked(&self, filter: &Name, digest: &Digest) -> Result<(), Refused> {
        match self.desired.revoked_digests.get(digest) {
            Some(revocation) => Err(revoked(filter, digest, revocation)),
            None => Ok(()),
        }
    }

    /// The record that makes every slot of a service, or of all services for `*`, be assigned again with
    /// higher versions than any proxy has seen. After a restore from an older backup, proxies then follow
    /// the registry again. The epoch is above those of this journal and of the reports of proxies.
    ///
    /// # Errors
    /// [`code::REASSIGN_SERVICE`] when there is no such service, [`code::REASSIGN_EPOCH`] when the numbers
    /// of epochs are used up.
    pub fn reassign(&self, service: &str, reason: &str) -> Result<RecordBody, Refused> {
        let refuse = |code: &'static str, rule: String, remedy: &str| {
            Err(Refused::new(code, rule, "the rules of assignments", remedy))
        };
        let services = self.services();
        if service != crate::pins::ALL && !services.contains(service) {
            let rule = format!("no proxy belongs to {}", short(service));
            return refuse(code::REASSIGN_SERVICE, rule, "name a service that has a proxy, or *");
        }
        let reported = self.nodes().into_iter().filter_map(|node| {
            let here = service == crate::pins::ALL || node.key() == service;
            let slots = &self.last_report(&node).filter(|_| here)?.slots;
            let versions = slots.values().filter_map(|slot| slot.running.as_ref());
            versions.map(|running| epoch(running.assignment)).filter(|it| *it < MAX_EPOCH).max()
        });
        let known = services.iter().map(|one| self.ledger.epoch(one)).max().unwrap_or(0);
        let known = known.max(self.ledger.epoch(service));
        let epoch = reported.max().unwrap_or(0).max(known).saturating_add(1);
        if epoch > MAX_EPOCH {
            let rule = format!("epoch {epoch} is more than versions have room for");
            return refuse(code::REASSIGN_EPOCH, rule, "give the proxies new state folders");
        }
        let (service, reason) = (service.to_owned(), short(reason));
        Ok(ReassignRecord { service, epoch, reason }.into())
    }

    /// Versions of a document, oldest first: at most [`MAX_VERSIONS`](crate::MAX_VERSIONS).
    pub fn versions(&self, key: &str) -> impl Iterator<Item = &PastDocument> {
        self.past.versions(key)
    }

    /// The events of documents that concern a service, with their keys.
    #[must_use]
    pub fn documents_of(&self, service: &str) -> Vec<(&String, &PastDocument)> {
        let about = |one: &PastDocument| {
            one.services.contains(service) || one.services.contains(crate::pins::ALL)
        };
        self.past.all().filter(|(_, one)| about(one)).collect()
    }

    /// The record that starts a rollout.
    ///
    /// # Errors
    /// As [`State::may_start`].
    pub fn start(&self, rollout: Rollout, grown: Vec<String>) -> Result<RecordBody, Refused> {
        self.may_start(&rollout)?;
        Ok(RolloutStartRecord { rollout, grown }.into())
    }

    /// Whether a rollout may start here, as far as that takes no computation: it is asked before anything is computed for one.
    ///
    /// # Errors
    /// [`code::ROLLOUT_NAME`], [`code::ROLLOUT_SERVICE`], [`code::ROLLOUT_BUSY`], [`code::ROLLOUT_FROM`] or
    /// [`code::PIN_REVOKED`].
    pub fn may_start(&self, rollout: &Rollout) -> Result<(), Refused> {
        let spec = rollout.spec();
        let refuse = |code: &'static str, rule: String, remedy: &str| {
            Err(Refused::new(code, rule, "the rules of rollouts", remedy))
        };
        if self.desired.rollouts.contains_key(&spec.name) {
            let rule = format!("a rollout {} exists or existed already", spec.name);
            return refuse(code::ROLLOUT_NAME, rule, "choose another name");
        }
        if let Some((rule, remedy)) = self.unknown_services(&spec.services) {
            return refuse(code::ROLLOUT_SERVICE, rule, remedy);
        }
        if let Some(other) = self.desired.overlapping(rollout) {
            let rule =
                format!("rollout {} of {} is in progress", other.rollout.name(), spec.filter);
            return refuse(code::ROLLOUT_BUSY, rule, "wait until it ends, or end it");
        }
        if let Some(revocation) = self.desired.revoked_digests.get(&spec.to) {
            return Err(revoked(&spec.filter, &spec.to, revocation));
        }
        let mut services = spec.services.iter().filter(|service| *service != crate::pins::ALL);
        let other = services.find(|service| {
            let pin = self.pin(service, &spec.filter);
            pin.is_none_or(|pin| pin.digest != spec.from)
        });
        let nowhere = !self.pins().any(|pin| pin.filter == spec.filter && pin.digest == spec.from);
        if let Some(service) = other.map(String::as_str).or(nowhere.then_some(crate::pins::ALL)) {
            let rule = format!("{} of {service} is not pinned to {}", spec.filter, spec.from);
            return refuse(code::ROLLOUT_FROM, rule, "name the digest that is pinned now");
        }
        Ok(())
    }

    /// What is wrong with the services that a rollout names, and the way out.
    fn unknown_services(&self, services: &[String]) -> Option<(String, &'static str)> {
        if services.len() > MAX_SERVICES {
            let rule = format!("it names {} services, {MAX_SERVICES} at most", services.len());
            let remedy = "write \"*\" to mean all that have `from` pinned, or start several, one after another";
            return Some((rule, remedy));
        }
        let documents = &self.desired.documents.by_key;
        let is_known = |service: &&String| {
            let declares = |kind: &str| documents.contains_key(&format!("{kind}/{service}"));
            *service == crate::pins::ALL || declares("Service") || declares("Gateway")
        };
        let unknown: Vec<&String> = services.iter().filter(|service| !is_known(service)).collect();
        let named: Vec<String> = unknown.iter().take(NAMED).map(|one| short(one)).collect();
        let rest = match unknown.len().saturating_sub(named.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let rule = format!("no document declares {}{rest}", named.join(", "));
        (!named.is_empty()).then_some((rule, "correct the names, or apply the services first"))
    }

    /// The record that moves a rollout, or ends it if `event` leads to an end.
    ///
    /// # Errors
    /// [`code::ROLLOUT_MOVE`] when there is no such rollout or its stage does not allow the move,
    /// [`code::PIN_REVOKED`] when it would pin a revoked digest.
    pub fn step(&self, name: &str, event: Event, why: &str) -> Result<RecordBody, Refused> {
        let refuse = |rule: String, remedy: String| {
            Err(Refused::new(code::ROLLOUT_MOVE, rule, "the rules of rollouts", remedy))
        };
        let (rollout, why) = (name.to_owned(), short(why));
        let Some(state) = self.desired.rollouts.get(name) else {
            return refuse(format!("there is no rollout {}", short(name)), "start it".to_owned());
        };
        match state.stage.next(event, &state.rollout) {
            Err(illegal) => refuse(
                format!("a rollout that is {} cannot take {event}", illegal.stage),
                illegal.remedy.to_owned(),
            ),
            Ok(RolloutStage::Ended(outcome)) => {
                let spec = state.rollout.spec();
                match self.desired.revoked_digests.get(&spec.to) {
                    Some(revocation) if outcome == RolloutOutcome::Done => {
                        Err(revoked(&spec.filter, &spec.to, revocation))
                    }
                    Some(_) | None => Ok(RolloutEndRecord { rollout, outcome, why }.into()),
                }
            }
            Ok(RolloutStage::Running(_) | RolloutStage::Paused(_)) => {
                Ok(RolloutMoveRecord { rollout, event, why }.into())
            }
        }
    }

    /// The judgement of a rollout's gates; `None` when there is no such rollout. A revoked candidate fails.
    #[must_use]
    pub fn judge(&self, name: &str, now_ms: u64) -> Option<Judgement> {
        let state = self.desired.rollouts.get(name)?;
        let to = &state.rollout.spec().to;
        if state.step().is_some() && self.desired.is_revoked(to) {
            let (gate, why) = (crate::rollout::GateBreach::Revoked, format!("{to} is revoked"));
            return Some(Judgement::Breached { gate, why });
        }
        let cohort = self.desired.cohort(state);
        Some(judge(&state.rollout, state.stage, &state.tally, cohort, (state.began_ms, now_ms)))
    }

    /// Whether a pin names an older version than the one in force.
    pub(crate) fn is_older(&self, pinned: &PinRecord) -> bool {
        let pin = self.pin(&pinned.service, &pinned.filter);
        pin.is_some_and(|pin| pinned.version.cmp(&pin.version) == Ordering::Less)
    }
}

/// The refusal of a revoked digest, with the reason of the revocation.
#[must_use]
pub fn revoked(filter: &Name, digest: &Digest, revocation: &StandingRevocation) -> Refused {
    Refused {
        code: code::PIN_REVOKED.into(),
        rule: format!("{digest} of {filter} is revoked ({})", short(&revocation.reason)),
        set_by: format!("{} at revision {}", revocation.stamp.actor, revocation.stamp.revision),
        remedy: format!("pin another version of {filter}"),
    }
}

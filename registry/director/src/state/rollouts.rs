//! Rollouts in the state: started, moved, counted, ended.

use super::*;

impl State {
    pub(super) fn rollout_started(
        &mut self,
        RolloutStartRecord { rollout, grown }: RolloutStartRecord,
        stamp: &JournalStamp,
    ) -> Result<(), String> {
        let name = rollout.name().to_owned();
        if self.desired.rollouts.contains_key(&name) {
            return Err(format!("a rollout {name} exists or existed already; choose another name"));
        }
        if let Some(other) = self.desired.overlapping(&rollout) {
            let other = other.rollout.name();
            return Err(format!("rollout {other} of the same filter is in progress; end it first"));
        }
        for service in &rollout.spec().services {
            check_service(service)?;
        }
        let what = FilterEventKind::RolloutStarted { rollout: name.clone(), to: rollout.spec().to };
        self.note(&rollout, stamp, what);
        let state = RolloutState {
            stage: RolloutStage::first(&rollout),
            rollout,
            started: stamp.clone(),
            began_ms: stamp.time_ms,
            moved: BTreeSet::new(),
            concerned: 0,
            tally: Default::default(),
            grown,
            why: String::new(),
        };
        self.desired.rollouts.insert(name, state);
        Ok(())
    }

    pub(super) fn rollout_moved(
        &mut self,
        moved: &RolloutMoveRecord,
        stamp: &JournalStamp,
    ) -> Result<(), String> {
        let state = self.known(&moved.rollout)?;
        let stage = state
            .stage
            .next(moved.event, &state.rollout)
            .map_err(|illegal| format!("rollout {}: {illegal}", moved.rollout))?;
        if let RolloutStage::Ended(outcome) = stage {
            let name = &moved.rollout;
            return Err(format!("rollout {name} would be {outcome}; that is a record of its own"));
        }
        // Resuming starts the bake time again: nobody watched the gates while it was paused.
        state.tally.candidate = Default::default();
        state.tally.refusals.clear();
        state.stage = stage;
        state.began_ms = stamp.time_ms;
        state.why.clone_from(&moved.why);
        let (rollout, why) = (state.rollout.clone(), moved.why.clone());
        let what = FilterEventKind::RolloutMoved { rollout: moved.rollout.clone(), stage, why };
        self.note(&rollout, stamp, what);
        Ok(())
    }

    pub(super) fn rollout_ended(
        &mut self,
        ended: &RolloutEndRecord,
        stamp: &JournalStamp,
    ) -> Result<(), String> {
        let state = self.known(&ended.rollout)?;
        if !state.stage.may_end(ended.outcome, &state.rollout) {
            let (name, stage) = (&ended.rollout, state.stage);
            return Err(format!("rollout {name} is {stage} and cannot be {}", ended.outcome));
        }
        let rollout = state.rollout.clone();
        let done = ended.outcome == RolloutOutcome::Done;
        if done && self.desired.is_revoked(&rollout.spec().to) {
            return Err(format!("rollout {} cannot be done: its digest is revoked", ended.rollout));
        }
        let what = FilterEventKind::RolloutEnded {
            rollout: ended.rollout.clone(),
            outcome: ended.outcome,
            why: ended.why.clone(),
        };
        self.note(&rollout, stamp, what);
        if done {
            self.pin_all(&rollout, stamp);
        }
        let state = self.known(&ended.rollout)?;
        state.stage = RolloutStage::Ended(ended.outcome);
        state.began_ms = stamp.time_ms;
        state.why.clone_from(&ended.why);
        self.ledger.forget(&ended.rollout);
        Ok(())
    }

    fn known(&mut self, name: &str) -> Result<&mut RolloutState, String> {
        let name_shown = short(name);
        self.desired.rollouts.get_mut(name).ok_or(format!("there is no rollout {name_shown}"))
    }

    fn note(&mut self, rollout: &Rollout, stamp: &JournalStamp, what: FilterEventKind) {
        let (stamp, services) = (stamp.clone(), rollout.spec().services.clone());
        self.desired.pins.note(&rollout.spec().filter, FilterEvent { stamp, services, what });
    }

    /// Pins the candidate for all services that the rollout concerned.
    fn pin_all(&mut self, rollout: &Rollout, stamp: &JournalStamp) {
        let spec = rollout.spec();
        let mut services: BTreeSet<String> = BTreeSet::new();
        for pin in self.desired.pins.all().filter(|pin| pin.filter == spec.filter) {
            if pin.digest == spec.from && rollout.names(&pin.service) {
                services.insert(pin.service.clone());
            }
        }
        // A service that it names may have used the pin of all services.
        for service in spec.services.iter().filter(|service| *service != crate::pins::ALL) {
            let pin = self.desired.pins.effective(service, &spec.filter);
            if pin.is_some_and(|pin| pin.digest == spec.from) {
                services.insert(service.clone());
            }
        }
        for service in services {
            let pin = ServicePin {
                service,
                filter: spec.filter.clone(),
                version: spec.version.clone(),
                digest: spec.to,
                stamp: stamp.clone(),
            };
            self.desired.pins.pin(pin, PinOrigin::Rollout(&spec.name));
        }
    }

    /// Adds a node's counts to the rollouts that concern it.
    pub(super) fn count(&mut self, node: &NodeName, report: &NodeReport) {
        let names: Vec<String> = self
            .desired
            .rollouts
            .values()
            .filter(|one| one.step().is_some())
            .filter(|one| {
                let filter = &one.rollout.spec().filter;
                let here = self.desired.rollout(node.key(), filter);
                here.is_some_and(|here| here.rollout.name() == one.rollout.name())
            })
            .map(|one| one.rollout.name().to_owned())
            .collect();
        for name in names {
            if let Some(state) = self.desired.rollouts.get_mut(&name) {
                state.count(node, report);
            }
        }
    }
}

impl RolloutState {
    fn count(&mut self, node: &NodeName, report: &NodeReport) {
        if self.step().is_none() {
            return;
        }
        let (from, to, node) = (self.rollout.spec().from, self.rollout.spec().to, node.to_string());
        let moved = self.moved.contains(&node);
        for one in report.statistics.iter().filter(|one| !one.slot.ends_with(tamis_sync::SHADOW)) {
            if one.digest == to && moved {
                self.tally.candidate.add(&one.counts);
            } else if one.digest == from {
                self.tally.current.add(&one.counts);
            }
        }
        for slot in &report.slots {
            if let Some(refused) = slot.refused.as_ref().filter(|it| moved && it.digest == to) {
                let place = short(&format!("{node} {}", slot.slot));
                let why = short(&format!("{}: {}", refused.why.code, refused.why.rule));
                self.tally.refusals.insert(place, why);
            }
        }
        for shadow in report.shadows.iter().filter(|shadow| shadow.digest == to) {
            self.tally.differences.add(shadow);
        }
    }
}

#[cfg(test)]
mod tests;

//! Whether the director allows what slots should run: its assignments, verified here.

use std::sync::PoisonError;

use tamis_sync::{Activation, AssembledPlan, Refused, SHADOW};
use tamis_trust::{
    Assignment, AssignmentMode, AssignmentRequest, Digest, VersionFloors, verify_assignment,
};

use super::followed::{AdmittedAssignment, FollowedPlan, PlanFacts};
use crate::build::DesiredSlot;
use crate::refusal_text::by_proxy;

/// The way out for an assignment that does not match.
const ASSIGNED_AGAIN: &str =
    "the director assigns it again automatically; `tamis reassign` makes it do so now";

impl FollowedPlan {
    /// The desired content of each slot, with the director's permission or its refusal.
    pub(crate) fn desired_slots<'a>(
        &self,
        assembled: &'a AssembledPlan,
        notes: &mut Vec<String>,
    ) -> Vec<DesiredSlot<'a>> {
        let mut facts = self.facts();
        let PlanFacts { floors, admitted, .. } = &mut *facts;
        let mut rose = false;
        admitted.clear();
        let mut all = Vec::new();
        let mut admit = |slot: &str, activation: &Activation, mode: AssignmentMode| {
            let assignment = self.admit(floors, slot, activation, mode);
            if let Ok(Some(assignment)) = &assignment {
                rose |= floors.take(assignment);
            }
            let refused = assignment.as_ref().err().cloned();
            let version = assignment.map(|it| {
                it.map(|Assignment { version, config, .. }| AdmittedAssignment { version, config })
            });
            admitted.insert(slot.to_owned(), version);
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
        // The floors are stored before anything runs under a higher version, so that a crash does not
        // forget that version.
        if rose && let Err(error) = self.state.keep_floors(floors) {
            notes.push(format!(
                "the versions seen cannot be stored ({error}); make room in the state folder"
            ));
        }
        all
    }

    /// Whether the director allows this to run in the slot; `None`: documents do not allow it anyway.
    fn admit(
        &self,
        floors: &VersionFloors,
        slot: &str,
        activation: &Activation,
        mode: AssignmentMode,
    ) -> Result<Option<Assignment>, Refused> {
        let filter = &activation.filter;
        if filter.refused.is_some() {
            return Ok(None);
        }
        if let (Some(policy), Ok(name)) = (&self.policy, filter.filter.parse()) {
            policy.lock().unwrap_or_else(PoisonError::into_inner).fresh(&name, self.now())?;
        }
        let manifest: Digest = filter.digest.parse().map_err(|error| {
            let rule = format!("the pin is not a digest: {error}");
            by_proxy("pin.missing", rule, "pin it by version, or copy the digest whole")
        })?;
        let envelopes: Vec<&[u8]> = activation.envelopes.iter().map(String::as_bytes).collect();
        let assignment = verify_assignment(&AssignmentRequest {
            service: self.name().key(),
            slot,
            manifest: &manifest,
            config: &filter.config,
            envelopes: &envelopes,
            director: &self.keys,
            floor: floors.floor(self.name().key(), slot),
            now: self.now(),
        })?;
        if assignment.mode != mode {
            let rule = format!(
                "its assignment is to {}, and the plan has it {}",
                purpose(assignment.mode),
                purpose(mode)
            );
            return Err(by_proxy("assign.mode", rule, ASSIGNED_AGAIN));
        }
        if assignment.filter.as_str() != filter.filter {
            let rule =
                format!("{} is assigned, but {} should run", assignment.filter, filter.filter);
            return Err(by_proxy("assign.other-filter", rule, ASSIGNED_AGAIN));
        }
        Ok(Some(assignment))
    }
}

fn purpose(mode: AssignmentMode) -> &'static str {
    match mode {
        AssignmentMode::Serve => "serve",
        AssignmentMode::Shadow => "run in the shadow",
    }
}

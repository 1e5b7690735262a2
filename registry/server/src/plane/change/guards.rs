//! Whether a change may be made: its effect, and the rules that refuse it.

use std::collections::BTreeSet;

use tamis_api::{ApiProblem, GrowthView};
use tamis_director::{
    self as director, Change, ChangeEffect, ChangeRequest, Consent, Guards, PlanError,
    RequiredRights, State,
};
use tamis_trust::Refused;

use super::planned::PlannedChange;
use crate::plane::control::Control;
use crate::plane::problem::{bad, documents, refused};
use crate::plane::rights::{AuthorizedCaller, may_agree};

/// The caller of a change, its needs, and its guards.
pub(super) struct ChangeCaller<'a> {
    pub(super) holder: &'a AuthorizedCaller,
    pub(super) needs: &'a RequiredRights,
    pub(super) guards: &'a Guards,
    pub(super) confirm: bool,
}

impl Control {
    /// Every rule that refuses a change with that effect.
    pub(super) fn refusals(
        &self,
        state: &State,
        change: &Change,
        effect: &ChangeEffect,
        caller: &ChangeCaller<'_>,
    ) -> Vec<Refused> {
        let consent = if caller.confirm { Consent::Given } else { Consent::NotGiven };
        let actor = caller.holder.actor();
        let agree = if caller.guards.approvals == 0 {
            BTreeSet::new()
        } else {
            let (subject, needs) = (change.subject(), caller.needs.kept());
            may_agree(&self.0.store, state, &subject, &needs, actor)
        };
        let asked = ChangeRequest { actor, now_ms: self.now_ms(), consent, may_agree: &agree };
        director::guard(state, change, effect, caller.guards, &asked).err().unwrap_or_default()
    }

    /// The effect of a change that was planned on this state, if nothing refuses it.
    pub(super) fn effect_or_refusal(
        &self,
        state: &State,
        change: &Change,
        caller: &ChangeCaller<'_>,
        planned: &PlannedChange,
    ) -> Result<ChangeEffect, ApiProblem> {
        let effect = match &planned.effect {
            Some(effect) => effect.clone(),
            None => self.plans().effect(state, change).map_err(|error| impossible(&error))?,
        };
        let refusals = self.refusals(state, change, &effect, caller);
        if refusals.is_empty() { Ok(effect) } else { Err(refused_change(change, refusals)) }
    }
}

/// The problem of a change that rules refuse.
pub(super) fn refused_change(change: &Change, refusals: Vec<Refused>) -> ApiProblem {
    ApiProblem { subject: Some(change.subject().to_string()), ..refused(refusals) }
}

/// The problem of a change that nobody can make.
pub(super) fn impossible(error: &PlanError) -> ApiProblem {
    match error {
        PlanError::Documents(problems) => documents(problems),
        error => bad(error.to_string(), "correct it and ask again"),
    }
}

/// Names the added capabilities in refusals because of missing approvals: they are why approvals are required.
pub(crate) fn name_capabilities(mut problem: ApiProblem, added: &[GrowthView]) -> ApiProblem {
    for refusal in &mut problem.refusals {
        refusal.rule = with_capabilities(&refusal.code, std::mem::take(&mut refusal.rule), added);
    }
    problem
}

/// The same in one refusal.
pub(super) fn name_capabilities_in(refusal: Refused, added: &[GrowthView]) -> Refused {
    Refused { rule: with_capabilities(&refusal.code, refusal.rule, added), ..refusal }
}

fn with_capabilities(code: &str, rule: String, added: &[GrowthView]) -> String {
    if code != director::code::APPROVALS || added.is_empty() {
        return rule;
    }
    let all: Vec<String> = added.iter().map(|one| format!("{} {}", one.kind, one.what)).collect();
    format!("{rule}; it may do more than the one before: {}", all.join(", "))
}

#[cfg(test)]
mod tests;

//! Whether a rollout may go further: documents may have changed since its candidate was checked and agreed to.

use tamis_api::{ApiProblem, GrowthView};
use tamis_director::{self as director, PinRecord, Rollout};
use tamis_trust::Refused;

use super::planned::PlannedChange;
use crate::plane::control::Control;
use crate::plane::control::artifacts::WholeArtifact;
use crate::plane::control::compute_turns::ComputingPlace;

/// The most capabilities that a rollout keeps as agreed to; more count as new ones at its next step.
const MAX_GROWN: usize = 64;
/// The longest text of one of them, in characters.
const MAX_GROWN_CHARS: usize = 200;

/// What refuses the next step of a rollout, as it was computed on a state.
pub(crate) struct FurtherCheck {
    /// The revision of the state: the check holds as long as nothing else is decided.
    pub(crate) decided: u64,
    /// Empty: nothing does.
    pub(crate) refusals: Vec<Refused>,
}

impl Control {
    /// Checks the candidate of a rollout as at its start, with the documents of now. `None`: there is no such rollout, or it
    /// has ended.
    ///
    /// # Errors
    /// [`ApiProblem`] when an artifact cannot be read, or too much is computed at once.
    pub(crate) async fn check_further(
        &self,
        place: ComputingPlace<'_>,
        name: &str,
    ) -> Result<Option<FurtherCheck>, ApiProblem> {
        let (decided, found) = {
            let state = self.state();
            let found = state.rollouts().get(name).filter(|one| one.step().is_some());
            (state.decided(), found.map(|one| (one.rollout.clone(), one.grown.clone())))
        };
        let Some((rollout, agreed)) = found else { return Ok(None) };
        let spec = rollout.spec();
        let refusals = match self.whole_artifact(&spec.to).await? {
            None => vec![gone(&rollout)],
            Some(candidate) => {
                let planned = self.planned_ends(place, &rollout).await?;
                let mut refusals =
                    self.refused_configurations(place, &planned, Some(&candidate)).await?;
                let added = self.rollout_growth(place, &rollout, (candidate, &planned)).await?;
                refusals.extend(growth(&rollout, &added, &agreed));
                refusals
            }
        };
        Ok(Some(FurtherCheck { decided, refusals }))
    }

    /// What follows where a rollout ends, which is where its candidate would be pinned: of all its services, computed once.
    ///
    /// # Errors
    /// [`ApiProblem`] when too many changes are computed at once.
    pub(crate) async fn planned_ends(
        &self,
        place: ComputingPlace<'_>,
        rollout: &Rollout,
    ) -> Result<PlannedChange, ApiProblem> {
        let spec = rollout.spec();
        let ends = spec.services.iter().map(|service| end(rollout, service)).collect();
        self.planned_pins(place, ends, &spec.filter).await
    }

    /// What the candidate may do and the one before could not, in every service of the rollout: each of them ends with the
    /// candidate, whatever the first has.
    pub(crate) async fn rollout_growth(
        &self,
        place: ComputingPlace<'_>,
        rollout: &Rollout,
        (candidate, planned): (WholeArtifact, &PlannedChange),
    ) -> Result<Vec<GrowthView>, ApiProblem> {
        let before = self.replaced_component(Some(rollout.spec().from)).await?;
        let (component, configs) = (candidate.component, planned.configs.clone());
        self.capabilities_added(place, before, component, configs).await
    }
}

/// The pin with which a rollout ends in a service.
fn end(rollout: &Rollout, service: &str) -> PinRecord {
    let spec = rollout.spec();
    PinRecord {
        service: service.to_owned(),
        filter: spec.filter.clone(),
        version: spec.version.clone(),
        digest: spec.to,
        allow_older: true,
        rollback: false,
    }
}

/// What a candidate may do more, as a rollout keeps it.
pub(crate) fn agreed(added: &[GrowthView]) -> Vec<String> {
    added.iter().take(MAX_GROWN).map(words).collect()
}

fn words(one: &GrowthView) -> String {
    format!("{} {}", one.kind, one.what).chars().take(MAX_GROWN_CHARS).collect()
}

/// The refusal of what nobody agreed to.
fn growth(rollout: &Rollout, added: &[GrowthView], agreed: &[String]) -> Option<Refused> {
    let spec = rollout.spec();
    let new: Vec<String> = added.iter().map(words).filter(|one| !agreed.contains(one)).collect();
    if new.is_empty() {
        return None;
    }
    let rule = format!(
        "since rollout {} began, documents were applied with which {} {} may do more than the one before: {}",
        spec.name,
        spec.filter,
        spec.version,
        new.join(", ")
    );
    let remedy = "change the documents back, or abort it and start another, to which others agree";
    Some(Refused::new(director::code::ROLLOUT_MOVE, rule, "the rules of rollouts", remedy))
}

fn gone(rollout: &Rollout) -> Refused {
    let spec = rollout.spec();
    let rule = format!(
        "no repository of this registry has the artifact {} of the filter {} any more",
        spec.to, spec.filter
    );
    let remedy = "push it again, or abort the rollout";
    Refused::new(director::code::ROLLOUT_MOVE, rule, "the rules of rollouts", remedy)
}

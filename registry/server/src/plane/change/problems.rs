//! What is wrong with a change of documents.

use std::collections::BTreeSet;
use std::sync::Arc;

use tamis_api::ApiProblem;
use tamis_director::{Change, State};
use tamis_resources::plan::FilterPlan;
use tamis_resources::{CONFIG_REMEDY, Problem};
use tamis_trust::Refused;

use super::configurations::{PLAN_CODE, ROUTES_CODE, StartedFilters, ValidationResult, no_room};
use super::preview::ApplyPreview;
use super::stopped::StoppedSlots;
use crate::plane::control::Control;
use crate::plane::control::compute_turns::{CallerPresence, ComputingPlace, StateCopy};
use crate::plane::rights::AuthorizedCaller;
use crate::plane::view::diff::is_for;

impl Control {
    /// The problems of a change of documents that the caller may see: those found when combining them, and those
    /// that the filters report for their configurations.
    pub(super) async fn document_problems(
        &self,
        holder: &AuthorizedCaller,
        preview: &Arc<ApplyPreview>,
        place: ComputingPlace<'_>,
    ) -> Result<DocumentFaults, ApiProblem> {
        let ApplyPreview { change, effect, .. } = &**preview;
        // Before anything is asked of so many filters.
        let crowded = effect.crowded.first().filter(|_| adds(change));
        if let Some(rule) = crowded {
            let refusals = vec![no_room(PLAN_CODE, rule.clone())];
            return Ok(DocumentFaults { refusals, ..DocumentFaults::default() });
        }
        let changed = namespaces(change);
        let (plans, trust) = (&effect.fresh, effect.trust.as_ref());
        let started = StartedFilters { plans, read: None, trust, changed: &changed };
        let results = self.validate_filters(started, place).await?;
        // A filter is pinned after its attachment exists, so a missing pin is not a fault of the documents.
        let folded = effect.problems.iter().filter(|one| one.code != "pin.missing");
        let mut problems: Vec<Problem> = folded.cloned().collect();
        let (mut refusals, mut faulty) = (Vec::new(), Vec::new());
        for (plan, mut result) in results {
            // What only takes away makes room.
            let no_place = result.no_room.take().filter(|_| adds(change));
            refusals.extend(no_place.map(|rule| no_room(ROUTES_CODE, rule)));
            faulty.push((plan, result));
        }
        if !faulty.is_empty() {
            let (turn, preview) = (self.turn_in(place).await?, Arc::clone(preview));
            let found = move |_: &Self, copy: &mut StateCopy, _: &CallerPresence| -> Vec<Problem> {
                let found = faulty.into_iter().map(|(plan, result)| {
                    filter_problems(&copy.state, &preview.change, &plan, result)
                });
                found.flatten().collect()
            };
            problems.extend(self.compute_on_state(turn, found).await?);
        }
        problems.retain(|one| is_for(holder, one));
        let stopped = self.stopped_slots(holder, preview, place).await?;
        Ok(DocumentFaults { problems, refusals, stopped })
    }
}

/// What is wrong with a change of documents.
#[derive(Default)]
pub(super) struct DocumentFaults {
    /// What would be left out; whoever confirms it may have it so.
    pub(super) problems: Vec<Problem>,
    /// What would harm others: nobody can confirm it.
    pub(super) refusals: Vec<Refused>,
    /// What would stop; whoever confirms it may have it so.
    pub(super) stopped: StoppedSlots,
}

impl DocumentFaults {
    /// The rules that refuse the change until somebody confirms it.
    pub(super) fn to_confirm(&self) -> Vec<Refused> {
        self.stopped.refusal().into_iter().chain(self.problems.iter().map(as_refusal)).collect()
    }
}

/// The namespaces whose documents a change writes.
fn namespaces(change: &Change) -> BTreeSet<String> {
    let Change::Apply(applied) = change else { return BTreeSet::new() };
    let keys = applied.documents.iter().map(|one| one.key.split('/'));
    keys.filter_map(|mut parts| parts.nth(1).map(str::to_owned)).collect()
}

/// Whether a change writes documents.
fn adds(change: &Change) -> bool {
    matches!(change, Change::Apply(applied) if !applied.documents.is_empty())
}

/// What a filter refuses, each at its place.
fn filter_problems(
    state: &State,
    change: &Change,
    plan: &FilterPlan,
    result: ValidationResult,
) -> Vec<Problem> {
    let ValidationResult { refused, faults, left_out, no_room: _ } = result;
    let attachment = format!("FilterAttachment/{}", plan.attachment);
    let mut problems = Vec::new();
    if let Some(one) = refused {
        // The problem is reported at the attachment, which belongs to the caller: the Grant may belong to somebody else.
        let rule = Refused { remedy: String::new(), ..one.clone() }.sentence();
        let at = (attachment.as_str(), "/spec/filter");
        let found = problem_at(state, change, at, &one.code, rule);
        problems.extend(found.map(|mut found| {
            found.help = Some(one.remedy).filter(|remedy| !remedy.is_empty());
            found
        }));
    }
    for (pointer, message) in faults {
        let message = format!("{} refuses this and says: {message}", plan.filter);
        let at = (attachment.as_str(), &*plan.config_place(&pointer));
        let found = problem_at(state, change, at, "filter.configure", message);
        problems.extend(found.map(|mut found| {
            found.help = Some(CONFIG_REMEDY.to_owned());
            found
        }));
    }
    for one in left_out {
        let message = format!("{} does not accept this: {}", plan.filter, one.message);
        let at = (&*format!("{}/{}", one.kind, one.route), one.pointer.as_str());
        problems.extend(problem_at(state, change, at, "route.refused", message));
    }
    problems
}

/// A problem at its place in a document of the change, or in force.
fn problem_at(
    state: &State,
    change: &Change,
    (key, pointer): (&str, &str),
    code: &str,
    message: String,
) -> Option<Problem> {
    let applied = match change {
        Change::Apply(applied) => applied.documents.iter().find(|one| one.key == key),
        Change::Pin(_) | Change::Unpin(_) => None,
    };
    let (source, text, line) = match applied {
        Some(one) => (one.source.clone(), one.text.clone(), None),
        None => {
            let held = state.documents().get(key)?;
            (held.source().to_owned(), held.text.to_string(), Some(held.line()))
        }
    };
    let document = tamis_resources::parse(&source, &text).0.into_iter().next()?;
    // The text is a part of its file, whose lines count.
    let before = match (line, applied) {
        (Some(line), _) => line.saturating_sub(document.line()),
        (None, one) => one.map_or(0, |one| one.lines_before),
    };
    Some(document.after_lines(before).problem(code, pointer, message))
}

/// A problem of a document as a rule that refuses until somebody confirms.
fn as_refusal(problem: &Problem) -> Refused {
    let place = &problem.place;
    Refused {
        code: "document.problem".into(),
        rule: format!("{}:{}:{}: {}", place.source, place.line, place.column, problem.message),
        set_by: "the rule that a change reports whatever it leaves out".to_owned(),
        remedy: problem.help.clone().unwrap_or_else(|| "correct it, or confirm".to_owned()),
    }
}

//! Changes of documents: their preview, and making them.

use tamis_api::{ApiProblem, ApplyRequest, ApplyResult, GrowthView, PlanResult};
use tamis_director::{
    self as director, Change, ChangeEffect, Guards, Orphans, RequiredRights, State,
};
use tamis_oci::Verb;
use tamis_trust::Refused;

use super::guards::{ChangeCaller, impossible, name_capabilities, name_capabilities_in};
use super::problems::{DocumentFaults, as_refusal};
use super::propose::proposal;
use super::records;
use crate::plane::control::Control;
use crate::plane::problem::{documents, problem, refused};
use crate::plane::rights::AuthorizedCaller;
use crate::plane::sources::{self, ParsedDocuments};
use crate::plane::view;

/// Bytes of documents that are parsed without a turn.
const SMALL_REQUEST_BYTES: usize = 256 * 1024;

/// An apply before it is made.
struct ApplyPreview {
    change: Change,
    needs: RequiredRights,
    /// The documents that it names.
    keys: view::diff::Keys,
    effect: ChangeEffect,
    refusals: Vec<Refused>,
    /// What the documents let filters do that they could not do before.
    added: Vec<GrowthView>,
}

impl Control {
    /// The effect of an apply. If the change needs approvals and the caller may make it, this also proposes
    /// it.
    ///
    /// # Errors
    /// [`ApiProblem`] when the documents are invalid, or touch what the caller may not see.
    pub async fn plan(
        &self,
        holder: &AuthorizedCaller,
        request: &ApplyRequest,
    ) -> Result<PlanResult, ApiProblem> {
        let ApplyPreview { change, needs, keys, effect, mut refusals, added } =
            self.preview(holder, request, &self.parsed(request).await?)?;
        let faults = self.document_problems(holder, &change, &effect).await?;
        refusals.extend(faults.refusals);
        if !request.confirm {
            refusals.extend(faults.problems.iter().map(as_refusal));
        }
        let lacks_approvals = refusals.iter().any(|one| one.code == director::code::APPROVALS);
        let diff = view::diff::diff(effect, keys, holder);
        let refusals = refusals.into_iter().map(|one| name_capabilities_in(one, &added)).collect();
        if lacks_approvals && holds_all(holder, &needs) {
            self.propose(holder.actor(), proposal(&change, &needs)).await?;
        }
        Ok(PlanResult { subject: change.subject().to_string(), diff, refusals })
    }

    /// Everything about an apply that follows from the state.
    fn preview(
        &self,
        holder: &AuthorizedCaller,
        request: &ApplyRequest,
        parsed: &ParsedDocuments,
    ) -> Result<ApplyPreview, ApiProblem> {
        let state = self.state();
        let (applied, needs) = self.read_request(holder, request, parsed, &state)?;
        let keys = view::diff::documents(&applied);
        let change = Change::Apply(applied);
        if !holds_all(holder, &needs) {
            holder.must_hold(Verb::Observe, &needs)?;
        }
        let (guards, added) = self.document_guards(&state, &change)?;
        let confirm = request.confirm;
        let caller = ChangeCaller { holder, needs: &needs, guards: &guards, confirm };
        let (effect, refusals) = self.effect_and_refusals(&state, &change, &caller, None)?;
        Ok(ApplyPreview { change, needs, keys, effect, refusals, added })
    }

    /// Applies and removes documents, all or nothing, if the caller has a right to everything that they
    /// touch.
    ///
    /// # Errors
    /// [`ApiProblem`] when the documents are invalid, a right is missing, a guard refuses, or writing fails.
    /// Nothing has changed then.
    pub async fn apply(
        &self,
        holder: &AuthorizedCaller,
        request: &ApplyRequest,
    ) -> Result<ApplyResult, ApiProblem> {
        let parsed = self.parsed(request).await?;
        self.check_documents(holder, request, &parsed).await?;
        let mut proposed = None;
        let attempt = self
            .commit(holder.actor(), |state| {
                let (applied, needs) = self.read_request(holder, request, &parsed, state)?;
                let keys = view::diff::documents(&applied);
                let empty = applied == director::ApplyRecord::default();
                let change = Change::Apply(applied);
                holder.must_hold(Verb::Operate, &needs)?;
                proposed = Some(proposal(&change, &needs));
                let (guards, added) = self.document_guards(state, &change)?;
                let confirm = request.confirm;
                let caller = ChangeCaller { holder, needs: &needs, guards: &guards, confirm };
                let effect = self
                    .effect_or_refusal(state, &change, &caller, None)
                    .map_err(|problem| name_capabilities(problem, &added))?;
                let diff = view::diff::diff(effect, keys, holder);
                Ok((if empty { Vec::new() } else { records(change)? }, diff))
            })
            .await;
        let (revision, diff) = match proposed {
            Some(proposal) => self.propose_if_needed(holder.actor(), attempt, proposal).await?,
            None => attempt?,
        };
        Ok(ApplyResult { revision, diff })
    }

    /// Refuses documents that would harm others, and those with problems, each with its place, unless the caller confirms
    /// what would be left out.
    async fn check_documents(
        &self,
        holder: &AuthorizedCaller,
        request: &ApplyRequest,
        parsed: &ParsedDocuments,
    ) -> Result<(), ApiProblem> {
        let (change, effect) = {
            let state = self.state();
            let (applied, needs) = self.read_request(holder, request, parsed, &state)?;
            // A caller without the right must not learn the problems.
            holder.must_hold(Verb::Operate, &needs)?;
            let change = Change::Apply(applied);
            let effect = self.plans().effect(&state, &change);
            (change, effect)
        };
        // A change that cannot be made at all is refused, with its reason, where it is made.
        let Ok(effect) = effect else { return Ok(()) };
        let DocumentFaults { problems, refusals } =
            self.document_problems(holder, &change, &effect).await?;
        if !refusals.is_empty() {
            return Err(refused(refusals));
        }
        if problems.is_empty() || request.confirm {
            return Ok(());
        }
        let remedy = "correct them, or confirm that the affected parts are left out".to_owned();
        Err(ApiProblem { remedy: Some(remedy), ..documents(&problems) })
    }

    /// The documents of a request. They are parsed beside the thread that serves, once, and no more than one large request
    /// at a time: whoever sends documents of megabytes keeps a core busy for seconds.
    async fn parsed(&self, request: &ApplyRequest) -> Result<ParsedDocuments, ApiProblem> {
        let bytes = request.sources.iter().map(|source| source.text.len());
        let large = bytes.fold(0, usize::saturating_add) > SMALL_REQUEST_BYTES;
        // It is never closed.
        let _turn = if large { self.0.large_requests.acquire().await.ok() } else { None };
        let sources = request.sources.clone();
        let parsed = tokio::task::spawn_blocking(move || sources::parsed(&sources)).await;
        parsed.map_err(|_| problem(500, "internal", "the documents could not be read"))?
    }

    /// What a request applies and removes, and the needs of the whole request, including what would not
    /// change. Pruning removes what the caller may remove.
    fn read_request(
        &self,
        holder: &AuthorizedCaller,
        request: &ApplyRequest,
        parsed: &ParsedDocuments,
        state: &State,
    ) -> Result<(director::ApplyRecord, RequiredRights), ApiProblem> {
        let removals = state.removals();
        let may = |key: &str| {
            let needs = removals.needs(key);
            holder.holds_all(Verb::Operate, needs.iter().map(|(need, _)| need))
        };
        let sources::ReadDocuments { mut applied, asked } =
            sources::read(request, parsed, state, &may)?;
        // The existence and the content of a document are not for everybody to find out.
        let named = asked.documents.iter().map(|one| &one.key).chain(&request.removed);
        for key in named {
            let place = key.split_once('/').map_or(key.as_str(), |(_, place)| place);
            if !holder.may_at(Verb::Observe, place) {
                holder.must_hold(Verb::Operate, &RequiredRights::of_services([place]))?;
            }
        }
        let all = request.prune && holder.may_at(Verb::Operate, "*");
        let orphans = if all { Orphans::All } else { Orphans::OfChange };
        for path in state.orphaned(&applied, orphans) {
            let written = applied.files.iter().any(|file| file.path == path);
            if !written && !applied.removed_files.contains(&path) {
                applied.removed_files.push(path);
            }
        }
        // A caller with all rights is only checked for what changes.
        let asked = if holder.may_at(Verb::Operate, "*") {
            applied.clone()
        } else {
            let removed_files = applied.removed_files.clone();
            director::ApplyRecord { removed_files, ..asked }
        };
        let needs = state.needs(&Change::Apply(asked)).map_err(|error| impossible(&error))?;
        Ok((applied, needs))
    }

    /// The guards for a change of documents: documents that allow filters to do more need the same approval
    /// as a pin.
    fn document_guards(
        &self,
        state: &State,
        change: &Change,
    ) -> Result<(Guards, Vec<GrowthView>), ApiProblem> {
        let Change::Apply(applied) = change else { return Ok((self.0.rules.guards, Vec::new())) };
        let added = state.growth(applied).map_err(|error| impossible(&error))?;
        let added = added.into_iter().map(|(filter, what)| GrowthView {
            kind: "authority".to_owned(),
            what: format!("of {filter}: {what}"),
        });
        let added: Vec<GrowthView> = added.collect();
        Ok((self.guards_for(&added), added))
    }
}

fn holds_all(holder: &AuthorizedCaller, needs: &RequiredRights) -> bool {
    holder.holds_all(Verb::Operate, needs.iter().map(|(need, _)| need))
}

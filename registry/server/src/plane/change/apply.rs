//! Changes of documents: their preview, and making them.
//!
//! What follows from many documents takes seconds, so it is computed on another thread, on a snapshot of the
//! state. It is written if nothing was decided since. After some attempts that others overtook, others wait for one.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

use std::sync::Arc;

use tamis_api::{ApiProblem, ApplyRequest, ApplyResult, Diff, GrowthView, PlanResult};
use tamis_director::{self as director, Change, Guards, Orphans, RequiredRights, State};
use tamis_journal::Record;
use tamis_oci::Verb;
use tokio::time::Instant;

use super::attempts::too_long;
use super::guards::{
    ChangeCaller, impossible, name_capabilities, name_capabilities_in, refused_change,
};
use super::preview::ApplyPreview;
use super::propose::proposal;
use super::requested::{RequestedChange, requested};
use super::{records, room};
use crate::plane::control::Control;
use crate::plane::control::commit;
use crate::plane::control::compute_turns::{
    CallerPresence, ComputingPlace, SMALL_BYTES, Size, StateCopy, Turn,
};
use crate::plane::control::precedence::LONGEST;
use crate::plane::problem::{documents, journal, problem, refused};
use crate::plane::rights::AuthorizedCaller;
use crate::plane::sources::{self, ParsedDocuments};
use crate::plane::view;

/// How often a small apply is computed while others write; afterwards others wait for it, which takes a moment.
const ATTEMPTS: usize = 2;
/// How often one is computed while other callers wait: the registry itself decides too, as do other replicas.
const ALONE: usize = 5;

/// What a caller asks for, as another thread takes it.
struct AskedApply {
    holder: AuthorizedCaller,
    /// The request without its sources; `parsed` has them.
    request: ApplyRequest,
    parsed: ParsedDocuments,
    size: Size,
    purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    /// To see the effect.
    Plan,
    /// To make the change.
    Apply,
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
        let asked = self.asked(holder, request, Purpose::Plan).await?;
        let (preview, mut diff) =
            self.previewed(self.turn(holder, asked.size).await?, &asked).await?;
        let place = ComputingPlace::Own(holder, asked.size);
        let faults = self.document_problems(holder, &preview, place).await?;
        faults.stopped.show(&mut diff);
        let mut refusals = preview.refusals.clone();
        if !request.confirm {
            refusals.extend(faults.to_confirm());
        }
        refusals.extend(faults.refusals);
        let lacks_approvals = refusals.iter().any(|one| one.code == director::code::APPROVALS);
        let refusals =
            refusals.into_iter().map(|one| name_capabilities_in(one, &preview.added)).collect();
        if lacks_approvals && holds_all(holder, &preview.needs) {
            self.propose(holder, preview.proposal.clone()).await?;
        }
        Ok(PlanResult { subject: preview.proposal.subject.to_string(), diff, refusals })
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
        let asked = self.asked(holder, request, Purpose::Apply).await?;
        for _ in 0..ATTEMPTS {
            let turn = self.turn(holder, asked.size).await?;
            let (preview, mut diff) = self.previewed(turn, &asked).await?;
            // Each time: what others changed meanwhile may not fit to it.
            let place = ComputingPlace::Own(holder, asked.size);
            self.check_documents(&asked, (&preview, &mut diff), place).await?;
            let made = {
                let _decision = self.decision().await;
                self.commit_apply(&preview, &asked).await
            };
            let proposal = preview.proposal.clone();
            let (revision, holds) = self.propose_if_needed(holder, made, proposal).await?;
            if holds {
                return Ok(ApplyResult { revision, diff });
            }
        }
        match asked.size {
            Size::Small => self.apply_alone(&asked).await,
            Size::Large => self.apply_with_precedence(&asked).await,
        }
    }

    /// Writes an apply if its preview still holds; returns whether it does.
    async fn commit_apply(
        &self,
        preview: &ApplyPreview,
        asked: &AskedApply,
    ) -> Result<(u64, bool), ApiProblem> {
        let decide = |state: &State| self.decided(state, preview, asked);
        self.commit_records(&asked.holder, |state| decide(state)).await
    }

    /// Applies what others overtook, if it is large: nothing else is decided for callers meanwhile, and everything else is
    /// written.
    async fn apply_with_precedence(
        &self,
        asked: &Arc<AskedApply>,
    ) -> Result<ApplyResult, ApiProblem> {
        let holder = &asked.holder;
        let precedent = self.precedence(holder).await?;
        for _ in 0..ALONE {
            let computed = async {
                let turn = self.turn(holder, asked.size).await?;
                let (preview, mut diff) = self.previewed(turn.clone(), asked).await?;
                let place = ComputingPlace::In(&turn);
                self.check_documents(asked, (&preview, &mut diff), place).await?;
                Ok::<_, ApiProblem>((preview, diff))
            };
            let computed = tokio::time::timeout_at(precedent.ends(), computed).await;
            let (preview, diff) = computed.map_err(|_| overtaken())??;
            match self.commit_apply(&preview, asked).await {
                Ok((revision, true)) => return Ok(ApplyResult { revision, diff }),
                Ok((_, false)) => {}
                Err(problem) => {
                    drop(precedent);
                    let proposal = preview.proposal.clone();
                    return self.propose_if_needed(holder, Err(problem), proposal).await;
                }
            }
        }
        Err(overtaken())
    }

    /// Applies what others overtook, if it is small: nobody else writes meanwhile.
    async fn apply_alone(&self, asked: &Arc<AskedApply>) -> Result<ApplyResult, ApiProblem> {
        let holder = &asked.holder;
        // First: whoever writes waits for nobody.
        let _decision = self.decision().await;
        let turn = self.turn(holder, asked.size).await?;
        let mut writer = self.writer(holder.actor()).await;
        let ends = Instant::now() + LONGEST;
        loop {
            drop(writer.fresh().await.map_err(|error| journal(&error))?);
            let computed = async {
                let (preview, mut diff) = self.previewed(turn.clone(), asked).await?;
                let place = ComputingPlace::In(&turn);
                self.check_documents(asked, (&preview, &mut diff), place).await?;
                Ok::<_, ApiProblem>((preview, diff))
            };
            let computed = tokio::time::timeout_at(ends, computed).await;
            let (preview, diff) = computed.map_err(|_| too_long())??;
            let decided = self.decided(&self.state(), &preview, asked);
            self.must_still_hold(holder.into()).await?;
            let (written, holds) = match decided {
                Ok(decided) => decided,
                Err(problem) => {
                    drop(writer);
                    let proposal = preview.proposal.clone();
                    return self.propose_if_needed(holder, Err(problem), proposal).await;
                }
            };
            if holds && written.is_empty() {
                return Ok(ApplyResult { revision: preview.head, diff });
            }
            if holds {
                let appended = writer.append(preview.head, &written).await;
                let revision = appended.map_err(|error| commit::not_written(&error))?;
                if let Some(revision) = revision {
                    return Ok(ApplyResult { revision, diff });
                }
            }
        }
    }

    /// What is written for an apply, and whether its preview holds: nothing was decided since.
    fn decided(
        &self,
        state: &State,
        preview: &ApplyPreview,
        asked: &AskedApply,
    ) -> Result<(Arc<[Record]>, bool), ApiProblem> {
        if state.decided() != preview.decided {
            return Ok((Arc::default(), false));
        }
        let ApplyPreview { change, needs, guards, effect, added, records, .. } = preview;
        let confirm = asked.request.confirm;
        let caller = ChangeCaller { holder: &asked.holder, needs, guards, confirm };
        let refusals = self.refusals(state, change, effect, &caller);
        if !refusals.is_empty() {
            return Err(name_capabilities(refused_change(change, refusals), added));
        }
        Ok((Arc::clone(records), true))
    }

    /// A request whose documents are parsed.
    async fn asked(
        &self,
        holder: &AuthorizedCaller,
        request: &ApplyRequest,
        purpose: Purpose,
    ) -> Result<Arc<AskedApply>, ApiProblem> {
        let bytes = request.sources.iter().map(|one| one.text.len()).sum();
        let size = Size::of(bytes);
        let (turn, sources) = (self.turn(holder, size).await?, request.sources.clone());
        let parse =
            move |caller: &CallerPresence| sources::parsed(&sources, &|| caller.check_caller());
        let parsed = self.compute(turn, parse).await??;
        let ApplyRequest { sources: _, files, removed, prune, confirm } = request;
        let (files, removed) = (files.clone(), removed.clone());
        let (sources, prune, confirm) = (Vec::new(), *prune, *confirm);
        let request = ApplyRequest { sources, files, removed, prune, confirm };
        Ok(Arc::new(AskedApply { holder: holder.clone(), request, parsed, size, purpose }))
    }

    /// Everything about an apply that follows from the state.
    async fn previewed(
        &self,
        turn: Turn,
        asked: &Arc<AskedApply>,
    ) -> Result<(Arc<ApplyPreview>, Diff), ApiProblem> {
        let asked = Arc::clone(asked);
        let preview = move |control: &Self, copy: &mut StateCopy, caller: &CallerPresence| {
            control.preview(&asked, copy, caller)
        };
        self.compute_on_state(turn, preview).await?
    }

    fn preview(
        &self,
        asked: &AskedApply,
        StateCopy { state, plans }: &mut StateCopy,
        caller: &CallerPresence,
    ) -> Result<(Arc<ApplyPreview>, Diff), ApiProblem> {
        let AskedApply { holder, request, purpose, .. } = asked;
        let (applied, needs) = read_request(asked, state)?;
        // A caller without the right must not learn the problems.
        match purpose {
            Purpose::Apply => holder.must_hold(Verb::Operate, &needs)?,
            Purpose::Plan if holds_all(holder, &needs) => {}
            Purpose::Plan => holder.must_hold(Verb::Observe, &needs)?,
        }
        self.refuse_own_domain(&applied)?;
        let empty = applied == director::ApplyRecord::default();
        let change = Change::Apply(applied);
        let (guards, added) = self.document_guards(state, &change)?;
        caller.check_caller()?;
        let effect = plans.effect(state, &change).map_err(|error| impossible(&error))?;
        caller.check_caller()?;
        let caller =
            ChangeCaller { holder, needs: &needs, guards: &guards, confirm: request.confirm };
        // An apply is judged when it is decided.
        let refusals = match purpose {
            Purpose::Plan => self.refusals(state, &change, &effect, &caller),
            Purpose::Apply => Vec::new(),
        };
        let records: Arc<[Record]> = match purpose {
            Purpose::Apply if !empty => commit::records(&records(change.clone())?)?.into(),
            Purpose::Apply | Purpose::Plan => Arc::default(),
        };
        let diff = view::diff::diff(effect.clone(), &change, holder);
        let (decided, head, proposal) = (state.decided(), state.head(), proposal(&change, &needs));
        let preview = ApplyPreview {
            decided,
            head,
            change,
            needs,
            guards,
            effect,
            refusals,
            added,
            proposal,
            records,
        };
        Ok((Arc::new(preview), diff))
    }

    /// Refuses documents that would harm others, and, unless the caller confirms it, those with problems, each with its place,
    /// and those under which something that runs would stop, which the diff shows.
    async fn check_documents(
        &self,
        asked: &AskedApply,
        (preview, diff): (&Arc<ApplyPreview>, &mut Diff),
        place: ComputingPlace<'_>,
    ) -> Result<(), ApiProblem> {
        let faults = self.document_problems(&asked.holder, preview, place).await?;
        faults.stopped.show(diff);
        if !faults.refusals.is_empty() {
            return Err(refused(faults.refusals));
        }
        if asked.request.confirm {
            return Ok(());
        }
        if faults.stopped.refusal().is_some() {
            return Err(refused_change(&preview.change, faults.to_confirm()));
        }
        if faults.problems.is_empty() {
            return Ok(());
        }
        let remedy = "correct them, or confirm that the affected parts are left out".to_owned();
        Err(ApiProblem { remedy: Some(remedy), ..documents(&faults.problems) })
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
        Ok((self.0.rules.guards_for(&added), added))
    }
}

/// A large apply that others overtook again and again.
fn overtaken() -> ApiProblem {
    let title = "others changed something each time this change was computed; nothing was changed";
    let kib = SMALL_BYTES >> 10;
    let remedy = format!(
        "try again, or apply it in parts of at most {kib} KiB: other changes wait for parts of that size"
    );
    ApiProblem { remedy: Some(remedy), ..problem(503, "busy", title) }
}

/// What a request applies and removes, and the needs of the whole request, including what would not
/// change. Pruning removes what the caller may remove.
fn read_request(
    AskedApply { holder, request, parsed, purpose, .. }: &AskedApply,
    state: &State,
) -> Result<(director::ApplyRecord, RequiredRights), ApiProblem> {
    let may = |needs: &RequiredRights| holds_all(holder, needs);
    let RequestedChange { applied, asked } = requested(request, parsed, state, &may)?;
    let named = asked.documents.iter().map(|one| &one.key).chain(&request.removed);
    must_concern(holder, named, *purpose)?;
    // Before anything else is computed from the documents, and after it is known that they are the caller's: how much
    // others have is not for everybody to find out.
    room::must_fit(state, &applied)?;
    // A caller with all rights is only checked for what changes.
    let all = holder.may_at(Verb::Operate, "*");
    let asked = (!all).then_some(asked);
    let orphans = if all && request.prune { Orphans::All } else { Orphans::OfChange };
    state.judge_apply(applied, asked, orphans).map_err(|error| impossible(&error))
}

/// Refuses a caller who may neither change nor, for a plan, see a document by its own place: its existence and its content
/// are not for everybody to find out.
fn must_concern<'a>(
    holder: &AuthorizedCaller,
    named: impl Iterator<Item = &'a String>,
    purpose: Purpose,
) -> Result<(), ApiProblem> {
    for key in named {
        let place = key.split_once('/').map_or(key.as_str(), |(_, place)| place);
        if purpose == Purpose::Apply || !holder.may_at(Verb::Observe, place) {
            holder.must_hold(Verb::Operate, &RequiredRights::of_services([place]))?;
        }
    }
    Ok(())
}

fn holds_all(holder: &AuthorizedCaller, needs: &RequiredRights) -> bool {
    holder.holds_all(Verb::Operate, needs.iter().map(|(need, _)| need))
}

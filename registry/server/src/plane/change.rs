//! Changes by people.

use std::sync::Arc;
use tamis_api::{
    ApiProblem, ApplyRequest, ApplyResult, ApprovalResult, ApproveRequest, GrowthView, PinRequest,
    PinResult, PlanResult, ReassignRequest, ReassignResult, RollbackRequest, UnpinRequest,
};
use tamis_director::{
    self as director, Body, Change, ChangeRequest, Consent, Guards, Orphans, PlanError,
    RequiredRights, State,
};
use tamis_oci::Verb;
use tamis_resources::CONFIG_REMEDY;
use tamis_resources::plan::FilterPlan;
use tamis_trust::{Digest, Name, TrustRefusal, Version};

use crate::plane::control::artifact::ValidationResult;

use crate::plane::control::Control;
use crate::plane::problem::{bad, body, documents, journal, missing, problem, refusal, refused};
use crate::plane::rights::{AuthorizedCaller, asked_alone, may_agree};
use crate::plane::sources;
use crate::plane::view;

/// Fewest digits of an abbreviated digest.
const MIN_DIGITS: usize = 8;

/// A change with its effect and its refusals.
struct WeighedChange {
    diff: director::ChangeEffect,
    refused: Vec<TrustRefusal>,
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
        let (change, needs, keys, mut weighed, grown) = {
            let state = self.state();
            let (applied, needs) = self.read(holder, request, &state)?;
            let keys = view::diff::documents(&applied);
            let change = Change::Apply(applied);
            if !holder.holds_all(Verb::Operate, needs.iter().map(|(need, _)| need)) {
                holder.must_hold(Verb::Observe, &needs)?;
            }
            let (guards, grown) = self.guards(&state, &change)?;
            let by =
                ChangeCaller { holder, needs: &needs, guards: &guards, confirm: request.confirm };
            let weighed = self.weigh(&state, &change, &by)?;
            (change, needs, keys, weighed, grown)
        };
        let judged = self.judged(&weighed.diff.fresh).await?;
        let mut wrong = wrong(&self.state(), &change, &weighed.diff, judged);
        wrong.retain(|one| view::diff::is_for(holder, one));
        if !request.confirm {
            weighed.refused.extend(wrong.iter().map(refuses));
        }
        let asks = weighed.refused.iter().any(|one| one.code == director::code::APPROVALS);
        let may = holder.holds_all(Verb::Operate, needs.iter().map(|(need, _)| need));
        let proposal = (asks && may).then(|| proposed(&change, &needs));
        let diff = view::diff::diff(weighed.diff, keys, holder);
        let refusals = weighed.refused.into_iter().map(|one| refusal(grew_one(one, &grown)));
        let subject = change.subject().to_string();
        let planned = PlanResult { subject, diff, refusals: refusals.collect() };
        self.propose(holder.actor(), proposal).await?;
        Ok(planned)
    }

    /// What a request applies and removes, and the needs of the whole request, including what would not
    /// change. Pruning removes what the caller may remove.
    fn read(
        &self,
        holder: &AuthorizedCaller,
        request: &ApplyRequest,
        state: &State,
    ) -> Result<(director::ApplyRecord, RequiredRights), ApiProblem> {
        let removals = state.removals();
        let may = |key: &str| {
            let needs = removals.needs(key);
            holder.holds_all(Verb::Operate, needs.iter().map(|(need, _)| need))
        };
        let sources::ReadDocuments { mut applied, asked } = sources::read(request, state, &may)?;
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
        let needs = state.needs(&Change::Apply(asked)).map_err(|error| plan(&error))?;
        Ok((applied, needs))
    }

    /// The guards for a change of documents: documents that allow filters to do more need the same approval
    /// as a pin.
    fn guards(
        &self,
        state: &State,
        change: &Change,
    ) -> Result<(Guards, Vec<GrowthView>), ApiProblem> {
        let mut guards = self.0.rules.guards;
        let Change::Apply(applied) = change else { return Ok((guards, Vec::new())) };
        let grown = state.growth(applied).map_err(|error| plan(&error))?;
        let grown = grown.into_iter().map(|(filter, what)| GrowthView {
            kind: "authority".to_owned(),
            what: format!("of {filter}: {what}"),
        });
        let grown: Vec<GrowthView> = grown.collect();
        if !grown.is_empty() {
            guards.approvals = guards.approvals.max(self.0.rules.growth_approvals);
        }
        Ok((guards, grown))
    }

    /// Records that a change waits for approvals, unless that is recorded already.
    pub(crate) async fn propose(
        &self,
        actor: &str,
        proposal: Option<director::ProposalRecord>,
    ) -> Result<(), ApiProblem> {
        let Some(proposal) = proposal else { return Ok(()) };
        let body = Body::from(proposal.clone());
        self.commit(actor, |state| {
            let known = state.is_proposed(&proposal, actor);
            Ok((if known { Vec::new() } else { vec![body.clone()] }, ()))
        })
        .await?;
        Ok(())
    }

    /// The result of a change; an attempt that needs approvals proposes the change.
    pub(crate) async fn settled<T>(
        &self,
        actor: &str,
        done: Result<T, ApiProblem>,
        proposal: director::ProposalRecord,
    ) -> Result<T, ApiProblem> {
        let asks = |one: &tamis_api::RefusalView| one.code == director::code::APPROVALS;
        if done.as_ref().err().is_some_and(|problem| problem.refusals.iter().any(asks)) {
            self.propose(actor, Some(proposal)).await?;
        }
        done
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
        if !request.confirm {
            self.consented(holder, request).await?;
        }
        let mut proposal = None;
        let done = self
            .commit(holder.actor(), |state| {
                let (applied, needs) = self.read(holder, request, state)?;
                let keys = view::diff::documents(&applied);
                let empty = applied == director::ApplyRecord::default();
                let change = Change::Apply(applied);
                holder.must_hold(Verb::Operate, &needs)?;
                proposal = Some(proposed(&change, &needs));
                let (guards, grown) = self.guards(state, &change)?;
                let by = ChangeCaller {
                    holder,
                    needs: &needs,
                    guards: &guards,
                    confirm: request.confirm,
                };
                let diff =
                    self.permitted(state, &change, &by).map_err(|problem| grew(problem, &grown))?;
                let diff = view::diff::diff(diff, keys, holder);
                let bodies = if empty { Vec::new() } else { bodies(change)? };
                Ok((bodies, diff))
            })
            .await;
        let (revision, diff) = match proposal {
            Some(proposal) => self.settled(holder.actor(), done, proposal).await?,
            None => done?,
        };
        Ok(ApplyResult { revision, diff })
    }

    /// Pins a filter of a service: resolves the version once, verifies the artifact as proxies will, and
    /// reports what it may do that the previous one could not.
    ///
    /// # Errors
    /// [`ApiProblem`] when there is no such version, a policy or a guard refuses, or writing fails.
    pub async fn pin(
        &self,
        holder: &AuthorizedCaller,
        request: &PinRequest,
    ) -> Result<PinResult, ApiProblem> {
        let filter = name(&request.filter)?;
        let digest = match (&request.version, &request.digest) {
            (Some(version), None) => self.resolve(&filter, &self::version(version)?).await?,
            (None, Some(digest)) => known_digest(&self.state(), &filter, digest)?,
            _ => {
                return Err(bad(
                    "a pin needs exactly one of version and digest",
                    "name one of them",
                ));
            }
        };
        let ask = CheckedPinRequest {
            service: request.service.clone(),
            filter,
            digest,
            allow_older: request.allow_older,
            rollback: false,
            confirm: request.confirm,
            dry_run: request.dry_run,
        };
        self.pin_digest(holder, ask).await
    }

    /// Restores the previous pin.
    ///
    /// # Errors
    /// [`ApiProblem`] when there is no previous pin, a policy or a guard refuses, or writing fails.
    pub async fn rollback(
        &self,
        holder: &AuthorizedCaller,
        request: &RollbackRequest,
    ) -> Result<PinResult, ApiProblem> {
        let filter = name(&request.filter)?;
        let before = self.state().rollback(&request.service, &filter);
        let before = before.map_err(|one| refused(vec![one]))?;
        let ask = CheckedPinRequest {
            service: before.service,
            filter: before.filter,
            digest: before.digest,
            allow_older: true,
            rollback: true,
            confirm: request.confirm,
            dry_run: false,
        };
        self.pin_digest(holder, ask).await
    }

    async fn pin_digest(
        &self,
        holder: &AuthorizedCaller,
        ask: CheckedPinRequest,
    ) -> Result<PinResult, ApiProblem> {
        let CheckedPinRequest { service, filter, digest, allow_older, rollback, confirm, dry_run } =
            ask;
        let (policies, before, configs) = {
            let state = self.state();
            // Checked before the policies, which know that it is revoked, but neither by whom nor why.
            state.not_revoked(&filter, &digest).map_err(|one| refused(vec![one]))?;
            // A removed pin is remembered: a wider one pinned later counts as growth.
            let before = state.pin(&service, &filter).map(|pin| pin.digest);
            let before = before.or_else(|| state.pinned_last(&service, &filter));
            let configs =
                view::configs(&state, &mut self.plans(), &service, &filter, self.now_secs());
            (self.policies(&state), before.filter(|before| *before != digest), configs)
        };
        let (verified, component) = self.admit(&filter, &digest, &policies).await?;
        let grown = self.grown(before, component, configs).await?;
        let mut guards = self.0.rules.guards;
        if !grown.is_empty() {
            guards.approvals = guards.approvals.max(self.0.rules.growth_approvals);
        }
        let pinned = director::PinRecord {
            service: service.clone(),
            filter: filter.clone(),
            version: verified.version,
            digest,
            allow_older,
            rollback,
        };
        let change = Change::Pin(pinned);
        let subject = change.subject().to_string();
        let needs = RequiredRights::of_services([service.as_str()]);
        holder.must_hold(Verb::Operate, &needs)?;
        self.takes(&change).await?;
        let decide = |state: &State| {
            holder.must_hold(Verb::Operate, &needs)?;
            let by = ChangeCaller { holder, needs: &needs, guards: &guards, confirm };
            let diff =
                self.permitted(state, &change, &by).map_err(|problem| grew(problem, &grown))?;
            let there = state
                .pins()
                .any(|pin| pin.service == service && pin.filter == filter && pin.digest == digest);
            let bodies = if dry_run || there { Vec::new() } else { bodies(change.clone())? };
            Ok((bodies, view::diff::diff(diff, Default::default(), holder)))
        };
        let done = self.commit(holder.actor(), decide).await;
        let (revision, diff) =
            self.settled(holder.actor(), done, proposed(&change, &needs)).await?;
        let state = self.state();
        let pin = state.pins().find(|pin| pin.service == service && pin.filter == filter);
        let pin = pin.filter(|_| !dry_run).map(view::pin);
        let signers = verified.signers.into_iter().map(|signer| signer.0).collect();
        Ok(PinResult { revision, subject, pin, diff, grown, signers })
    }

    /// Removes a pin.
    ///
    /// # Errors
    /// [`ApiProblem`] when there is none, a guard refuses, or writing fails.
    pub async fn unpin(
        &self,
        holder: &AuthorizedCaller,
        request: &UnpinRequest,
    ) -> Result<PinResult, ApiProblem> {
        let filter = name(&request.filter)?;
        let unpinned = director::UnpinRecord { service: request.service.clone(), filter };
        let change = Change::Unpin(unpinned);
        let guards = self.0.rules.guards;
        let needs = RequiredRights::of_services([request.service.as_str()]);
        holder.must_hold(Verb::Operate, &needs)?;
        // Without a pin of its own, a service runs what is pinned for all.
        self.takes(&change).await?;
        let done = self
            .commit(holder.actor(), |state| {
                holder.must_hold(Verb::Operate, &needs)?;
                let by = ChangeCaller {
                    holder,
                    needs: &needs,
                    guards: &guards,
                    confirm: request.confirm,
                };
                let diff = self.permitted(state, &change, &by)?;
                Ok((bodies(change.clone())?, diff))
            })
            .await;
        let (revision, diff) =
            self.settled(holder.actor(), done, proposed(&change, &needs)).await?;
        Ok(PinResult {
            revision,
            subject: change.subject().to_string(),
            pin: None,
            diff: view::diff::diff(diff, Default::default(), holder),
            grown: Vec::new(),
            signers: Vec::new(),
        })
    }

    /// Assigns every slot of a service, or of all services, again with higher versions than proxies have
    /// seen.
    ///
    /// # Errors
    /// [`ApiProblem`] when there is no such service, the numbers of epochs are used up, or writing fails.
    pub async fn reassign(
        &self,
        holder: &AuthorizedCaller,
        request: &ReassignRequest,
    ) -> Result<ReassignResult, ApiProblem> {
        holder
            .must_hold(Verb::Operate, &RequiredRights::of_services([request.service.as_str()]))?;
        self.reassign_by(holder.actor(), request).await
    }

    /// The same for the registry itself, or for a caller whose right was checked.
    pub(crate) async fn reassign_by(
        &self,
        actor: &str,
        request: &ReassignRequest,
    ) -> Result<ReassignResult, ApiProblem> {
        let (service, reason) = (request.service.as_str(), request.reason.as_str());
        let (revision, epoch) = self
            .commit(actor, |state| {
                let body = state.reassign(service, reason).map_err(|one| refused(vec![one]))?;
                let epoch = match &body {
                    Body::Reassigned(reassigned) => reassigned.epoch,
                    _ => 0,
                };
                Ok((vec![body], epoch))
            })
            .await?;
        let nodes = self.state().nodes().into_iter();
        let proxies = nodes.filter(|node| service == "*" || node.key() == service).count();
        Ok(ReassignResult { revision, service: service.to_owned(), epoch, proxies })
    }

    /// Approves a change that another person proposed.
    ///
    /// # Errors
    /// [`ApiProblem`] when the subject is not a digest, there is no such proposal, the caller lacks a right to
    /// something that it touches, or writing fails.
    pub async fn approve(
        &self,
        holder: &AuthorizedCaller,
        request: &ApproveRequest,
    ) -> Result<ApprovalResult, ApiProblem> {
        let (subject, actor) = (digest(&request.subject)?, holder.actor());
        // Who made which token is known here as it is written by now, also by other replicas.
        self.0.store.catch_up().await.map_err(|error| journal(&error))?;
        let body = Body::from(director::ApprovalRecord { subject });
        let (revision, ()) = self
            .commit(actor, |state| {
                let needs = state.proposed(&subject).ok_or_else(|| {
                    missing(
                        format!("nobody proposed {subject}"),
                        "first request the change: the refusal names the digest to approve",
                    )
                })?;
                if !holder.holds_all(Verb::Approve, needs) {
                    let title = format!("{actor} may not approve {subject}: it touches more than {actor} may approve");
                    let remedy = "let somebody approve it who has `approve` for everything that the change touches";
                    return Err(ApiProblem { remedy: Some(remedy.to_owned()), ..problem(403, "denied", title) });
                }
                if asked_alone(&self.0.store, state, &subject, actor) {
                    return Err(refused(vec![TrustRefusal {
                        code: director::code::APPROVAL_OWN,
                        rule: format!(
                            "{actor}, or whoever {actor} gave a token, asked for this change, and whoever asks does not count"
                        ),
                        set_by: "the policy about approvals".to_owned(),
                        remedy: format!("let somebody else run `tamis approve {subject}`"),
                    }]));
                }
                Ok((vec![body.clone()], ()))
            })
            .await?;
        Ok(ApprovalResult { revision, subject: subject.to_string(), actor: actor.to_owned() })
    }

    /// Whether the filter to be pinned would run in every place: with the grant there, and with the
    /// configuration.
    pub(crate) async fn takes(&self, change: &Change) -> Result<(), ApiProblem> {
        let planned = {
            let state = self.state();
            self.plans().plan(&state, change)
        };
        // A change that cannot be planned is refused, with its reason, where it is made.
        let Ok(diff) = planned else { return Ok(()) };
        let mut refusals = Vec::new();
        for (plan, judged) in self.judged(&diff.fresh).await? {
            let (at, version) = (&plan.attachment, &plan.version);
            refusals.extend(judged.refused.map(|one| TrustRefusal {
                rule: format!("{} {version} would not run in {at}: {}", plan.filter, one.rule),
                ..one
            }));
            let routes = judged.left_out.iter().map(|one| {
                (format!("{} {} {}", one.kind, one.route, one.pointer), one.message.clone())
            });
            let faults = judged.faults.into_iter().chain(routes);
            for (pointer, message) in faults {
                refusals.push(TrustRefusal {
                    code: "filter.configure",
                    rule: format!(
                        "{} {version} refuses its configuration in {at}: {pointer}: {message}",
                        plan.filter
                    ),
                    set_by: "the filter itself".to_owned(),
                    remedy: "change the configuration first, or pin a version that takes it"
                        .to_owned(),
                });
            }
        }
        if refusals.is_empty() { Ok(()) } else { Err(refused(refusals)) }
    }

    /// Refuses documents with problems, each with its place, unless the caller confirms what would be left
    /// out.
    async fn consented(
        &self,
        holder: &AuthorizedCaller,
        request: &ApplyRequest,
    ) -> Result<(), ApiProblem> {
        let (change, planned) = {
            let state = self.state();
            let (applied, needs) = self.read(holder, request, &state)?;
            // A caller without the right must not learn the problems.
            holder.must_hold(Verb::Operate, &needs)?;
            let change = Change::Apply(applied);
            let planned = self.plans().plan(&state, &change);
            (change, planned)
        };
        let Ok(diff) = planned else { return Ok(()) };
        let judged = self.judged(&diff.fresh).await?;
        let mut wrong = wrong(&self.state(), &change, &diff, judged);
        wrong.retain(|one| view::diff::is_for(holder, one));
        if wrong.is_empty() {
            return Ok(());
        }
        let remedy = "correct them, or confirm that the affected parts are left out".to_owned();
        Err(ApiProblem { remedy: Some(remedy), ..documents(&wrong) })
    }

    fn weigh(
        &self,
        state: &State,
        change: &Change,
        by: &ChangeCaller<'_>,
    ) -> Result<WeighedChange, ApiProblem> {
        let diff = self.plans().plan(state, change).map_err(|error| plan(&error))?;
        let consent = if by.confirm { Consent::Given } else { Consent::NotGiven };
        let actor = by.holder.actor();
        let agree = may_agree(&self.0.store, state, &change.subject(), &by.needs.kept(), actor);
        let asked = ChangeRequest { actor, now_ms: self.now_ms(), consent, may_agree: &agree };
        let refused =
            director::guard(state, change, &diff, by.guards, &asked).err().unwrap_or_default();
        Ok(WeighedChange { diff, refused })
    }

    /// The effect of a change, if nothing refuses it.
    fn permitted(
        &self,
        state: &State,
        change: &Change,
        by: &ChangeCaller<'_>,
    ) -> Result<director::ChangeEffect, ApiProblem> {
        let weighed = self.weigh(state, change, by)?;
        if weighed.refused.is_empty() {
            return Ok(weighed.diff);
        }
        let subject = change.subject().to_string();
        Err(ApiProblem { subject: Some(subject), ..refused(weighed.refused) })
    }
}

/// The caller of a change, its needs, and its guards.
struct ChangeCaller<'a> {
    holder: &'a AuthorizedCaller,
    needs: &'a RequiredRights,
    guards: &'a Guards,
    confirm: bool,
}

fn proposed(change: &Change, needs: &RequiredRights) -> director::ProposalRecord {
    director::ProposalRecord { subject: change.subject(), needs: needs.kept() }
}

fn plan(error: &PlanError) -> ApiProblem {
    match error {
        PlanError::Documents(problems) => documents(problems),
        error => bad(error.to_string(), "correct it and ask again"),
    }
}

/// The problems of a change of documents: those found when combining them, and those that the filters
/// report for their configurations.
fn wrong(
    state: &State,
    change: &Change,
    diff: &director::ChangeEffect,
    judged: Vec<(Arc<FilterPlan>, ValidationResult)>,
) -> Vec<tamis_resources::Problem> {
    // A filter is pinned after its attachment exists, so a missing pin is not a fault of the documents.
    let later = |code: &str| code == "pin.missing";
    let folded = diff.problems.iter().filter(|one| !later(&one.code)).cloned();
    let mut wrong: Vec<tamis_resources::Problem> = folded.collect();
    for (plan, judged) in judged {
        let key = format!("FilterAttachment/{}", plan.attachment);
        if let Some(one) = judged.refused {
            let message = format!("{}; {}", one.rule, one.remedy);
            wrong.extend(placed(state, change, &key, one.code, "/spec/filter", message));
        }
        for (pointer, message) in judged.faults {
            let message = format!("{} refuses this: {message}", plan.filter);
            let pointer = plan.config_place(&pointer);
            let found = placed(state, change, &key, "filter.configure", &pointer, message);
            wrong.extend(found.map(|mut found| {
                found.help = Some(CONFIG_REMEDY.to_owned());
                found
            }));
        }
        for one in judged.left_out {
            let message = format!("{} does not accept this: {}", plan.filter, one.message);
            let key = format!("{}/{}", one.kind, one.route);
            wrong.extend(placed(state, change, &key, "route.refused", &one.pointer, message));
        }
    }
    wrong
}

/// A problem at its place in a document of the change, or in force.
fn placed(
    state: &State,
    change: &Change,
    key: &str,
    code: &str,
    pointer: &str,
    message: String,
) -> Option<tamis_resources::Problem> {
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
fn refuses(problem: &tamis_resources::Problem) -> TrustRefusal {
    let place = &problem.place;
    TrustRefusal {
        code: "document.problem",
        rule: format!("{}:{}:{}: {}", place.source, place.line, place.column, problem.message),
        set_by: "the rule that nothing is left out unnoticed".to_owned(),
        remedy: problem.help.clone().unwrap_or_else(|| "correct it, or confirm".to_owned()),
    }
}

/// A request for a pin.
struct CheckedPinRequest {
    service: String,
    filter: Name,
    digest: Digest,
    allow_older: bool,
    rollback: bool,
    confirm: bool,
    dry_run: bool,
}

/// Adds why an approval is required, if it is only because of growth.
pub(crate) fn grew(mut problem: ApiProblem, grown: &[GrowthView]) -> ApiProblem {
    for refusal in &mut problem.refusals {
        refusal.rule = with_growth(&refusal.code, std::mem::take(&mut refusal.rule), grown);
    }
    problem
}

fn grew_one(refused: TrustRefusal, grown: &[GrowthView]) -> TrustRefusal {
    TrustRefusal { rule: with_growth(refused.code, refused.rule, grown), ..refused }
}

fn with_growth(code: &str, rule: String, grown: &[GrowthView]) -> String {
    if code != director::code::APPROVALS || grown.is_empty() {
        return rule;
    }
    let all: Vec<String> = grown.iter().map(|one| format!("{} {}", one.kind, one.what)).collect();
    format!("{rule}; it may do more than the one before: {}", all.join(", "))
}

fn bodies(change: Change) -> Result<Vec<Body>, ApiProblem> {
    change.bodies().map_err(|error| body(&error))
}

pub(crate) fn name(text: &str) -> Result<Name, ApiProblem> {
    text.parse().map_err(|error| bad(format!("{error}"), "name the filter as namespace/name"))
}

pub(crate) fn version(text: &str) -> Result<Version, ApiProblem> {
    text.parse().map_err(|error| bad(format!("{error}"), "write a version such as 1.4.2"))
}

/// A digest of a filter: whole, or at least eight of its first digits, as `tamis pins` prints them, if only
/// one digest that was ever pinned or rolled out begins with them.
pub(crate) fn known_digest(state: &State, filter: &Name, text: &str) -> Result<Digest, ApiProblem> {
    if let Ok(digest) = text.parse() {
        return Ok(digest);
    }
    let digits = text.trim_end_matches('…');
    let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
    if digits.len() < MIN_DIGITS || !digits.bytes().all(|one| one.is_ascii_hexdigit()) {
        return digest(text);
    }
    let begins = |digest: &&Digest| digest.hex().starts_with(&digits.to_ascii_lowercase());
    let known = state.known_digests(filter);
    let found: Vec<&Digest> = known.iter().filter(begins).collect();
    match found.as_slice() {
        [one] => Ok(**one),
        [] => Err(bad(
            format!("no digest of {filter} that was ever pinned begins with {digits}"),
            "copy it whole: sha256: and 64 digits, as `--output json` prints it",
        )),
        many => Err(bad(
            format!("{} known digests of {filter} begin with {digits}", many.len()),
            "write more of its digits",
        )),
    }
}

pub(crate) fn digest(text: &str) -> Result<Digest, ApiProblem> {
    let error = || bad("a digest is sha256: and 64 hexadecimal digits", "copy it whole");
    text.parse().map_err(|_| error())
}

/// The error for a missing thing.
pub(crate) fn unknown(what: &str) -> ApiProblem {
    problem(404, "not-found", format!("there is no {what}"))
}

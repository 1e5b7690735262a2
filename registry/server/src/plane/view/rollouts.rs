//! Rollouts: start, move, view.

use tamis_api::{
    ApiProblem, DifferenceView, GrowthView, MoveRequest, OnBreach, RolloutMove, RolloutRequest,
    RolloutSide, RolloutView, Wave,
};
use tamis_director::{
    self as director, ChangeRequest, Consent, Event, Judgement, RequiredRights, Rollout,
    RolloutTerms, State,
};
use tamis_oci::Verb;
use tamis_sync::CallCounts;
use tamis_trust::{Digest, Name, Version};

use crate::plane::change::{AttemptedChange, Attempts, FurtherCheck, agreed, name_capabilities};
use crate::plane::control::Control;
use crate::plane::control::artifacts::WholeArtifact;
use crate::plane::control::commit::WriteTurn;
use crate::plane::control::compute_turns::ComputingPlace;
use crate::plane::parse::{known_digest, name, version};
use crate::plane::problem::{bad, missing, refused};
use crate::plane::rights::{AuthorizedCaller, may_agree};

/// A rollout that somebody asks for, with its candidate.
struct AskedRollout<'a> {
    request: &'a RolloutRequest,
    filter: Name,
    needs: RequiredRights,
    artifact: WholeArtifact,
}

/// What was found about a rollout. It holds as long as nothing else is decided.
struct RolloutCheck {
    /// What the state had decided when it was found.
    decided: u64,
    rollout: Rollout,
    /// What its candidate may do that those before could not.
    added: Vec<GrowthView>,
}

/// What became of the attempt to start a rollout.
enum RolloutStart {
    /// Something else was decided since it was checked.
    Overtaken,
    /// It would look like this.
    Preview(Box<RolloutView>),
    Begun,
}

/// Refusals that are listed individually.
const SHOWN: usize = 10;

impl Control {
    /// Starts a rollout: resolves its version once and verifies the candidate as proxies will.
    ///
    /// # Errors
    /// [`ApiProblem`] when it is invalid, a policy or a rule of rollouts refuses, or writing fails.
    pub async fn start_rollout(
        &self,
        holder: &AuthorizedCaller,
        request: &RolloutRequest,
    ) -> Result<RolloutView, ApiProblem> {
        let filter = name(&request.filter)?;
        self.must_know(holder, &filter)?;
        names_own(holder, request)?;
        let needs = RequiredRights::of_services(request.services.iter().map(String::as_str));
        holder.must_hold(Verb::Operate, &needs)?;
        let to = self.candidate(&filter, request).await?;
        self.state().not_revoked(&filter, &to).map_err(|one| refused(vec![one]))?;
        // Read once, and before anybody waits for this change.
        let artifact = self.stored_artifact(holder, &filter, &to).await?;
        let asked = AskedRollout { request, filter, needs, artifact };
        let starting = StartAttempt { control: self, holder, asked: &asked };
        Attempts::new(holder).run(self, &starting).await
    }

    /// What a rollout is about, on the state of now.
    async fn check_rollout(
        &self,
        AskedRollout { request, filter, artifact, .. }: &AskedRollout<'_>,
        place: ComputingPlace<'_>,
    ) -> Result<RolloutCheck, ApiProblem> {
        let (decided, to) = (self.state().decided(), artifact.digest);
        self.state().not_revoked(filter, &to).map_err(|one| refused(vec![one]))?;
        let from = match &request.from {
            Some(from) => known_digest(&self.state(), filter, from)?,
            None => pinned_now(&self.state(), &request.services, filter)?,
        };
        if let Some(revocation) = self.state().revoked_digests().get(&to) {
            return Err(refused(vec![director::revoked(filter, &to, revocation)]));
        }
        let verified = self.verify_artifact(filter, artifact).await?;
        let spec = spec(request, filter.clone(), from, to, verified.version);
        let rollout =
            Rollout::try_from(spec).map_err(|error| bad(error.rule.clone(), error.remedy))?;
        // Before anything is computed for as many services as it names.
        self.state().may_start(&rollout).map_err(|one| refused(vec![one]))?;
        // What the candidate refuses where the rollout ends, no step of the rollout serves.
        let planned = self.planned_ends(place, &rollout).await?;
        self.check_configurations(place, &planned, Some(artifact)).await?;
        let added = self.rollout_growth(place, &rollout, (artifact.clone(), &planned)).await?;
        Ok(RolloutCheck { decided, rollout, added })
    }

    /// Starts what was checked; `None`: something else was decided meanwhile.
    async fn decide_rollout(
        &self,
        holder: &AuthorizedCaller,
        AskedRollout { request, needs, .. }: &AskedRollout<'_>,
        RolloutCheck { decided, rollout, added }: RolloutCheck,
        turn: WriteTurn<'_>,
    ) -> Result<Option<RolloutView>, ApiProblem> {
        let guards = self.0.rules.guards_for(&added);
        let proposal = director::ProposalRecord { subject: rollout.subject(), needs: needs.kept() };
        let actor = holder.actor();
        let done = self.commit_or_propose(turn, holder, &proposal, |state| {
            holder.must_hold(Verb::Operate, needs)?;
            if state.decided() != decided {
                return Ok((Vec::new(), RolloutStart::Overtaken));
            }
            let (store, subject) = (&self.0.store, rollout.subject());
            let agree = may_agree(store, state, &subject, &proposal.needs, actor);
            let (now_ms, consent) = (self.now_ms(), Consent::Given);
            let asked = ChangeRequest { actor, now_ms, consent, may_agree: &agree };
            let guarded = director::guard_rollout(state, &rollout, &guards, &asked);
            if request.dry_run {
                let preview = preview(state, &rollout, now_ms)?;
                return Ok((Vec::new(), RolloutStart::Preview(Box::new(preview))));
            }
            guarded.map_err(|one| {
                let subject = Some(rollout.subject().to_string());
                name_capabilities(ApiProblem { subject, ..refused(vec![one]) }, &added)
            })?;
            let started = state.start(rollout.clone(), agreed(&added));
            let body = started.map_err(|one| refused(vec![one]))?;
            Ok((vec![body], RolloutStart::Begun))
        });
        let (_, begun) = done.await?;
        Ok(match begun {
            RolloutStart::Overtaken => None,
            RolloutStart::Preview(preview) => Some(*preview),
            RolloutStart::Begun => Some(self.rollout(&request.name)?),
        })
    }

    /// The digest that a request wants to roll out.
    async fn candidate(
        &self,
        filter: &Name,
        request: &RolloutRequest,
    ) -> Result<Digest, ApiProblem> {
        match (&request.version, &request.digest) {
            (Some(version), None) => self.resolve(filter, &self::version(version)?).await,
            (None, Some(digest)) => known_digest(&self.state(), filter, digest),
            _ => Err(bad("a rollout needs exactly one of version and digest", "name one of them")),
        }
    }

    /// Moves a rollout.
    ///
    /// # Errors
    /// [`ApiProblem`] when no rollout has that name, its stage does not allow the move, or writing fails.
    pub async fn move_rollout_by(
        &self,
        holder: &AuthorizedCaller,
        name: &str,
        request: &MoveRequest,
    ) -> Result<RolloutView, ApiProblem> {
        let actor = holder.actor();
        let event = match request.action {
            RolloutMove::Pause => Event::Pause,
            RolloutMove::Resume => Event::Resume,
            RolloutMove::Advance => Event::Advance,
            RolloutMove::Abort => Event::Abort,
            RolloutMove::Kill => Event::Kill,
        };
        let why = match request.why.as_str() {
            "" => format!("{actor} asked for it"),
            why => format!("{actor}: {why}"),
        };
        self.rollout(name)?;
        let attempts = match event {
            // What it moves may do harm now.
            Event::Abort | Event::Kill => Attempts::urgent(holder),
            _ => Attempts::new(holder),
        };
        let moving = MoveAttempt { control: self, holder, name, event, why: &why };
        attempts.run(self, &moving).await
    }

    /// A rollout.
    ///
    /// # Errors
    /// [`ApiProblem`] when no rollout has that name.
    pub fn rollout(&self, name: &str) -> Result<RolloutView, ApiProblem> {
        let state = self.state();
        let found = state.rollouts().get(name);
        found.map(|one| view(&state, one, self.now_ms())).ok_or_else(nameless)
    }

    /// All rollouts, including ended ones, by name.
    #[must_use]
    pub fn rollouts(&self) -> Vec<RolloutView> {
        let state = self.state();
        state.rollouts().values().map(|one| view(&state, one, self.now_ms())).collect()
    }
}

/// The start of a rollout as `attempts` makes it.
struct StartAttempt<'a> {
    control: &'a Control,
    holder: &'a AuthorizedCaller,
    asked: &'a AskedRollout<'a>,
}

impl AttemptedChange for StartAttempt<'_> {
    type Check = RolloutCheck;
    type Done = RolloutView;

    async fn check(&self, place: ComputingPlace<'_>) -> Result<RolloutCheck, ApiProblem> {
        self.control.check_rollout(self.asked, place).await
    }

    async fn decide(
        &self,
        check: RolloutCheck,
        turn: WriteTurn<'_>,
    ) -> Result<Option<RolloutView>, ApiProblem> {
        self.control.decide_rollout(self.holder, self.asked, check, turn).await
    }
}

/// A move of a rollout as `attempts` makes it.
struct MoveAttempt<'a> {
    control: &'a Control,
    holder: &'a AuthorizedCaller,
    name: &'a str,
    event: Event,
    why: &'a str,
}

impl AttemptedChange for MoveAttempt<'_> {
    type Check = Option<FurtherCheck>;
    type Done = RolloutView;

    /// Whatever the gates report, what nobody agreed to goes no further.
    async fn check(&self, place: ComputingPlace<'_>) -> Result<Option<FurtherCheck>, ApiProblem> {
        match self.event {
            Event::Advance => self.control.check_further(place, self.name).await,
            _ => Ok(None),
        }
    }

    async fn decide(
        &self,
        check: Option<FurtherCheck>,
        turn: WriteTurn<'_>,
    ) -> Result<Option<RolloutView>, ApiProblem> {
        let Self { control, holder, name, event, why } = *self;
        let step = |state: &State| {
            let body = state.step(name, event, why).map_err(|one| refused(vec![one]))?;
            match &check {
                Some(check) if state.decided() != check.decided => Ok((Vec::new(), false)),
                Some(check) if !check.refusals.is_empty() => Err(refused(check.refusals.clone())),
                _ => Ok((vec![body], true)),
            }
        };
        let (_, done) = control.commit_in_turn(turn, holder, step).await?;
        done.then(|| control.rollout(name)).transpose()
    }
}

/// Refuses a name that may be that of a rollout of others: all rollouts have one set of names, and whether others have one is
/// not for everybody to know.
fn names_own(holder: &AuthorizedCaller, request: &RolloutRequest) -> Result<(), ApiProblem> {
    if holder.may_with(Verb::Operate, "*") {
        return Ok(());
    }
    let mut spaces = request.services.iter().filter_map(|service| Some(service.split_once('/')?.0));
    // A namespace has no dot in its name.
    let is_own = |space| request.name.strip_prefix(space).is_some_and(|rest| rest.starts_with('.'));
    if spaces.clone().any(is_own) {
        return Ok(());
    }
    let space = spaces.next().unwrap_or("NAMESPACE");
    let title = format!(
        "the name of a rollout in {space} must begin with `{space}.`, as all namespaces share the names of rollouts"
    );
    Err(bad(
        title,
        "name it like `NAMESPACE.FILTER-VERSION`, after the namespace of one of its services",
    ))
}

fn nameless() -> ApiProblem {
    missing("there is no rollout of that name", "`tamis rollout status` lists all")
}

/// The view of a rollout if it started now.
fn preview(state: &State, rollout: &Rollout, now_ms: u64) -> Result<RolloutView, ApiProblem> {
    let mut then = state.clone();
    let body = state.start(rollout.clone(), Vec::new()).map_err(|one| refused(vec![one]))?;
    let written = body.to_body().map_err(|error| crate::plane::problem::body(&error))?;
    then.apply(state.head().saturating_add(1), now_ms, "nobody", body.kind(), &written);
    let found = then.rollouts().get(rollout.name());
    found.map(|one| view(&then, one, now_ms)).ok_or_else(nameless)
}

/// The one digest that all the services have pinned.
fn pinned_now(state: &State, services: &[String], filter: &Name) -> Result<Digest, ApiProblem> {
    let all = services.iter().any(|service| service == "*");
    let mut digests: Vec<Digest> = if all {
        state.pins().filter(|pin| pin.filter == *filter).map(|pin| pin.digest).collect()
    } else {
        let pins = services.iter().filter_map(|service| state.pin(service, filter));
        pins.map(|pin| pin.digest).collect()
    };
    digests.sort_by_key(Digest::to_string);
    digests.dedup();
    match digests.as_slice() {
        [one] => Ok(*one),
        [] => Err(bad(
            format!("no service of the rollout has a pin of {filter}"),
            "pin a version first",
        )),
        many => Err(bad(
            format!("the services have {} digests of {filter} pinned", many.len()),
            "name the one to replace with `from`",
        )),
    }
}

fn spec(
    request: &RolloutRequest,
    filter: Name,
    from: Digest,
    to: Digest,
    version: Version,
) -> RolloutTerms {
    let gates = &request.gates;
    let waves = request.waves.iter();
    RolloutTerms {
        name: request.name.clone(),
        filter,
        from,
        to,
        version,
        services: request.services.clone(),
        waves: waves
            .map(|wave| director::WaveSpec { percent: wave.percent, bake_ms: wave.bake_ms })
            .collect(),
        gates: director::GateSpec {
            min_exchanges: gates.min_exchanges.unwrap_or(100),
            max_trap_rate: gates.max_trap_rate,
            max_5xx_delta: gates.max_5xx_delta,
            max_denial_delta: gates.max_denial_delta,
            max_added_p99_ms: gates.max_added_p99_ms,
            max_refusals: gates.max_refusals,
        },
        shadow: request.shadow.map(|shadow| director::ShadowSpec {
            min_samples: shadow.min_samples,
            max_differences: shadow.max_differences,
        }),
        on_breach: match request.on_breach {
            OnBreach::Return => director::BreachAction::Return,
            OnBreach::Hold => director::BreachAction::Hold,
        },
        progress_deadline_ms: request.progress_deadline_ms,
    }
}

fn view(state: &State, one: &director::RolloutState, now_ms: u64) -> RolloutView {
    let spec = one.rollout.spec();
    let judgement = one.step().and_then(|_| state.judge(&spec.name, now_ms));
    let judgement = judgement.map(|judgement| match judgement {
        Judgement::Baking { why } => format!("baking: {why}"),
        Judgement::Passed { why } => format!("passed: {why}"),
        Judgement::Stalled { why } => format!("stalled: {why}"),
        Judgement::Breached { why, .. } => format!("breached: {why}"),
    });
    let cohort = state.cohort(&spec.name).unwrap_or(director::Cohort { moved: 0, rest: 0 });
    let tally = &one.tally;
    let differences = tally.differences.causes.iter().map(|(cause, it)| DifferenceView {
        cause: cause.clone(),
        count: it.count,
        examples: it.examples.clone(),
    });
    let nodes = if one.step().is_some() { cohort.moved + cohort.rest } else { one.concerned };
    let waves = 0..spec.waves.len();
    RolloutView {
        proxies: waves
            .map(|at| one.rollout.share(director::RolloutStep::Wave(at), nodes))
            .collect(),
        name: spec.name.clone(),
        filter: spec.filter.to_string(),
        from: spec.from.to_string(),
        to: spec.to.to_string(),
        version: spec.version.to_string(),
        services: spec.services.clone(),
        waves: spec
            .waves
            .iter()
            .map(|wave| Wave { percent: wave.percent, bake_ms: wave.bake_ms })
            .collect(),
        stage: one.stage.to_string(),
        ended: one.step().is_none(),
        why: one.why.clone(),
        judgement,
        moved: cohort.moved,
        rest: cohort.rest,
        candidate: RolloutSide {
            refusals: tally.refusals.len(),
            refused: tally
                .refusals
                .iter()
                .take(SHOWN)
                .map(|(place, why)| format!("{place}: {why}"))
                .collect(),
            ..side(&tally.candidate)
        },
        current: side(&tally.current),
        samples: tally.differences.samples,
        differences: differences.collect(),
        started_ms: one.started.time_ms,
        started_by: one.started.actor.clone(),
        began_ms: one.began_ms,
    }
}

fn side(counts: &CallCounts) -> RolloutSide {
    RolloutSide {
        exchanges: counts.exchanges,
        traps: counts.traps,
        server_errors: counts.server_errors,
        denials: counts.denials,
        added_p99_ms: counts.added.p99_ms(),
        refusals: 0,
        refused: Vec::new(),
    }
}

//! The way of a pin: this file orders its steps, and no other does.

use std::collections::BTreeSet;

use tamis_api::{ApiProblem, GrowthView, PinRequest, PinResult, RollbackRequest, UnpinRequest};
use tamis_director::{Change, PinRecord, RequiredRights, ServicePin, State, UnpinRecord};
use tamis_oci::Verb;
use tamis_trust::{Digest, Name, Version};

use super::attempts::{AttemptedChange, Attempts};
use super::guards::{ChangeCaller, name_capabilities};
use super::planned::PlannedChange;
use super::propose::proposal;
use super::records;
use crate::plane::control::Control;
use crate::plane::control::artifacts::WholeArtifact;
use crate::plane::control::commit::WriteTurn;
use crate::plane::control::compute_turns::ComputingPlace;
use crate::plane::parse::{known_digest, name, version};
use crate::plane::problem::{bad, missing, refused};
use crate::plane::rights::AuthorizedCaller;
use crate::plane::view;

/// What was found about a pin. It holds as long as nothing else is decided.
struct PinCheck {
    /// What the state had decided when it was found.
    decided: u64,
    change: Change,
    signers: Vec<String>,
    planned: PlannedChange,
    /// What it may do that those before could not.
    added: Vec<GrowthView>,
}

/// What was found about the removal of a pin.
struct UnpinCheck {
    /// What the state had decided when it was found.
    decided: u64,
    change: Change,
    planned: PlannedChange,
    /// What runs in its place may do that it could not.
    added: Vec<GrowthView>,
}

/// A request for a pin whose digest is known.
struct ResolvedPin {
    service: String,
    filter: Name,
    digest: Digest,
    allow_older: bool,
    rollback: bool,
    confirm: bool,
    dry_run: bool,
}

impl Control {
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
        self.must_know(holder, &filter)?;
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
        let pin = ResolvedPin {
            service: request.service.clone(),
            filter,
            digest,
            allow_older: request.allow_older,
            rollback: false,
            confirm: request.confirm,
            dry_run: request.dry_run,
        };
        self.pin_resolved(holder, pin).await
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
        let pin = ResolvedPin {
            service: before.service,
            filter: before.filter,
            digest: before.digest,
            allow_older: true,
            rollback: true,
            confirm: request.confirm,
            dry_run: false,
        };
        self.pin_resolved(holder, pin).await
    }

    async fn pin_resolved(
        &self,
        holder: &AuthorizedCaller,
        pin: ResolvedPin,
    ) -> Result<PinResult, ApiProblem> {
        // Checked before the artifact is read, and by the policies, which know that it is revoked, but neither by whom nor why.
        self.must_be_pinnable(&pin)?;
        // Read once, for all who judge it, and before anybody waits for this change.
        let artifact = self.stored_artifact(holder, &pin.filter, &pin.digest).await?;
        let needs = RequiredRights::of_services([pin.service.as_str()]);
        let pinning =
            PinAttempt { control: self, holder, pin: &pin, artifact: &artifact, needs: &needs };
        Attempts::new(holder).run(self, &pinning).await
    }

    /// Pins what was checked; `None`: something else was decided meanwhile.
    async fn decide_pin(
        &self,
        holder: &AuthorizedCaller,
        (pin, needs): (&ResolvedPin, &RequiredRights),
        PinCheck { decided, change, signers, planned, added }: PinCheck,
        turn: WriteTurn<'_>,
    ) -> Result<Option<PinResult>, ApiProblem> {
        let guards = self.0.rules.guards_for(&added);
        let caller = ChangeCaller { holder, needs, guards: &guards, confirm: pin.confirm };
        let decide = |state: &State| {
            holder.must_hold(Verb::Operate, needs)?;
            // All checks were made against the state at `decided`.
            if state.decided() != decided {
                return Ok((Vec::new(), None));
            }
            let effect = self
                .effect_or_refusal(state, &change, &caller, &planned)
                .map_err(|problem| name_capabilities(problem, &added))?;
            let nothing = pin.dry_run || pin.is_in_force(state);
            let records = if nothing { Vec::new() } else { records(change.clone())? };
            Ok((records, Some(view::diff::diff(effect, &change, holder))))
        };
        let proposal = proposal(&change, needs);
        let (revision, diff) = self.commit_or_propose(turn, holder, &proposal, decide).await?;
        let Some(diff) = diff else { return Ok(None) };
        let state = self.state();
        let current = pin.current(&state).filter(|_| !pin.dry_run);
        Ok(Some(PinResult {
            revision,
            subject: change.subject().to_string(),
            pin: current.map(view::pin),
            diff,
            grown: added,
            signers,
        }))
    }

    /// What a pin is about, on the state of now.
    async fn check_pin(
        &self,
        holder: &AuthorizedCaller,
        (pin, artifact): (&ResolvedPin, &WholeArtifact),
        needs: &RequiredRights,
        place: ComputingPlace<'_>,
    ) -> Result<PinCheck, ApiProblem> {
        let decided = self.state().decided();
        self.must_be_pinnable(pin)?;
        let previous = self.previous_digests(pin);
        let verified = self.verify_artifact(&pin.filter, artifact).await?;
        let change = Change::Pin(pin.record(verified.version));
        holder.must_hold(Verb::Operate, needs)?;
        let at = (pin.service.as_str(), &pin.filter);
        let planned = self.planned_change(place, &change, at).await?;
        let mut added = Vec::new();
        for before in previous {
            let before = self.replaced_component(Some(before)).await?;
            let (component, configs) = (artifact.component.clone(), planned.configs.clone());
            for one in self.capabilities_added(place, before, component, configs).await? {
                if !added.contains(&one) {
                    added.push(one);
                }
            }
        }
        self.check_configurations(place, &planned, Some(artifact)).await?;
        let signers = verified.signers.into_iter().map(|signer| signer.0).collect();
        Ok(PinCheck { decided, change, signers, planned, added })
    }

    fn must_be_pinnable(&self, pin: &ResolvedPin) -> Result<(), ApiProblem> {
        // Revocations are checked before the policies, which know that a digest is revoked, but not by whom or why.
        let allowed = self.state().not_revoked(&pin.filter, &pin.digest);
        allowed.map_err(|one| refused(vec![one]))
    }

    /// The other digests that ran before: of the service, or of all that would follow a pin for every service.
    fn previous_digests(&self, pin: &ResolvedPin) -> BTreeSet<Digest> {
        let ResolvedPin { service, filter, digest, .. } = pin;
        let state = self.state();
        // A removed pin is remembered: a wider one pinned later counts as growth.
        let previous = state.pin(service, filter).map(|pin| pin.digest);
        let previous = previous.or_else(|| state.pinned_last(service, filter));
        let mut previous: BTreeSet<Digest> = previous.into_iter().collect();
        if service == "*" {
            previous.extend(state.pinned_last_of_followers(filter));
        }
        previous.remove(digest);
        previous
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
        let needs = RequiredRights::of_services([request.service.as_str()]);
        let unpinning = UnpinAttempt { control: self, holder, request, needs: &needs };
        Attempts::new(holder).run(self, &unpinning).await
    }

    /// What the removal of a pin is about, on the state of now.
    async fn check_unpin(
        &self,
        holder: &AuthorizedCaller,
        request: &UnpinRequest,
        needs: &RequiredRights,
        place: ComputingPlace<'_>,
    ) -> Result<UnpinCheck, ApiProblem> {
        let decided = self.state().decided();
        let filter = name(&request.filter)?;
        let at = (request.service.as_str(), &filter);
        let digests = unpinned(&self.state(), at);
        let record = UnpinRecord { service: request.service.clone(), filter: filter.clone() };
        let change = Change::Unpin(record);
        holder.must_hold(Verb::Operate, needs)?;
        if digests.0.is_none() {
            let title = format!("{filter} has no pin for {}", request.service);
            return Err(missing(title, "`tamis pins` lists the pins in force"));
        }
        // Without a pin of its own, a service runs what is pinned for all.
        let planned = self.planned_change(place, &change, at).await?;
        let wide = self.taking_its_place(digests).await?;
        let added = match &wide {
            // What is not stored runs nowhere.
            None => Vec::new(),
            Some(wide) => {
                let before = self.replaced_component(digests.0).await?;
                let (component, configs) = (wide.component.clone(), planned.configs.clone());
                self.capabilities_added(place, before, component, configs).await?
            }
        };
        self.check_configurations(place, &planned, wide.as_ref()).await?;
        Ok(UnpinCheck { decided, change, planned, added })
    }

    /// Removes a pin as it was checked; `None`: something else was decided meanwhile.
    async fn decide_unpin(
        &self,
        holder: &AuthorizedCaller,
        (request, needs): (&UnpinRequest, &RequiredRights),
        UnpinCheck { decided, change, planned, added }: UnpinCheck,
        turn: WriteTurn<'_>,
    ) -> Result<Option<PinResult>, ApiProblem> {
        let guards = self.0.rules.guards_for(&added);
        let confirm = request.confirm;
        let caller = ChangeCaller { holder, needs, guards: &guards, confirm };
        let decide = |state: &State| {
            holder.must_hold(Verb::Operate, needs)?;
            if state.decided() != decided {
                return Ok((Vec::new(), None));
            }
            let effect = self
                .effect_or_refusal(state, &change, &caller, &planned)
                .map_err(|problem| name_capabilities(problem, &added))?;
            Ok((records(change.clone())?, Some(effect)))
        };
        let proposal = proposal(&change, needs);
        let (revision, effect) = self.commit_or_propose(turn, holder, &proposal, decide).await?;
        let Some(effect) = effect else { return Ok(None) };
        Ok(Some(PinResult {
            revision,
            subject: change.subject().to_string(),
            pin: None,
            diff: view::diff::diff(effect, &change, holder),
            grown: added,
            signers: Vec::new(),
        }))
    }

    /// What runs in place of a removed pin: the pin for all services, if it has another digest.
    async fn taking_its_place(
        &self,
        (own, wide): (Option<Digest>, Option<Digest>),
    ) -> Result<Option<WholeArtifact>, ApiProblem> {
        match (own, wide) {
            (Some(own), Some(wide)) if own != wide => self.whole_artifact(&wide).await,
            _ => Ok(None),
        }
    }
}

/// A pin as `attempts` makes it.
struct PinAttempt<'a> {
    control: &'a Control,
    holder: &'a AuthorizedCaller,
    pin: &'a ResolvedPin,
    artifact: &'a WholeArtifact,
    needs: &'a RequiredRights,
}

impl AttemptedChange for PinAttempt<'_> {
    type Check = PinCheck;
    type Done = PinResult;

    async fn check(&self, place: ComputingPlace<'_>) -> Result<PinCheck, ApiProblem> {
        let Self { control, holder, pin, artifact, needs } = *self;
        control.check_pin(holder, (pin, artifact), needs, place).await
    }

    async fn decide(
        &self,
        check: PinCheck,
        turn: WriteTurn<'_>,
    ) -> Result<Option<PinResult>, ApiProblem> {
        self.control.decide_pin(self.holder, (self.pin, self.needs), check, turn).await
    }
}

/// The removal of a pin as `attempts` makes it.
struct UnpinAttempt<'a> {
    control: &'a Control,
    holder: &'a AuthorizedCaller,
    request: &'a UnpinRequest,
    needs: &'a RequiredRights,
}

impl AttemptedChange for UnpinAttempt<'_> {
    type Check = UnpinCheck;
    type Done = PinResult;

    async fn check(&self, place: ComputingPlace<'_>) -> Result<UnpinCheck, ApiProblem> {
        self.control.check_unpin(self.holder, self.request, self.needs, place).await
    }

    async fn decide(
        &self,
        check: UnpinCheck,
        turn: WriteTurn<'_>,
    ) -> Result<Option<PinResult>, ApiProblem> {
        self.control.decide_unpin(self.holder, (self.request, self.needs), check, turn).await
    }
}

/// The digests of a filter that are pinned for a service and for all.
fn unpinned(state: &State, (service, filter): (&str, &Name)) -> (Option<Digest>, Option<Digest>) {
    let of = |service: &str| {
        let pin = state.pins().find(|pin| pin.service == service && pin.filter == *filter);
        pin.map(|pin| pin.digest)
    };
    (of(service), of("*"))
}

impl ResolvedPin {
    fn record(&self, version: Version) -> PinRecord {
        PinRecord {
            service: self.service.clone(),
            filter: self.filter.clone(),
            version,
            digest: self.digest,
            allow_older: self.allow_older,
            rollback: self.rollback,
        }
    }

    /// The pin of the same filter that the service has now.
    fn current<'a>(&self, state: &'a State) -> Option<&'a ServicePin> {
        state.pins().find(|one| one.service == self.service && one.filter == self.filter)
    }

    /// Whether the service has this pin already.
    fn is_in_force(&self, state: &State) -> bool {
        self.current(state).is_some_and(|one| one.digest == self.digest)
    }
}

//! What people change.

use std::sync::Arc;
use tamis_api::{
    Applied, ApplyRequest, ApproveRequest, Approved, Grown, PinRequest, Pinned, Planned, Problem,
    ReassignRequest, Reassigned, RevokeRequest, Revoked, RollbackRequest, UnpinRequest,
};
use tamis_director::{self as director, Asked, Body, Change, Consent, Guards, PlanError, State};

use tamis_resources::plan::FilterPlan;
use tamis_trust::{Digest, Name, Policy, Refused, Version};

use crate::plane::artifact::Judged;

use crate::plane::control::{Control, now_ms};
use crate::plane::problem::{bad, body, documents, problem, refusal, refused};
use crate::plane::sources;
use crate::plane::view;

/// The longest reason of a revocation, in bytes.
const MAX_REASON_BYTES: usize = 1_000;

/// The fewest digits that a digest is known by.
const MIN_DIGITS: usize = 8;

/// A change with what it does and what refuses it.
struct Weighed {
    diff: director::Diff,
    refused: Vec<Refused>,
}

impl Control {
    /// What an apply would do.
    ///
    /// # Errors
    /// [`Problem`] when the documents are wrong in themselves.
    pub async fn plan(&self, actor: &str, request: &ApplyRequest) -> Result<Planned, Problem> {
        let guards = self.0.rules.guards;
        let (change, keys, mut weighed) = {
            let state = self.state();
            let applied = sources::read(request, &state)?;
            let keys = view::diff::documents(&applied);
            let change = Change::Apply(applied);
            let weighed = self.weigh(&state, &change, &guards, actor, request.confirm)?;
            (change, keys, weighed)
        };
        let judged = self.judged(&weighed.diff.fresh).await?;
        let wrong = wrong(&self.state(), &change, &weighed.diff, judged);
        if !request.confirm {
            weighed.refused.extend(wrong.iter().map(refuses));
        }
        Ok(Planned {
            subject: change.subject().to_string(),
            diff: view::diff::diff(weighed.diff, keys),
            refusals: weighed.refused.into_iter().map(refusal).collect(),
        })
    }

    /// Puts documents in force and takes documents out, all or nothing. `may` says whether whoever asks may change the
    /// document of a `namespace/name`; files are everybody's who may change something.
    ///
    /// # Errors
    /// [`Problem`] when the documents are wrong, a guard refuses, or it cannot be written. Nothing has changed then.
    pub async fn apply(
        &self,
        actor: &str,
        request: &ApplyRequest,
        may: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Applied, Problem> {
        let guards = self.0.rules.guards;
        if !request.confirm {
            self.consented(request, may).await?;
        }
        let (revision, diff) = self
            .commit(actor, |state| {
                let applied = sources::read(request, state)?;
                let keys = view::diff::documents(&applied);
                let empty = applied == director::Applied::default();
                allowed(&applied, may)?;
                let change = Change::Apply(applied);
                let diff = self.permitted(state, &change, &guards, actor, request.confirm)?;
                let diff = view::diff::diff(diff, keys);
                let bodies = if empty { Vec::new() } else { bodies(change)? };
                Ok((bodies, diff))
            })
            .await?;
        Ok(Applied { revision, diff })
    }

    /// Pins a filter of a service: resolves the version once, verifies the artifact as proxies will, and says what it may do
    /// that the one before could not.
    ///
    /// # Errors
    /// [`Problem`] when there is no such version, a policy or a guard refuses, or it cannot be written.
    pub async fn pin(&self, actor: &str, request: &PinRequest) -> Result<Pinned, Problem> {
        let filter = name(&request.filter)?;
        let digest = match (&request.version, &request.digest) {
            (Some(version), None) => self.resolve(&filter, &self::version(version)?).await?,
            (None, Some(digest)) => known_digest(&self.state(), &filter, digest)?,
            _ => return Err(bad("a pin has one of version and digest", "name one of them")),
        };
        let ask = Ask {
            service: request.service.clone(),
            filter,
            digest,
            allow_older: request.allow_older,
            rollback: false,
            confirm: request.confirm,
            dry_run: request.dry_run,
        };
        self.pin_digest(actor, ask).await
    }

    /// Pins what was pinned before.
    ///
    /// # Errors
    /// [`Problem`] when nothing was pinned before, a policy or a guard refuses, or it cannot be written.
    pub async fn rollback(
        &self,
        actor: &str,
        request: &RollbackRequest,
    ) -> Result<Pinned, Problem> {
        let filter = name(&request.filter)?;
        let before = self.state().rollback(&request.service, &filter);
        let before = before.map_err(|one| refused(vec![one]))?;
        let ask = Ask {
            service: before.service,
            filter: before.filter,
            digest: before.digest,
            allow_older: true,
            rollback: true,
            confirm: request.confirm,
            dry_run: false,
        };
        self.pin_digest(actor, ask).await
    }

    async fn pin_digest(&self, actor: &str, ask: Ask) -> Result<Pinned, Problem> {
        let Ask { service, filter, digest, allow_older, rollback, confirm, dry_run } = ask;
        let (policies, before, configs) = {
            let state = self.state();
            // Before any policy is asked, which knows that it is withdrawn, and neither by whom nor why.
            state.not_revoked(&filter, &digest).map_err(|one| refused(vec![one]))?;
            let before = state.pin(&service, &filter).map(|pin| pin.digest);
            let configs = view::configs(&state, &mut self.plans(), &service, &filter);
            (self.policies(&state), before.filter(|before| *before != digest), configs)
        };
        let (verified, component) = self.admit(&filter, &digest, &policies).await?;
        let grown = self.grown(before, component, configs).await?;
        let mut guards = self.0.rules.guards;
        if !grown.is_empty() {
            guards.approvals = guards.approvals.max(self.0.rules.growth_approvals);
        }
        let pinned = director::Pinned {
            service: service.clone(),
            filter: filter.clone(),
            version: verified.version,
            digest,
            allow_older,
            rollback,
        };
        let change = Change::Pin(pinned);
        let subject = change.subject().to_string();
        self.takes(&change).await?;
        let decide = |state: &State| {
            let diff = self
                .permitted(state, &change, &guards, actor, confirm)
                .map_err(|problem| grew(problem, &grown))?;
            let there = state
                .pins()
                .any(|pin| pin.service == service && pin.filter == filter && pin.digest == digest);
            let bodies = if dry_run || there { Vec::new() } else { bodies(change.clone())? };
            Ok((bodies, view::diff::diff(diff, Default::default())))
        };
        let (revision, diff) = self.commit(actor, decide).await?;
        let state = self.state();
        let pin = state.pins().find(|pin| pin.service == service && pin.filter == filter);
        let pin = pin.filter(|_| !dry_run).map(view::pin);
        let signers = verified.signers.into_iter().map(|signer| signer.0).collect();
        Ok(Pinned { revision, subject, pin, diff, grown, signers })
    }

    /// Takes a pin out.
    ///
    /// # Errors
    /// [`Problem`] when there is none, a guard refuses, or it cannot be written.
    pub async fn unpin(&self, actor: &str, request: &UnpinRequest) -> Result<Pinned, Problem> {
        let filter = name(&request.filter)?;
        let unpinned = director::Unpinned { service: request.service.clone(), filter };
        let change = Change::Unpin(unpinned);
        let guards = self.0.rules.guards;
        let (revision, diff) = self
            .commit(actor, |state| {
                let diff = self.permitted(state, &change, &guards, actor, request.confirm)?;
                Ok((bodies(change.clone())?, diff))
            })
            .await?;
        Ok(Pinned {
            revision,
            subject: change.subject().to_string(),
            pin: None,
            diff: view::diff::diff(diff, Default::default()),
            grown: Vec::new(),
            signers: Vec::new(),
        })
    }

    /// Has every slot of a service, or of all, assigned again above all that proxies have seen.
    ///
    /// # Errors
    /// [`Problem`] when there is no such service or no epoch left, or it cannot be written.
    pub async fn reassign(
        &self,
        actor: &str,
        request: &ReassignRequest,
    ) -> Result<Reassigned, Problem> {
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
        Ok(Reassigned { revision, service: service.to_owned(), epoch, proxies })
    }

    /// Agrees to a change of somebody else.
    ///
    /// # Errors
    /// [`Problem`] when the subject is no digest, whoever agrees asked for the change, or it cannot be written.
    pub async fn approve(
        &self,
        actor: &str,
        request: &ApproveRequest,
    ) -> Result<Approved, Problem> {
        let subject = digest(&request.subject)?;
        if self.0.wanted.asked_by_nobody_but(&subject, actor) {
            return Err(refused(vec![Refused {
                code: director::code::APPROVAL_OWN,
                rule: format!("{actor} asked for this change, and whoever asks does not count"),
                set_by: "the policy about approvals".to_owned(),
                remedy: format!("let somebody else run `tamis approve {subject}`"),
            }]));
        }
        let body = Body::from(director::Approved { subject });
        let (revision, ()) = self.commit(actor, |_| Ok((vec![body.clone()], ()))).await?;
        Ok(Approved { revision, subject: subject.to_string(), actor: actor.to_owned() })
    }

    /// Withdraws a digest or a key: at once, everywhere, past every guard.
    ///
    /// # Errors
    /// [`Problem`] when the request names not exactly one of them, or it cannot be written.
    pub async fn revoke(&self, actor: &str, request: &RevokeRequest) -> Result<Revoked, Problem> {
        if request.reason.len() > MAX_REASON_BYTES {
            return Err(bad(
                format!("a reason has at most {MAX_REASON_BYTES} bytes"),
                "shorten it",
            ));
        }
        let what = match (&request.digest, &request.key) {
            (Some(digest), None) if request.from_index.is_none() => {
                director::Withdrawn::Digest { digest: self::digest(digest)? }
            }
            (Some(_), None) => {
                return Err(bad("a digest is revoked from ever", "leave fromIndex out"));
            }
            (None, Some(key)) if !key.is_empty() && key.len() <= 253 => {
                let key = self.key_id(key)?;
                director::Withdrawn::Key { key, from_index: request.from_index }
            }
            _ => return Err(bad("one of digest and key is revoked", "name one of them")),
        };
        let revoked = director::Revoked { what: what.clone(), reason: request.reason.clone() };
        let body = Body::from(revoked);
        let (revision, ()) = self.commit(actor, |_| Ok((vec![body.clone()], ()))).await?;
        let what = match what {
            director::Withdrawn::Digest { digest } => digest.to_string(),
            director::Withdrawn::Key { key, .. } => key,
        };
        Ok(Revoked {
            what,
            from_index: request.from_index,
            reason: request.reason.clone(),
            revision,
            time_ms: self.state().time_ms(),
            actor: actor.to_owned(),
        })
    }

    /// Whether the filter that would be pinned takes every configuration that it would get, where it would run.
    async fn takes(&self, change: &Change) -> Result<(), Problem> {
        let planned = {
            let state = self.state();
            self.plans().plan(&state, change)
        };
        // What makes no plan is refused, with its reason, where the change is made.
        let Ok(diff) = planned else { return Ok(()) };
        let mut refusals = Vec::new();
        for (plan, judged) in self.judged(&diff.fresh).await? {
            let (at, version) = (&plan.attachment, &plan.version);
            let routes = judged.left_out.iter().map(|one| {
                (format!("{} {} {}", one.kind, one.route, one.pointer), one.message.clone())
            });
            let faults = judged.faults.into_iter().chain(routes);
            for (pointer, message) in faults {
                refusals.push(Refused {
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

    /// Refuses documents that bring problems with them, each with its place: nobody has agreed to what they leave out.
    async fn consented(
        &self,
        request: &ApplyRequest,
        may: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<(), Problem> {
        let (change, planned) = {
            let state = self.state();
            let applied = sources::read(request, &state)?;
            // Who may not change it is not said what would be wrong with it.
            allowed(&applied, may)?;
            let change = Change::Apply(applied);
            let planned = self.plans().plan(&state, &change);
            (change, planned)
        };
        let Ok(diff) = planned else { return Ok(()) };
        let judged = self.judged(&diff.fresh).await?;
        let wrong = wrong(&self.state(), &change, &diff, judged);
        if wrong.is_empty() {
            return Ok(());
        }
        let remedy = "mend them, or confirm that what they leave out is to be left out".to_owned();
        Err(Problem { remedy: Some(remedy), ..documents(&wrong) })
    }

    fn weigh(
        &self,
        state: &State,
        change: &Change,
        guards: &Guards,
        actor: &str,
        confirm: bool,
    ) -> Result<Weighed, Problem> {
        let diff = self.plans().plan(state, change).map_err(|error| match error {
            PlanError::Documents(problems) => documents(&problems),
            error => bad(error.to_string(), "correct it and ask again"),
        })?;
        let consent = if confirm { Consent::Given } else { Consent::NotGiven };
        let asked = Asked { actor, now_ms: now_ms(), consent };
        let refused =
            director::guard(state, change, &diff, guards, &asked).err().unwrap_or_default();
        Ok(Weighed { diff, refused })
    }

    /// What a change does, if nothing refuses it.
    fn permitted(
        &self,
        state: &State,
        change: &Change,
        guards: &Guards,
        actor: &str,
        confirm: bool,
    ) -> Result<director::Diff, Problem> {
        let weighed = self.weigh(state, change, guards, actor, confirm)?;
        if weighed.refused.is_empty() {
            return Ok(weighed.diff);
        }
        let subject = change.subject();
        self.0.wanted.note(subject, actor);
        Err(Problem { subject: Some(subject.to_string()), ..refused(weighed.refused) })
    }

    /// The id of a key that is named by its id or by what a policy calls it.
    fn key_id(&self, key: &str) -> Result<String, Problem> {
        if key.parse::<tamis_trust::KeyId>().is_ok() {
            return Ok(key.to_owned());
        }
        let policies = self.policies(&self.state());
        let keys = policies.iter().flat_map(Policy::keys).filter(|one| one.name == key);
        let mut ids: Vec<String> = keys.map(|one| one.id.to_string()).collect();
        ids.sort();
        ids.dedup();
        match ids.as_slice() {
            [id] => Ok(id.clone()),
            [] => Err(bad(format!("no policy has a key {key:?}"), "name it by its id")),
            many => Err(bad(
                format!("{} keys are called {key:?}", many.len()),
                format!("name one by its id: {}", many.join(", ")),
            )),
        }
    }
}

/// Refuses documents whose namespace is somebody else's.
fn allowed(
    applied: &director::Applied,
    may: &(dyn Fn(&str) -> bool + Sync),
) -> Result<(), Problem> {
    let keys = applied.documents.iter().map(|one| &one.key).chain(&applied.removed);
    for key in keys {
        let place = key.split_once('/').map_or(key.as_str(), |(_, place)| place);
        if !may(place) {
            return Err(denied(&format!("change {key}")));
        }
    }
    Ok(())
}

/// Whoever asks may not do that.
pub(crate) fn denied(what: &str) -> Problem {
    let remedy = Some("use a token that was made for it, or ask for one".to_owned());
    Problem { remedy, ..problem(403, "denied", format!("this token may not {what}")) }
}

/// What is wrong with a change of documents: what folding them says, and what the filters themselves say of the
/// configurations they would get.
fn wrong(
    state: &State,
    change: &Change,
    diff: &director::Diff,
    judged: Vec<(Arc<FilterPlan>, Judged)>,
) -> Vec<tamis_resources::Problem> {
    // A filter is pinned after its attachment is there, so that is no fault of the documents.
    let later = |code: &str| code == "pin.missing";
    let folded = diff.problems.iter().filter(|one| !later(&one.code)).cloned();
    let mut wrong: Vec<tamis_resources::Problem> = folded.collect();
    for (plan, judged) in judged {
        for (pointer, message) in judged.faults {
            let message = format!("{} refuses this: {message}", plan.filter);
            let key = format!("FilterAttachment/{}", plan.attachment);
            let pointer = format!("/spec/config{pointer}");
            wrong.extend(placed(state, change, &key, "filter.configure", &pointer, message));
        }
        for one in judged.left_out {
            let message = format!("{} does not take this: {}", plan.filter, one.message);
            let key = format!("{}/{}", one.kind, one.route);
            wrong.extend(placed(state, change, &key, "route.refused", &one.pointer, message));
        }
    }
    wrong
}

/// A problem at its place in a document that a change brings, or that is in force.
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
    let text = match applied {
        Some(one) => (one.source.clone(), one.text.clone()),
        None => {
            let held = state.documents().get(key)?;
            (held.source().to_owned(), held.text.to_string())
        }
    };
    let (found, _) = tamis_resources::parse(&text.0, &text.1);
    found.first().map(|document| document.problem(code, pointer, message))
}

/// A problem of a document as a rule that refuses until somebody agrees.
fn refuses(problem: &tamis_resources::Problem) -> Refused {
    let place = &problem.place;
    Refused {
        code: "document.problem",
        rule: format!("{}:{}:{}: {}", place.source, place.line, place.column, problem.message),
        set_by: "the rule that nothing is left out unnoticed".to_owned(),
        remedy: problem.help.clone().unwrap_or_else(|| "mend it, or confirm".to_owned()),
    }
}

/// What is to be pinned.
struct Ask {
    service: String,
    filter: Name,
    digest: Digest,
    allow_older: bool,
    rollback: bool,
    confirm: bool,
    dry_run: bool,
}

/// Says why an approval is asked for, where it is for the authority alone.
pub(crate) fn grew(mut problem: Problem, grown: &[Grown]) -> Problem {
    for refusal in &mut problem.refusals {
        if refusal.code == director::code::APPROVALS && !grown.is_empty() {
            let all: Vec<String> =
                grown.iter().map(|one| format!("{} {}", one.kind, one.what)).collect();
            let all = all.join(", ");
            refusal.rule = format!("{}; it may do more than the one before: {all}", refusal.rule);
        }
    }
    problem
}

fn bodies(change: Change) -> Result<Vec<Body>, Problem> {
    change.bodies().map_err(|error| body(&error))
}

pub(crate) fn name(text: &str) -> Result<Name, Problem> {
    text.parse().map_err(|error| bad(format!("{error}"), "name the filter as namespace/name"))
}

pub(crate) fn version(text: &str) -> Result<Version, Problem> {
    text.parse().map_err(|error| bad(format!("{error}"), "versions are like 1.4.2"))
}

/// A digest of a filter, whole, or as `tamis pins` prints it: at least eight of its digits, when only one that was pinned
/// or rolled out begins with them.
pub(crate) fn known_digest(state: &State, filter: &Name, text: &str) -> Result<Digest, Problem> {
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
            format!("{} digests of {filter} begin with {digits}", many.len()),
            "write more of its digits",
        )),
    }
}

pub(crate) fn digest(text: &str) -> Result<Digest, Problem> {
    let error = || bad("a digest is sha256: and 64 hexadecimal digits", "copy it whole");
    text.parse().map_err(|_| error())
}

/// Something that is asked about and is not there.
pub(crate) fn unknown(what: &str) -> Problem {
    problem(404, "not-found", format!("there is no {what}"))
}

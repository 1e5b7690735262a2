//! Revocations: of a digest, or of all that a key signed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tamis_api::{ApiProblem, RevocationView, RevokeRequest, StoppedSlot};
use tamis_director::{self as director, RecordBody, RevocationTarget, State};
use tamis_sync::placed;
use tamis_trust::{Digest, Refused, SignaturePolicy, VerificationRequest, verify_manifest};

use crate::plane::change::{AttemptedChange, Attempts};
use crate::plane::control::Control;
use crate::plane::control::commit::WriteTurn;
use crate::plane::control::compute_turns::ComputingPlace;
use crate::plane::parse::digest;
use crate::plane::problem::{bad, missing, problem, refused};
use crate::plane::rights::AuthorizedCaller;

/// The longest reason of a revocation, in bytes.
const MAX_REASON_BYTES: usize = 1_000;
/// Services that a refusal names.
const NAMED: usize = 5;

/// A revocation as `attempts` makes it.
struct RevokeAttempt<'a> {
    control: &'a Control,
    holder: &'a AuthorizedCaller,
    request: &'a RevokeRequest,
    what: &'a RevocationTarget,
}

impl AttemptedChange for RevokeAttempt<'_> {
    /// What the state had decided, and what it stops then.
    type Check = (u64, Vec<StoppedSlot>);
    type Done = RevocationView;

    async fn check(&self, _: ComputingPlace<'_>) -> Result<Self::Check, ApiProblem> {
        let decided = self.control.state().decided();
        Ok((decided, self.control.stops(self.what).await?))
    }

    async fn decide(
        &self,
        check: Self::Check,
        turn: WriteTurn<'_>,
    ) -> Result<Option<RevocationView>, ApiProblem> {
        let Self { control, holder, request, what } = *self;
        control.decide_revocation(holder, request, (what, check), turn).await
    }
}

impl Control {
    /// Revokes a digest or a key: it can no longer be pinned. What runs keeps running, unless the request
    /// stops it, which needs a confirmation.
    ///
    /// # Errors
    /// [`ApiProblem`] when the caller may not decide which keys are trusted, the request does not name exactly
    /// one of the two, something would stop without a confirmation, or writing fails.
    pub async fn revoke(
        &self,
        holder: &AuthorizedCaller,
        request: &RevokeRequest,
    ) -> Result<RevocationView, ApiProblem> {
        if !self.decides(holder) {
            let title =
                format!("{} may not revoke: a revocation affects everybody", holder.actor());
            let remedy =
                Some("ask somebody with `operate` on all of a security namespace".to_owned());
            return Err(ApiProblem { remedy, ..problem(403, "denied", title) });
        }
        let what = self.withdrawn(request)?;
        // What is revoked may do harm now.
        let revoking = RevokeAttempt { control: self, holder, request, what: &what };
        Attempts::urgent(holder).run(self, &revoking).await
    }

    /// Revokes it with what it stops in the state that it is written to; `None`: something else was decided meanwhile, so that
    /// it may stop more.
    async fn decide_revocation(
        &self,
        holder: &AuthorizedCaller,
        request: &RevokeRequest,
        (what, (decided, stops)): (&RevocationTarget, (u64, Vec<StoppedSlot>)),
        turn: WriteTurn<'_>,
    ) -> Result<Option<RevocationView>, ApiProblem> {
        let asks = request.now && !request.confirm && !stops.is_empty();
        let body = RecordBody::from(director::RevocationRecord {
            what: what.clone(),
            reason: request.reason.clone(),
            now: request.now,
        });
        let decide = |state: &State| {
            if state.decided() != decided {
                return Ok((Vec::new(), false));
            }
            if request.dry_run {
                return Ok((Vec::new(), true));
            }
            if asks {
                return Err(refused(vec![must_confirm(&stops)]));
            }
            Ok((vec![body.clone()], true))
        };
        let (revision, written) = self.commit_in_turn(turn, holder, decide).await?;
        Ok(written.then(|| self.revocation(holder, request, (what, revision, stops))))
    }

    fn revocation(
        &self,
        holder: &AuthorizedCaller,
        request: &RevokeRequest,
        (what, revision, stops): (&RevocationTarget, u64, Vec<StoppedSlot>),
    ) -> RevocationView {
        let what = match what {
            RevocationTarget::Digest { digest } => digest.to_string(),
            RevocationTarget::Key { key, .. } => key.clone(),
        };
        RevocationView {
            what,
            from_index: request.from_index,
            reason: request.reason.clone(),
            revision,
            time_ms: self.state().time_ms(),
            actor: holder.actor().to_owned(),
            now: request.now,
            stops,
        }
    }

    fn withdrawn(&self, request: &RevokeRequest) -> Result<RevocationTarget, ApiProblem> {
        if request.reason.len() > MAX_REASON_BYTES {
            let title = format!("a reason has at most {MAX_REASON_BYTES} bytes");
            return Err(bad(title, "shorten it"));
        }
        match (&request.digest, &request.key) {
            (Some(digest), None) if request.from_index.is_none() => {
                Ok(RevocationTarget::Digest { digest: self::digest(digest)? })
            }
            (Some(_), None) => Err(bad("a digest is always revoked entirely", "omit fromIndex")),
            (None, Some(key)) if !key.is_empty() && key.len() <= 253 => {
                let key = self.key_id(key)?;
                Ok(RevocationTarget::Key { key, from_index: request.from_index })
            }
            _ => Err(bad("a revocation needs exactly one of digest and key", "name one of them")),
        }
    }

    /// The slots whose filter may no longer be pinned after the revocation.
    async fn stops(&self, what: &RevocationTarget) -> Result<Vec<StoppedSlot>, ApiProblem> {
        let now = self.now_secs();
        let (slots, before, after) = {
            let state = self.state();
            let mut slots: BTreeMap<Digest, BTreeSet<(String, String, String)>> = BTreeMap::new();
            let mut plans = self.plans();
            for node in state.nodes() {
                let wants = plans.node(&state, &node, now);
                for (slot, one) in &wants.assigned {
                    let row = (one.service.clone(), slot.clone(), one.filter.to_string());
                    slots.entry(one.digest).or_default().insert(row);
                }
                // What was pinned a moment ago is assigned in a moment.
                for (slot, one) in wants.plan.iter().flat_map(|plan| placed(plan)) {
                    let Ok(digest) = one.digest.parse() else { continue };
                    let row = (node.key().to_owned(), slot, one.filter.clone());
                    slots.entry(digest).or_default().insert(row);
                }
            }
            (slots, self.policies(&state), self.policies_without(&state, what))
        };
        let mut stops = Vec::new();
        for (digest, rows) in slots {
            let ends = match what {
                RevocationTarget::Digest { digest: withdrawn } => digest == *withdrawn,
                RevocationTarget::Key { .. } => {
                    self.holds(&digest, &before, now).await?
                        && !self.holds(&digest, &after, now).await?
                }
            };
            if ends {
                stops.extend(rows.into_iter().map(|(service, slot, filter)| StoppedSlot {
                    service,
                    slot,
                    filter,
                    digest: digest.to_string(),
                }));
            }
        }
        stops.sort();
        Ok(stops)
    }

    /// The policies in force with that revocation added.
    fn policies_without(&self, state: &State, what: &RevocationTarget) -> Vec<SignaturePolicy> {
        if self.0.policy.is_some() {
            return self.policies(state);
        }
        let mut policies = state.trust_policies();
        state.add_revocations(&mut policies, |_| true);
        if let RevocationTarget::Key { key, from_index } = what {
            let entry = match from_index {
                None => serde_json::json!(key),
                Some(from) => serde_json::json!({ "key": key, "fromIndex": from }),
            };
            for policy in &mut policies {
                let keys = policy.get_mut("revokedKeys").and_then(Value::as_array_mut);
                keys.into_iter().for_each(|keys| keys.push(entry.clone()));
            }
        }
        policies.iter().map(|policy| SignaturePolicy::read_or_nobody(policy).0).collect()
    }

    /// Whether an artifact is valid under these policies.
    async fn holds(
        &self,
        digest: &Digest,
        policies: &[SignaturePolicy],
        now: u64,
    ) -> Result<bool, ApiProblem> {
        let Some(artifact) = self.artifact(digest).await? else { return Ok(false) };
        let lines: Vec<&[u8]> = artifact.bundles.iter().map(String::as_bytes).collect();
        let request = VerificationRequest {
            pinned: digest,
            name: None,
            manifest: artifact.manifest.as_bytes(),
            bundles: &lines,
            logged: &artifact.logged,
            policies,
            policy_age: Duration::ZERO,
            now,
        };
        Ok(verify_manifest(&request).is_ok())
    }

    /// The id of a key, given by its id or by its name in a policy.
    fn key_id(&self, key: &str) -> Result<String, ApiProblem> {
        if key.parse::<tamis_trust::KeyId>().is_ok() {
            return Ok(key.to_owned());
        }
        let policies = self.policies(&self.state());
        let keys = policies.iter().flat_map(SignaturePolicy::keys).filter(|one| one.name == key);
        let mut ids: Vec<String> = keys.map(|one| one.id.to_string()).collect();
        ids.sort();
        ids.dedup();
        match ids.as_slice() {
            [id] => Ok(id.clone()),
            [] => Err(missing(
                format!("no trust policy has a key with the name {key:?}"),
                "name it by its id; `tamis get trustpolicies` lists the policies, which name keys",
            )),
            many => Err(bad(
                format!("{} keys have the name {key:?}", many.len()),
                format!("name one by its id: {}", many.join(", ")),
            )),
        }
    }
}

/// The refusal that lists what would stop, for a caller who has not confirmed it.
fn must_confirm(stops: &[StoppedSlot]) -> Refused {
    let services: BTreeSet<&str> = stops.iter().map(|stop| stop.service.as_str()).collect();
    let mut named: Vec<&str> = services.iter().copied().take(NAMED).collect();
    if services.len() > NAMED {
        named.push("…");
    }
    Refused {
        code: director::code::REVOKE.into(),
        rule: format!(
            "{} slots of {} services would stop now: {}",
            stops.len(),
            services.len(),
            named.join(", ")
        ),
        set_by: "the safeguard of revocations".to_owned(),
        remedy: "omit --now, so that what runs keeps running and nothing new is pinned; or pin another version first; or confirm"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;

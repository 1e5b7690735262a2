//! Revoked code that runs on: a revocation without `--now` stops nothing, and a proxy may not have reacted to another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tamis_api::FleetStatus;
use tamis_director::{self as director, State};
use tamis_trust::{
    Digest, Name, Refused, SignaturePolicy, VerificationRequest,
    code::{REVOKED_DIGEST, REVOKED_KEY},
    verify_manifest,
};

use crate::plane::control::Control;

/// What is revoked of that which runs, each digest judged once.
pub(super) struct RevokedCode<'a> {
    control: &'a Control,
    state: Arc<State>,
    /// The trust policies with all revocations, and with those that proxies were told of; `None`: no key is revoked here.
    policies: Option<[Vec<SignaturePolicy>; 2]>,
    known: BTreeMap<Digest, Option<Refused>>,
}

impl Control {
    /// Reads the artifacts of what is pinned or runs, as far as whether it is revoked depends on its signatures: who asks afterwards
    /// finds them.
    pub(crate) async fn know_signatures(&self) {
        let digests: BTreeSet<Digest> = {
            let state = self.state();
            if state.revoked_keys().is_empty() || self.0.policy.is_some() {
                return;
            }
            let nodes = state.nodes();
            let slots = nodes.iter().filter_map(|node| state.last_report(node));
            let slots = slots.flat_map(|report| report.slots.values());
            let runs = slots.filter_map(|slot| slot.running.as_ref()).map(|running| running.digest);
            state.pins().map(|pin| pin.digest).chain(runs).collect()
        };
        for digest in digests {
            // What cannot be read is unknown to whoever asks; reading it is tried again then.
            if let Err(error) = self.artifact(&digest).await {
                tracing::debug!(%digest, error = error.title, "an artifact cannot be read");
            }
        }
    }
}

impl<'a> RevokedCode<'a> {
    /// Not while the state is locked: to look for an artifact may ask for it.
    pub(super) fn new(control: &'a Control) -> Self {
        let state = control.state().director();
        // With a policy folder, only its policies say which keys are revoked, and proxies have them.
        let has = !state.revoked_keys().is_empty() && control.0.policy.is_none();
        let policies = has.then(|| {
            [false, true].map(|told| {
                let mut policies = state.trust_policies();
                state.add_revocations(&mut policies, |revocation| revocation.now || !told);
                let read = |policy| SignaturePolicy::read_or_nobody(policy).0;
                policies.iter().map(read).collect()
            })
        });
        Self { control, state, policies, known: BTreeMap::new() }
    }

    /// Marks each slot that runs something revoked, as far as its proxy reports.
    pub(super) fn mark(&mut self, status: &mut FleetStatus) {
        for slot in status.proxies.iter_mut().flat_map(|proxy| &mut proxy.slots) {
            let digest = slot.running.as_ref().and_then(|running| running.digest.parse().ok());
            let (Some(digest), Ok(filter)) = (digest, slot.filter.parse()) else { continue };
            slot.revoked = self.of(&filter, &digest);
        }
    }

    /// Why a digest that runs is revoked, and the way out; `None`: it is not, or its signatures are not known here.
    fn of(&mut self, filter: &Name, digest: &Digest) -> Option<Refused> {
        if self.policies.is_none() && self.state.revoked_digests().is_empty() {
            return None;
        }
        if let Some(known) = self.known.get(digest) {
            return known.clone();
        }
        let found = self.digest(filter, digest).or_else(|| self.key(filter, digest));
        self.known.insert(*digest, found.clone());
        found
    }

    fn digest(&self, filter: &Name, digest: &Digest) -> Option<Refused> {
        let revocation = self.state.revoked_digests().get(digest)?;
        let again = format!("digest {digest}");
        let refused = director::revoked(filter, digest, revocation);
        Some(runs_on(refused, filter, &again, revocation.now))
    }

    fn key(&self, filter: &Name, digest: &Digest) -> Option<Refused> {
        let [all, told] = self.policies.as_ref()?;
        let refused = self.withdrawn(digest, all)?;
        let now = self.withdrawn(digest, told).is_some();
        let again = format!("key {}", self.revoked_key(all, &refused.rule));
        // Who revoked a key, and why, is not for everybody.
        let set_by = "a revocation, which `tamis revoke list` shows".to_owned();
        Some(runs_on(Refused { set_by, ..refused }, filter, &again, now))
    }

    /// The id of the revoked key that a rule is about.
    fn revoked_key(&self, policies: &[SignaturePolicy], rule: &str) -> String {
        let keys = policies.iter().flat_map(SignaturePolicy::keys);
        let named = keys.filter(|key| rule.contains(&format!("{:?}", key.name)));
        let mut ids =
            named.map(|key| key.id.to_string()).chain(self.state.revoked_keys().keys().cloned());
        let revoked = |id: &String| self.state.revoked_keys().contains_key(id);
        ids.find(revoked).unwrap_or_else(|| "KEY".to_owned())
    }

    /// Why policies take a digest back; `None`: they do not, or its artifact was not read.
    fn withdrawn(&self, digest: &Digest, policies: &[SignaturePolicy]) -> Option<Refused> {
        let artifact = self.control.known_artifact(digest).ok().flatten()?;
        let bundles: Vec<&[u8]> = artifact.bundles.iter().map(String::as_bytes).collect();
        let request = VerificationRequest {
            pinned: digest,
            name: None,
            manifest: artifact.manifest.as_bytes(),
            bundles: &bundles,
            logged: &artifact.logged,
            policies,
            policy_age: Duration::ZERO,
            now: self.control.now_secs(),
        };
        let refused = verify_manifest(&request).err()?;
        [REVOKED_KEY, REVOKED_DIGEST].contains(&&*refused.code).then_some(refused)
    }
}

/// A refusal of what runs in spite of it.
fn runs_on(refused: Refused, filter: &Name, again: &str, now: bool) -> Refused {
    let (why, remedy) = if now {
        (
            "its proxy has not reported that it ended it",
            format!("look into the log of the proxy; or pin another version of {filter}"),
        )
    } else {
        (
            "it was revoked without --now, so what runs goes on",
            format!(
                "pin another version of {filter}, or end it: `tamis revoke {again} --now --reason REASON`"
            ),
        )
    };
    Refused { rule: format!("{}; {why}", refused.rule), remedy, ..refused }
}

#[cfg(test)]
mod tests;

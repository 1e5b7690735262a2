//! What runs now and would not run any more under changed trust policies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tamis_api::{ApiProblem, Diff, SlotChange, SlotDiff};
use tamis_director::{self as director, DistrustedSlot, SignedManifest, TrustChange};
use tamis_trust::{Digest, Refused};

use super::preview::ApplyPreview;
use crate::plane::control::Control;
use crate::plane::control::artifact_cache::Artifact;
use crate::plane::control::compute_turns::ComputingPlace;
use crate::plane::problem::count;
use crate::plane::rights::AuthorizedCaller;
use crate::plane::view::diff::contents;

/// Slots that a refusal names, each with its reason; the diff has all of them.
const NAMED: usize = 3;
/// The aspect of a slot that is refused.
const REFUSED: &str = "refused";

/// What a change of trust policies stops.
#[derive(Default)]
pub(super) struct StoppedSlots {
    /// Those of services that the caller may see.
    seen: Vec<DistrustedSlot>,
    /// Whether something of others stops too.
    others: bool,
}

impl Control {
    /// What a change of trust policies stops, as proxies will judge it.
    ///
    /// With a policy folder the documents decide nothing. An artifact that this registry does not have is skipped: nothing is
    /// known of it.
    pub(super) async fn stopped_slots(
        &self,
        holder: &AuthorizedCaller,
        preview: &Arc<ApplyPreview>,
        place: ComputingPlace<'_>,
    ) -> Result<StoppedSlots, ApiProblem> {
        let change = preview.effect.trust.as_ref().filter(|_| self.0.policy.is_none());
        let Some(digests) = change.map(TrustChange::digests) else {
            return Ok(StoppedSlots::default());
        };
        let mut artifacts: BTreeMap<Digest, Arc<Artifact>> = BTreeMap::new();
        for digest in digests {
            let artifact = self.artifact(&digest).await?;
            artifacts.extend(artifact.map(|artifact| (digest, artifact)));
        }
        let (preview, now) = (Arc::clone(preview), self.now_secs());
        let judge = move |_: &_| {
            let signed = |digest: &Digest| artifacts.get(digest).map(|it| signed(it));
            let trust = preview.effect.trust.as_ref();
            trust.map(|trust| trust.stopped(&signed, now)).unwrap_or_default()
        };
        let stopped = self.compute(self.turn_in(place).await?, judge).await?;
        let (seen, unseen): (Vec<_>, Vec<_>) =
            stopped.into_iter().partition(|one| holder.sees(&one.service));
        Ok(StoppedSlots { seen, others: !unseen.is_empty() })
    }
}

fn signed(artifact: &Artifact) -> SignedManifest<'_> {
    let Artifact { manifest, bundles, logged, .. } = artifact;
    SignedManifest { manifest, bundles, logged }
}

impl StoppedSlots {
    /// The rule that refuses the change until somebody confirms it. Of services of others it says no name and no number.
    pub(super) fn refusal(&self) -> Option<Refused> {
        let others = "something that runs for others";
        let rule = match (self.words(), self.others) {
            (None, false) => return None,
            (None, true) => format!("{others} would be refused under the changed trust policies"),
            (Some(words), others_too) => {
                let and = if others_too { format!(", and {others}") } else { String::new() };
                format!("{words}{and}")
            }
        };
        Some(Refused {
            code: director::code::TRUST.into(),
            rule,
            set_by: "the safeguard of trust policies".to_owned(),
            remedy: "change the policy so that it accepts what runs, or first pin versions that it accepts; or confirm that \
                     these slots stop"
                .to_owned(),
        })
    }

    fn words(&self) -> Option<String> {
        if self.seen.is_empty() {
            return None;
        }
        let services: BTreeSet<&str> = self.seen.iter().map(|one| one.service.as_str()).collect();
        let named = self.seen.iter().take(NAMED).map(|one| {
            let DistrustedSlot { service, slot, why, .. } = one;
            format!("{slot} of {service} ({}: {})", why.code, why.rule)
        });
        let mut named: Vec<String> = named.collect();
        if let Some(more @ 1..) = self.seen.len().checked_sub(NAMED) {
            named.push(format!("and {more} more"));
        }
        Some(format!(
            "{} of {} would be refused under the changed trust policies: {}",
            count(self.seen.len(), "slot that runs", "slots that run"),
            count(services.len(), "service", "services"),
            named.join(", ")
        ))
    }

    /// Shows in a diff which slots would be refused, each with its reason.
    pub(super) fn show(&self, diff: &mut Diff) {
        for stopped in &self.seen {
            let DistrustedSlot { service, slot, nodes, guards, before, after, why } = stopped;
            let is_it = |one: &&mut SlotDiff| {
                (&one.service, &one.slot) == (service, slot)
                    && one.nodes.iter().any(|node| nodes.contains(node))
            };
            let after =
                tamis_api::SlotContents { why: Some(why.sentence()), ..contents(after.clone()) };
            if let Some(known) = diff.slots.iter_mut().find(is_it) {
                known.after = Some(after);
                known.parts.retain(|part| part != REFUSED);
                known.parts.push(REFUSED.to_owned());
                continue;
            }
            diff.slots.push(SlotDiff {
                service: service.clone(),
                slot: slot.clone(),
                nodes: nodes.clone(),
                guards: *guards,
                change: SlotChange::Changed,
                before: Some(contents(before.clone())),
                after: Some(after),
                parts: vec![REFUSED.to_owned()],
            });
        }
        diff.slots
            .sort_by(|one, other| (&one.service, &one.slot).cmp(&(&other.service, &other.slot)));
    }
}

#[cfg(test)]
mod tests;

//! From the pin of a slot to an artifact that may run in it: found in the store, and signed as the policies demand.

use super::{Builder, DesiredSlot, PoliciesInForce, SignedManifest};
use crate::refusal_text::by_proxy;
use crate::store::{StoreReading, StoredArtifact};
use std::collections::BTreeMap;
use std::sync::Arc;
use tamis_proxy::Refused;
use tamis_trust::{Digest, VerifiedFilter, bundle_lines, verify, verify_parsed};

/// What a slot should run, as far as signatures decide.
pub(super) enum ProvenSlot<'a> {
    /// What runs there already was made from exactly this.
    Unchanged(UnchangedSlot),
    /// Something else.
    New(ProvenArtifact<'a>),
}

/// The proof, made again, of what runs in a slot.
pub(super) struct UnchangedSlot {
    pub(super) verified: VerifiedFilter,
    /// See [`ProvenArtifact::key`].
    pub(super) key: String,
}

/// An artifact that may run in a slot, and what its filter is made from.
pub(super) struct ProvenArtifact<'a> {
    pub(super) wanted: &'a DesiredSlot<'a>,
    pub(super) artifact: Arc<StoredArtifact>,
    pub(super) verified: VerifiedFilter,
    /// Where the log recorded each of its bundles.
    pub(super) logged: Vec<Option<u64>>,
    pub(super) config: String,
    /// Identifies everything that the filter is made from.
    pub(super) key: String,
}

impl Builder {
    /// What these slots may run, in their order. Each artifact is read once for all slots that run it, and verified for each
    /// of them.
    pub(super) fn prove<'a>(
        &self,
        wanted: &[&'a DesiredSlot<'a>],
        rules: PoliciesInForce<'_>,
    ) -> Vec<Result<ProvenSlot<'a>, Refused>> {
        let mut reading = self.store.reading(rules.policies);
        let mut order: Vec<(usize, &'a DesiredSlot<'a>)> =
            wanted.iter().copied().enumerate().collect();
        order.sort_by_key(|(_, one)| one.plan.digest.as_str());
        let proven = order.into_iter().map(|(at, one)| {
            let proven = self.proven(one, rules, &mut reading);
            let slot = proven.map(|proven| {
                if !self.runs(one.slot, &proven.key) {
                    return ProvenSlot::New(proven);
                }
                // Its bytes, which may be many, are not needed again.
                let ProvenArtifact { verified, key, .. } = proven;
                ProvenSlot::Unchanged(UnchangedSlot { verified, key })
            });
            (at, slot)
        });
        proven.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// From pin to an artifact that may run there.
    pub(super) fn proven<'a>(
        &self,
        wanted: &'a DesiredSlot<'a>,
        rules: PoliciesInForce<'_>,
        reading: &mut StoreReading<'_>,
    ) -> Result<ProvenArtifact<'a>, Refused> {
        let plan = wanted.plan;
        if let Some(refusal) = wanted.refused.as_ref().or(plan.refused.as_ref()) {
            return Err(refusal.clone());
        }
        let pinned: Digest = plan.digest.parse().map_err(|error| {
            let rule = format!("the pin is not a digest: {error}");
            by_proxy("pin.missing", rule, "pin it by version, or copy the digest whole")
        })?;
        let read = reading.artifact(&pinned).ok_or_else(|| self.nowhere(&pinned))?;
        let artifact = read.map_err(|error| {
            by_proxy("artifact.unreadable", error, "store the artifact there again")
        })?;
        let logged = artifact.logged(wanted.logged);
        let verified = self.verified(&artifact, &logged, &pinned, wanted, rules)?;
        let config = serde_json::to_string(&plan.config).unwrap_or_default();
        let grant = serde_json::to_string(&plan.grant).unwrap_or_default();
        let key = format!(
            "{pinned} {:?} {:?} {:?} {} {config} {grant}",
            plan.isolation, plan.on_failure, plan.world, plan.filter
        );
        Ok(ProvenArtifact { wanted, artifact, verified, logged, config, key })
    }

    /// Whether an artifact is what is pinned, and signed as the policies and its grant demand.
    fn verified(
        &self,
        artifact: &StoredArtifact,
        logged: &[Option<u64>],
        pinned: &Digest,
        wanted: &DesiredSlot<'_>,
        rules: PoliciesInForce<'_>,
    ) -> Result<VerifiedFilter, Refused> {
        let plan = wanted.plan;
        let lines = bundle_lines(&artifact.bundles);
        let signed = SignedManifest { manifest: &artifact.manifest, bundles: &lines, logged };
        let request = rules.request(pinned, signed, Some(&plan.filter), self.clock)?;
        let verified = match &artifact.parsed {
            Some(parsed) => verify_parsed(&request, parsed, &artifact.component)?,
            None => verify(&request, &artifact.component)?,
        };
        if let Some(signed_by) = &plan.signed_by {
            verified.enough(&signed_by.keys, signed_by.threshold)?;
        }
        Ok(verified)
    }

    /// The refusal of a pin whose artifact is in no folder.
    fn nowhere(&self, pinned: &Digest) -> Refused {
        let folders: Vec<_> =
            self.store.folders().iter().map(|folder| folder.display().to_string()).collect();
        let folders = folders.join(", ");
        by_proxy(
            "artifact.missing",
            format!("no manifest in {folders} has the pinned digest {pinned}"),
            "store the artifact there, or pin another",
        )
    }
}

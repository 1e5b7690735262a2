//! Filters that exchanges are still shown to, though their slots have others or none: those that policies no longer trust
//! end with their next call, for as long as the exchange may last.

use super::prove::{SignedManifest, request};
use super::{Builder, BuiltAttachment, KeptProof, LastGoodFilter, PoliciesInForce};
use std::sync::Arc;
use std::time::Duration;
use tamis_engine::WeakFilter;
use tamis_trust::{Digest, bundle_lines, verify_manifest};

/// A filter that was made for a slot, as long as somebody has it.
pub(super) struct MadeFilter {
    filter: WeakFilter,
    /// The name that policies know it by.
    name: String,
    digest: Digest,
    proof: Arc<KeptProof>,
}

impl MadeFilter {
    pub(super) fn of(good: &LastGoodFilter, name: &str) -> Self {
        Self {
            filter: good.filter.downgrade(),
            name: name.to_owned(),
            digest: good.verified.digest,
            proof: Arc::clone(&good.proof),
        }
    }

    /// Whether somebody has it: a slot, or an exchange of a slot that had it.
    pub(super) fn is_in_use(&self) -> bool {
        self.filter.upgrade().is_some_and(|filter| !filter.has_ended())
    }
}

impl Builder {
    /// Ends the filters that the policies do not trust any more, wherever exchanges are still shown to them. Those that
    /// run in a slot were proven by this build.
    pub(super) fn end_distrusted(&mut self, built: &[BuiltAttachment], rules: PoliciesInForce<'_>) {
        let running = |slot: &BuiltAttachment| {
            slot.running.as_ref()?;
            self.good.get(&slot.status.attachment).map(|good| &good.filter)
        };
        let running: Vec<_> = built.iter().filter_map(running).collect();
        let mut ended = false;
        for made in &self.made {
            let Some(filter) = made.filter.upgrade() else { continue };
            if running.iter().any(|one| one.is_same(&filter))
                || self.is_trusted(&made.proof, &made.digest, &made.name, rules)
            {
                continue;
            }
            tracing::warn!(filter = made.name, digest = %made.digest, "the policies no longer trust this filter: exchanges that still use it end");
            filter.end();
            ended = true;
        }
        if ended {
            self.good.retain(|_, good| !good.filter.has_ended());
            self.made.retain(MadeFilter::is_in_use);
        }
    }

    /// Whether the policies allow what this evidence is about. How old they are does not count: that prevents new
    /// activations and stops nothing.
    pub(super) fn is_trusted(
        &self,
        proof: &KeptProof,
        digest: &Digest,
        name: &str,
        rules: PoliciesInForce<'_>,
    ) -> bool {
        let lines = bundle_lines(&proof.bundles);
        let rules = PoliciesInForce { age: Duration::ZERO, ..rules };
        let signed =
            SignedManifest { manifest: &proof.manifest, bundles: &lines, logged: &proof.logged };
        request(digest, signed, rules, Some(name), self.clock)
            .is_ok_and(|request| verify_manifest(&request).is_ok())
    }
}

//! Filters that exchanges are still shown to, though their slots have others or none: those that policies no longer trust
//! end with their next call, for as long as the exchange may last.

use super::kept_proof::KeptProof;
use super::{Builder, BuiltAttachment, LastGoodFilter, PoliciesInForce};
use std::sync::Arc;
use tamis_engine::WeakFilter;
use tamis_trust::Digest;

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
    fn is_in_use(&self) -> bool {
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
        self.made.retain(MadeFilter::is_in_use);
        let mut ended = false;
        for made in &self.made {
            let Some(filter) = made.filter.upgrade() else { continue };
            if running.iter().any(|one| one.is_same(&filter))
                || made.proof.is_trusted(&made.digest, &made.name, rules, self.clock)
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
}

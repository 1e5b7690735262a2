//! Whether what ran in a slot before may keep running, when what should run there may not.

use super::prove::{SignedManifest, request};
use super::{Builder, LastGoodFilter, Rules};
use std::time::Duration;
use tamis_resources::plan::FilterPlan;
use tamis_trust::{bundle_lines, verify_manifest};

impl Builder {
    /// Whether the current policies still allow it.
    pub(super) fn may_keep_running(
        &self,
        good: &LastGoodFilter,
        plan: &FilterPlan,
        rules: Rules<'_>,
    ) -> bool {
        let lines = bundle_lines(&good.proof.bundles);
        let pinned = &good.verified.digest;
        // Staleness prevents new activations and stops nothing.
        let rules = Rules { age: Duration::ZERO, ..rules };
        let signed = SignedManifest {
            manifest: &good.proof.manifest,
            bundles: &lines,
            logged: &good.proof.logged,
        };
        request(pinned, signed, rules, Some(&plan.filter), self.clock)
            .is_ok_and(|request| verify_manifest(&request).is_ok())
            && plan.uncovered_rules(good.filter.rules()).is_none()
            // A filter that receives policies stays only with its current configuration: an older one may allow
            // what a policy forbids.
            && (!plan.receives || good.config == plan.config)
    }
}

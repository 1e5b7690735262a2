//! Whether what ran in a slot before may keep running, when what should run there may not.

use super::{Builder, LastGoodFilter, PoliciesInForce};
use tamis_resources::plan::FilterPlan;

impl Builder {
    /// Whether the current policies still allow it.
    pub(super) fn may_keep_running(
        &self,
        good: &LastGoodFilter,
        plan: &FilterPlan,
        rules: PoliciesInForce<'_>,
    ) -> bool {
        good.proof.is_trusted(&good.verified.digest, &plan.filter, rules, self.clock)
            && plan.uncovered_rules(good.filter.rules()).is_none()
            // A filter that receives policies stays only with its current configuration: an older one may allow
            // what a policy forbids.
            && (!plan.receives || good.config == plan.config)
    }
}

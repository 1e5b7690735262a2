//! The plan of a proxy in parts; only changed parts are built again.

use std::sync::Arc;

use tamis_resources::plan::NodePlan;
use tamis_sync::{Part, split_again};

use crate::plane::control::Control;
use crate::plane::control::proxy_plan::{ComputedPlan, ProxyPlan};

impl Control {
    /// A plan with the parts of its slots, in parts. Unchanged ones are taken from `before`.
    pub(crate) fn in_parts(
        &self,
        plan: ComputedPlan,
        slots: Vec<Arc<Part>>,
        before: Option<&ProxyPlan>,
    ) -> ProxyPlan {
        let mut revoked = NodePlan::clone(&plan.plan);
        self.state().add_revocations(&mut revoked.trust, |revocation| revocation.now);
        let before = before.and_then(ProxyPlan::made);
        let before = before.map(|(key, parts)| (key.plan.as_ref(), parts));
        let mut parts = split_again(before, &mut self.upstreams(), &revoked, slots);
        if let Some(policy) = &self.0.policy {
            policy.parts().into_iter().for_each(|part| parts.insert(part));
        }
        ProxyPlan { revision: plan.revision, parts, key: Some(plan.key) }
    }
}

//! The trust policies of a plan.

use tamis_resources::plan::NodePlan;
use tamis_trust::SignaturePolicy;

/// The trust policies of a plan; an invalid one is replaced by a policy that trusts no key for its filters.
pub(crate) fn policies(plan: &NodePlan, notes: &mut Vec<String>) -> Vec<SignaturePolicy> {
    let mut policies = Vec::new();
    for policy in &plan.trust {
        let (policy, error) = SignaturePolicy::read_or_nobody(policy);
        policies.push(policy);
        notes.extend(error.map(|error| format!("trust policy: {error}; it trusts nobody")));
    }
    policies
}

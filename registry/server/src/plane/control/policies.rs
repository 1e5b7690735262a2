//! The trust policies in force.

use tamis_director::State;
use tamis_trust::SignaturePolicy;

use crate::plane::control::Control;

impl Control {
    /// The trust policies in force, with what was revoked since. A wrong policy trusts nobody. If it were left out, a wider
    /// policy would apply here, but not at the proxies.
    pub(crate) fn policies(&self, state: &State) -> Vec<SignaturePolicy> {
        if let Some(policy) = &self.0.policy {
            return policy.policies();
        }
        let mut policies = state.trust_policies();
        state.add_revocations(&mut policies, |_| true);
        policies.iter().map(|policy| SignaturePolicy::read_or_nobody(policy).0).collect()
    }
}

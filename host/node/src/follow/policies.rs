//! The policies in force, and their age.

use std::sync::PoisonError;
use std::time::Duration;

use tamis_resources::plan::NodePlan;
use tamis_trust::SignaturePolicy;

use super::followed::FollowedPlan;
use crate::policies::policies;

impl FollowedPlan {
    /// The policies in force: those of metadata that follows from the operator's root, or else those of the
    /// director's documents.
    pub(crate) fn policies(
        &self,
        plan: &NodePlan,
        notes: &mut Vec<String>,
    ) -> Vec<SignaturePolicy> {
        let Some(policy) = &self.policy else { return policies(plan, notes) };
        let files = self.facts().policy_files.clone();
        let mut trusted = policy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = trusted.take(&files, self.now()) {
            notes.push(format!(
                "policy metadata is refused, the previous metadata stays in force: {}",
                tamis_transport::causes(&error)
            ));
        }
        trusted.policies()
    }

    /// How long ago the policies were known to be in force.
    pub(crate) fn policy_age(&self) -> Duration {
        if let Some(policy) = &self.policy {
            return policy.lock().unwrap_or_else(PoisonError::into_inner).age(self.now());
        }
        Duration::from_secs(self.now().saturating_sub(self.last_message()))
    }
}

//! Whether the trust policies let an artifact run, as a proxy will judge it.

use std::sync::Arc;
use std::time::Duration;

use tamis_api::ApiProblem;
use tamis_director::State;
use tamis_resources::plan::{FilterPlan, SignedByPlan};
use tamis_trust::{
    Name, Refused, SignaturePolicy, VerificationRequest, VerifiedFilter, code::REVOKED_KEY, verify,
    verify_manifest, verify_parsed,
};

use crate::plane::control::Control;
use crate::plane::control::artifacts::WholeArtifact;
use crate::plane::problem::{problem, refused};

impl Control {
    /// Whether a digest may be pinned for a filter: verifies it as a proxy will, under the current
    /// policies, and checks its manifest against its component. Returns the version in its manifest.
    pub(crate) async fn verify_artifact(
        &self,
        filter: &Name,
        WholeArtifact { digest, artifact, component }: &WholeArtifact,
    ) -> Result<VerifiedFilter, ApiProblem> {
        let now = self.now_secs();
        let policies = self.policies(&self.state());
        let policy = self.0.policy.as_ref();
        if let Some(Err(one)) = policy.map(|policy| policy.fresh(filter, now)) {
            return Err(refused(vec![one]));
        }
        let lines: Vec<&[u8]> = artifact.bundles.iter().map(String::as_bytes).collect();
        let request = VerificationRequest {
            pinned: digest,
            name: Some(filter.as_str()),
            manifest: artifact.manifest.as_bytes(),
            bundles: &lines,
            logged: &artifact.logged,
            policies: &policies,
            policy_age: policy.map_or(Duration::ZERO, |policy| policy.age(now)),
            now,
        };
        let verified = match &artifact.parsed {
            Ok(manifest) => verify_parsed(&request, manifest, component),
            Err(_) => verify(&request, component),
        };
        let verified =
            verified.map_err(|one| refused(vec![name_revoker(&self.state(), &policies, one)]))?;
        let (examine, bytes) = (Arc::clone(&self.0.examine), component.clone());
        let manifest = Arc::clone(&verified.manifest);
        let checked =
            tokio::task::spawn_blocking(move || examine.check_claims(&manifest, &bytes)).await;
        match checked {
            Ok(Ok(())) => Ok(verified),
            Ok(Err(one)) => Err(refused(vec![one])),
            Err(_) => Err(problem(500, "internal", "the component could not be looked into")),
        }
    }

    /// Why an artifact lacks signatures that its grant asks for, under these policies. What the policies themselves refuse is
    /// refused when it is pinned.
    pub(crate) fn missing_signatures(
        &self,
        plan: &FilterPlan,
        signed_by: &SignedByPlan,
        WholeArtifact { digest, artifact, .. }: &WholeArtifact,
        policies: &[SignaturePolicy],
    ) -> Option<Refused> {
        let lines: Vec<&[u8]> = artifact.bundles.iter().map(String::as_bytes).collect();
        let request = VerificationRequest {
            pinned: digest,
            name: Some(&plan.filter),
            manifest: artifact.manifest.as_bytes(),
            bundles: &lines,
            logged: &artifact.logged,
            policies,
            policy_age: Duration::ZERO,
            now: self.now_secs(),
        };
        let verified = verify_manifest(&request).ok()?;
        verified.enough(&signed_by.keys, signed_by.threshold).err()
    }
}

/// Adds to a refusal because of a revoked key who revoked it and why: the trust policy itself does not list
/// it.
fn name_revoker(state: &State, policies: &[SignaturePolicy], refused: Refused) -> Refused {
    if refused.code != REVOKED_KEY {
        return refused;
    }
    let mut by = state.revoked_keys().iter().filter(|(id, _)| {
        let keys = policies.iter().flat_map(SignaturePolicy::keys);
        let mut named = keys.filter(|key| key.id.to_string() == **id).map(|key| &key.name);
        refused.rule.contains(id.as_str())
            || named.any(|name| refused.rule.contains(&format!("{name:?}")))
    });
    let Some((id, revocation)) = by.next() else { return refused };
    let (stamp, reason) = (&revocation.stamp, &revocation.reason);
    let set_by =
        format!("{} at revision {}, who revoked {id} ({reason})", stamp.actor, stamp.revision);
    Refused { set_by, ..refused }
}

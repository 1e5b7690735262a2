//! What policies take away: revoked digests, versions and keys, and all new activations under stale
//! policies.
//!
//! All policies that cover a filter count here, not only the one that decides which keys must sign.

use super::{Request, set_by};
use crate::refused::{TrustRefusal, code};
use crate::{KeyId, Manifest, SignaturePolicy};

/// A revocation in any policy counts: a more specific policy must not undo that of a wider one.
pub(super) fn withdrawn(
    manifest: &Manifest,
    policies: &[SignaturePolicy],
) -> Result<(), TrustRefusal> {
    let (name, digest, version) = (manifest.name(), manifest.digest(), manifest.version());
    for policy in policies.iter().filter(|policy| policy.covers(name).is_some()) {
        let refusal = |rule: String, remedy: String| TrustRefusal {
            code: code::REVOKED_DIGEST,
            rule,
            set_by: set_by(policy),
            remedy,
        };
        if policy.is_unread() {
            return Err(refusal(
                "what it revokes must be known, and a part of it cannot be read".to_owned(),
                format!("correct {}", set_by(policy)),
            ));
        }
        if policy.revokes_digest(&digest) {
            return Err(refusal(
                format!("revokedDigests lists {digest}"),
                format!("pin another release of {name}"),
            ));
        }
        if let Some(floor) = policy.floor(name).filter(|floor| version < *floor) {
            return Err(refusal(
                format!("floorVersions requires {name} {floor} or later, this is {version}"),
                format!("pin {name} {floor} or later"),
            ));
        }
    }
    Ok(())
}

/// The strictest bound counts: a more specific policy must not relax the bound of a wider one.
pub(super) fn fresh(manifest: &Manifest, request: &Request<'_>) -> Result<(), TrustRefusal> {
    let name = manifest.name();
    let speaking = request.policies.iter().filter(|policy| policy.covers(name).is_some());
    let bounds = speaking.filter_map(|policy| Some((policy.staleness_bound()?, policy)));
    match bounds.min_by_key(|(bound, _)| *bound) {
        Some((bound, policy)) if request.policy_age > bound => Err(TrustRefusal {
            code: code::STALE,
            rule: format!(
                "stalenessBound lets nothing new run under policies older than {bound:?}, these are \
                 {:?} old: a revocation may have been missed",
                request.policy_age
            ),
            set_by: set_by(policy),
            remedy: "let the node reach its registry again; what runs keeps running".to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The revocations of all policies that cover the filter.
pub(super) struct Revocations<'a>(Vec<&'a SignaturePolicy>);

impl<'a> Revocations<'a> {
    pub(super) fn of(manifest: &Manifest, policies: &'a [SignaturePolicy]) -> Self {
        let speaking = policies.iter().filter(|policy| policy.covers(manifest.name()).is_some());
        Self(speaking.collect())
    }

    /// Why signatures of this key do not count, if recorded at `logged`.
    pub(super) fn refuse(&self, id: &KeyId, logged: Option<u64>) -> Option<String> {
        let widest = self.0.iter().filter_map(|policy| policy.revocation(id)).min();
        widest.and_then(|revocation| revocation.refuses(logged))
    }
}

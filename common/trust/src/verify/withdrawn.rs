//! What policies take away: revoked digests, versions and keys, and all new activations under stale
//! policies.
//!
//! All policies that cover a filter count here, not only the one that decides which keys must sign.

use super::{VerificationRequest, set_by};
use crate::refused::{Refused, code};
use crate::{KeyId, Manifest, SignaturePolicy};

/// A revocation in any policy counts: a more specific policy must not undo that of a wider one.
pub(super) fn withdrawn(manifest: &Manifest, policies: &[SignaturePolicy]) -> Result<(), Refused> {
    let (name, digest, version) = (manifest.name(), manifest.digest(), manifest.version());
    for policy in policies.iter().filter(|policy| policy.covers(name).is_some()) {
        let refusal = |rule: String, remedy: String| Refused {
            code: code::REVOKED_DIGEST.into(),
            rule,
            set_by: set_by(policy),
            remedy,
        };
        if policy.is_unread() {
            return Err(refusal(
                "its revocations must be known, and a part of them cannot be read".to_owned(),
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
pub(super) fn fresh(manifest: &Manifest, request: &VerificationRequest<'_>) -> Result<(), Refused> {
    let name = manifest.name();
    let speaking = request.policies.iter().filter(|policy| policy.covers(name).is_some());
    let bounds = speaking.filter_map(|policy| Some((policy.staleness_bound()?, policy)));
    match bounds.min_by_key(|(bound, _)| *bound) {
        Some((bound, policy)) if request.policy_age > bound => Err(Refused {
            code: code::STALE.into(),
            rule: format!(
                "`stalenessBound` allows no new activation under policies older than {bound:?}; these are \
                 {:?} old, and a revocation may be missing",
                request.policy_age
            ),
            set_by: set_by(policy),
            remedy: "let the proxy reach its registry again; what runs keeps running".to_owned(),
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

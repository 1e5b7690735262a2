//! Revocations as a part of trust policies.

use serde_json::{Value, json};

use crate::desired::{DesiredState, StandingRevocation};
use crate::state::State;

impl State {
    /// Adds the revocations that `counts` accepts to every trust policy, in the form of the trust crate: a
    /// revocation applies to each of them.
    pub fn add_revocations(
        &self,
        policies: &mut [Value],
        counts: impl Fn(&StandingRevocation) -> bool,
    ) {
        self.desired.add_revocations(policies, counts);
    }
}

impl DesiredState {
    /// As [`State::add_revocations`].
    pub(crate) fn add_revocations(
        &self,
        policies: &mut [Value],
        counts: impl Fn(&StandingRevocation) -> bool,
    ) {
        let digests = self.revoked_digests.iter().filter(|(_, revocation)| counts(revocation));
        let digests: Vec<String> = digests.map(|(digest, _)| digest.to_string()).collect();
        let keys: Vec<Value> = self
            .revoked_keys
            .iter()
            .filter(|(_, revocation)| counts(revocation))
            .map(|(key, revocation)| match revocation.from_index {
                None => json!(key),
                Some(from) => json!({ "key": key, "fromIndex": from }),
            })
            .collect();
        for policy in policies {
            append(policy, "revokedDigests", digests.iter().map(|one| one.clone().into()));
            append(policy, "revokedKeys", keys.iter().cloned());
        }
    }
}

fn append(policy: &mut Value, member: &str, more: impl Iterator<Item = Value>) {
    if let Some(list) = policy.get_mut(member).and_then(Value::as_array_mut) {
        for one in more {
            if !list.contains(&one) {
                list.push(one);
            }
        }
    }
}

//! What a policy that is wrong withdraws.
//!
//! A mistake in one part of a policy, such as a key that cannot be read, must not give back what another part
//! of it revokes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{KeyDocument, SignaturePolicy};
use crate::revoke::{Revocation, RevokedKey};
use crate::time::Span;
use crate::{Digest, KeyId, Name, PublicKey, Version};

/// The members of a policy; another one may be a misspelt revocation.
const MEMBERS: [&str; 9] = [
    "name",
    "namespaces",
    "keys",
    "threshold",
    "floorVersions",
    "revokedDigests",
    "revokedKeys",
    "stalenessBound",
    "narrows",
];

/// The parts of a policy that withdraw, each as far as it can be read.
#[derive(Default)]
pub(super) struct Withdrawals {
    floor_versions: BTreeMap<Name, Version>,
    revoked_digests: BTreeSet<Digest>,
    revoked_keys: BTreeMap<KeyId, Revocation>,
    staleness_bound: Option<Duration>,
    /// Something could not be read.
    unread: bool,
}

impl Withdrawals {
    pub(super) fn of(document: &Value) -> Self {
        let mut found = Self::default();
        let Some(members) = document.as_object() else { return Self { unread: true, ..found } };
        found.unread = members.keys().any(|name| !MEMBERS.contains(&name.as_str()));
        let entries = |name: &str| match document.get(name) {
            None => Some(Vec::new()),
            Some(value) => value.as_array().cloned(),
        };
        for entry in found.each(entries("revokedDigests")) {
            let digest = found.read::<Digest>(&entry);
            found.revoked_digests.extend(digest);
        }
        for entry in found.each(entries("revokedKeys")) {
            let Some(RevokedKey { key, since }) = found.read(&entry) else { continue };
            match named(document, &key).or_else(|| key.parse().ok()) {
                Some(id) => {
                    let known = found.revoked_keys.entry(id).or_insert(since);
                    *known = (*known).min(since);
                }
                None => found.unread = true,
            }
        }
        if let Some(floors) = document.get("floorVersions") {
            let floors = found.read::<BTreeMap<Name, Version>>(floors);
            found.floor_versions.extend(floors.unwrap_or_default());
        }
        if let Some(bound) = document.get("stalenessBound") {
            found.staleness_bound = found.read::<Span>(bound).map(|span| span.0);
        }
        found
    }

    /// The policy with what it withdraws.
    pub(super) fn of_policy(self, policy: SignaturePolicy) -> SignaturePolicy {
        let Self { floor_versions, revoked_digests, revoked_keys, staleness_bound, unread } = self;
        SignaturePolicy {
            floor_versions,
            revoked_digests,
            revoked_keys,
            staleness_bound,
            unread: unread || policy.unread,
            ..policy
        }
    }

    fn each(&mut self, entries: Option<Vec<Value>>) -> Vec<Value> {
        self.unread |= entries.is_none();
        entries.unwrap_or_default()
    }

    fn read<T: DeserializeOwned>(&mut self, value: &Value) -> Option<T> {
        let read = serde_json::from_value(value.clone()).ok();
        self.unread |= read.is_none();
        read
    }
}

/// The id of the key that the policy gives this name.
fn named(document: &Value, name: &str) -> Option<KeyId> {
    let keys = document.get("keys")?.as_array()?.iter();
    let keys = keys.filter_map(|key| serde_json::from_value::<KeyDocument>(key.clone()).ok());
    let mut of = keys.filter(|key| key.name == name);
    // If two keys have the name, either may be meant.
    let (first, None) = (of.next()?, of.next()) else { return None };
    Some(PublicKey::from_pem(&first.public_key).ok()?.id())
}

//! `TrustPolicy`: which keys are trusted for which filters.

use std::collections::BTreeMap;

use crate::format::Millis;

shapes! {
    /// Keys that are trusted for filters. In a registry, a TrustPolicy outside the security namespaces (`tamis registry --security`)
    /// only adds requirements for filters of its own namespace: a filter runs when the policy of security and
    /// this one are both satisfied.
    pub struct TrustPolicySpec {
        /// `*`, `NAMESPACE/*` or `NAMESPACE/NAME` of filters.
        #[schemars(length(min = 1))]
        pub namespaces: Vec<String>,
        /// The trusted keys.
        #[schemars(length(min = 1))]
        pub keys: Vec<TrustKey>,
        /// How many distinct keys must have signed.
        #[schemars(range(min = 1))]
        pub threshold: u32,
        /// Lowest allowed version of a filter, by its name.
        #[serde(default)]
        pub floor_versions: BTreeMap<String, String>,
        /// Revoked manifests.
        #[serde(default)]
        #[schemars(extend("items" = { "type": "string", "format": "digest" }))]
        pub revoked_digests: Vec<String>,
        /// Revoked keys: by name or id (revoked entirely), or `key` and `fromIndex`.
        #[serde(default)]
        pub revoked_keys: Vec<RevokedKey>,
        /// Greatest age of this policy at which something new may be activated; default: any age. What runs
        /// keeps running.
        pub staleness_bound: Option<Millis>,
    }
    /// A key that is revoked from a log index on.
    pub struct KeyRevocation {
        /// Its name or id.
        #[schemars(length(min = 1))]
        pub key: String,
        /// Index of the log: a signature counts only if the log recorded it before.
        pub from_index: u64,
    }
    /// A key; one of `publicKey` and `publicKeyFile` is set.
    pub struct TrustKey {
        /// Its name in grants and revocations.
        #[schemars(length(min = 1))]
        pub name: String,
        /// PEM.
        pub public_key: Option<String>,
        /// Path of a PEM file.
        pub public_key_file: Option<String>,
        /// Not trusted before this moment (RFC 3339).
        pub not_before: Option<String>,
        /// Not trusted from this moment on (RFC 3339).
        pub expires: Option<String>,
    }
}

/// A revoked key.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum RevokedKey {
    /// Its name or id: no signature of it counts.
    Ever(String),
    /// Only signatures that the log recorded before an index count.
    From(KeyRevocation),
}

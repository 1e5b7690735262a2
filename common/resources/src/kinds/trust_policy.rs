//! `TrustPolicy`: whose signatures are believed about which filters.

use std::collections::BTreeMap;

use crate::format::Millis;

shapes! {
    /// Whose signatures are believed.
    pub struct TrustPolicySpec {
        /// `*`, `NAMESPACE/*` or `NAMESPACE/NAME` of filters.
        #[schemars(length(min = 1))]
        pub namespaces: Vec<String>,
        /// Keys that are believed.
        #[schemars(length(min = 1))]
        pub keys: Vec<TrustKey>,
        /// How many distinct keys must have signed.
        #[schemars(range(min = 1))]
        pub threshold: u32,
        /// Lowest version of a filter that may run, by its name.
        #[serde(default)]
        pub floor_versions: BTreeMap<String, String>,
        /// Manifests that may not run any more.
        #[serde(default)]
        #[schemars(extend("items" = { "type": "string", "format": "digest" }))]
        pub revoked_digests: Vec<String>,
        /// Keys that are believed no more: by name or id, which means from ever, or `key` and `fromIndex`.
        #[serde(default)]
        pub revoked_keys: Vec<RevokedKey>,
        /// How old the policy at hand may be for something new to be activated; none: however old. What runs goes on.
        pub staleness_bound: Option<Millis>,
    }
    /// A key that is believed no more from a moment on.
    pub struct RevokedFrom {
        /// Its name or id.
        #[schemars(length(min = 1))]
        pub key: String,
        /// Index of the log: what it signed counts only if the log recorded it before.
        pub from_index: u64,
    }
    /// A key; one of `publicKey` and `publicKeyFile` is set.
    pub struct TrustKey {
        /// What grants and revocations call it.
        #[schemars(length(min = 1))]
        pub name: String,
        /// PEM.
        pub public_key: Option<String>,
        /// Path of a PEM file.
        pub public_key_file: Option<String>,
        /// Not believed before this moment (RFC 3339).
        pub not_before: Option<String>,
        /// Not believed from this moment on (RFC 3339).
        pub expires: Option<String>,
    }
}

/// A key that is believed no more.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum RevokedKey {
    /// Its name or id: nothing it ever signed counts.
    Ever(String),
    /// What it signed counts only if the log recorded it before an index.
    From(RevokedFrom),
}

//! Pins, rollbacks, approvals and revocations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Diff;

/// A filter of a service is to run at a version or a digest; exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PinRequest {
    /// `namespace/name` of a service or gateway; `*` for all that have no pin of their own.
    pub service: String,
    /// The filter's name.
    pub filter: String,
    /// A version; its tag in the filter's repository is resolved once, now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Digest of a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Whoever asks knows that it is older than what is pinned.
    #[serde(default)]
    pub allow_older: bool,
    /// As in an apply.
    #[serde(default)]
    pub confirm: bool,
    /// Only say what it would do; nothing is written.
    #[serde(default)]
    pub dry_run: bool,
}

/// A pin that is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnpinRequest {
    /// As it was pinned.
    pub service: String,
    /// The filter's name.
    pub filter: String,
    /// As in an apply.
    #[serde(default)]
    pub confirm: bool,
}

/// Back to what was pinned before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackRequest {
    /// `namespace/name` of a service or gateway, or `*`.
    pub service: String,
    /// The filter's name.
    pub filter: String,
    /// As in an apply.
    #[serde(default)]
    pub confirm: bool,
}

/// A pin in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// `namespace/name` of a service or gateway, or `*`.
    pub service: String,
    /// The filter's name.
    pub filter: String,
    /// Version of the artifact.
    pub version: String,
    /// Digest of its manifest.
    pub digest: String,
    /// The journal's revision that has it.
    pub revision: u64,
    /// When.
    pub time_ms: u64,
    /// Who.
    pub actor: String,
}

/// What a pin, an unpin or a rollback did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pinned {
    /// The journal's revision that has it; that of before for a dry run.
    pub revision: u64,
    /// What approvals have to name.
    pub subject: String,
    /// What holds now; none after an unpin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// What it did.
    pub diff: Diff,
    /// What the new digest may do that the one before could not.
    pub grown: Vec<Grown>,
    /// Names of the keys that signed it, by the trust policy.
    pub signers: Vec<String>,
}

/// One thing that a filter may do and the one before it could not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grown {
    /// `hook`, `import`, `read`, `write`, `request-body`, `response-body`, `backend`, `tunnel` or `unknown`.
    pub kind: String,
    /// The hook, capability, field, mode or service.
    pub what: String,
}

/// Consent to a change of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApproveRequest {
    /// The digest of the change, as a plan or a refusal names it.
    pub subject: String,
}

/// Consent that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approved {
    /// The journal's revision that has it.
    pub revision: u64,
    /// What was agreed to.
    pub subject: String,
    /// Who.
    pub actor: String,
}

/// A digest or a key is withdrawn; exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeRequest {
    /// Digest of a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Id or name of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of a key: what the log recorded before this index still counts. None: nothing it ever signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_index: Option<u64>,
    /// In words, for those who look later.
    pub reason: String,
    /// What runs ends at once. Otherwise it goes on, and nothing new is pinned.
    #[serde(default)]
    pub now: bool,
    /// Whoever asks has seen what ends and wants it.
    #[serde(default)]
    pub confirm: bool,
    /// Only say what would end; nothing is written.
    #[serde(default)]
    pub dry_run: bool,
}

/// A slot that a withdrawal is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// `namespace/name` of the service or gateway.
    pub service: String,
    /// Its slot.
    pub slot: String,
    /// The filter's name.
    pub filter: String,
    /// Digest of the manifest that is assigned to it.
    pub digest: String,
}

/// A withdrawal in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    /// Digest of a manifest, or id or name of a key.
    pub what: String,
    /// As it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_index: Option<u64>,
    /// In words.
    pub reason: String,
    /// The journal's revision that has it.
    pub revision: u64,
    /// When.
    pub time_ms: u64,
    /// Who.
    pub actor: String,
    /// Whether what ran had to end.
    #[serde(default)]
    pub now: bool,
    /// The slots that have what is withdrawn, when it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<Stop>,
}

/// Every slot is to be assigned again above all that proxies have seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReassignRequest {
    /// `namespace/name` of a service or gateway, or `*`.
    pub service: String,
    /// In words, for those who look later.
    #[serde(default)]
    pub reason: String,
}

/// What is assigned again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reassigned {
    /// The journal's revision that has it.
    pub revision: u64,
    /// As it was asked.
    pub service: String,
    /// The epoch of the assignments that follow.
    pub epoch: u64,
    /// How many proxies it concerns.
    pub proxies: usize,
}

/// Something that happened to a filter of a service, or to a document that speaks of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryItem {
    /// The journal's revision that has it.
    pub revision: u64,
    /// When.
    pub time_ms: u64,
    /// Who.
    pub actor: String,
    /// The filter's name.
    pub filter: String,
    /// The document, as `Kind/namespace/name`, when it happened to one; there is no filter then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The services it is about; `*` is all.
    pub services: Vec<String>,
    /// What it was, in a few words: `pinned 1.4.2 sha256:…`.
    pub what: String,
}

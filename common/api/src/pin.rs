//! Pins, rollbacks, approvals and revocations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Diff;

/// A request to pin a filter of a service to a version or a digest; exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PinRequest {
    /// `namespace/name` of a service or gateway; `*` means all without a pin of their own.
    pub service: String,
    /// The filter's name.
    pub filter: String,
    /// A version; its tag in the filter's repository is resolved once, now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Digest of a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Allows a version older than the pinned one.
    #[serde(default)]
    pub allow_older: bool,
    /// As in an apply.
    #[serde(default)]
    pub confirm: bool,
    /// Only report what it would do; nothing is written.
    #[serde(default)]
    pub dry_run: bool,
}

/// A request to remove a pin.
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

/// A request to restore the previous pin.
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
pub struct PinView {
    /// `namespace/name` of a service or gateway, or `*`.
    pub service: String,
    /// The filter's name.
    pub filter: String,
    /// Version of the artifact.
    pub version: String,
    /// Digest of its manifest.
    pub digest: String,
    /// The journal's revision that set it.
    pub revision: u64,
    /// When.
    pub time_ms: u64,
    /// Who.
    pub actor: String,
}

/// The result of a pin, an unpin or a rollback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinResult {
    /// The journal's revision with the change; the current one for a dry run.
    pub revision: u64,
    /// The digest that approvals must name.
    pub subject: String,
    /// The pin now in force; `None` after an unpin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<PinView>,
    /// Its effect.
    pub diff: Diff,
    /// What the new digest may do and the previous one could not.
    pub grown: Vec<GrowthView>,
    /// Names of the keys that signed it, by the trust policy.
    pub signers: Vec<String>,
}

/// One thing that a filter may do and its predecessor could not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrowthView {
    /// `hook`, `import`, `read`, `write`, `request-body`, `response-body`, `backend`, `tunnel` or `unknown`.
    pub kind: String,
    /// The hook, capability, field, mode or service.
    pub what: String,
}

/// An approval of another person's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApproveRequest {
    /// The digest of the change, as a plan or a refusal names it.
    pub subject: String,
}

/// A recorded approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalResult {
    /// The journal's revision with the approval.
    pub revision: u64,
    /// The approved change.
    pub subject: String,
    /// Who.
    pub actor: String,
}

/// A request to revoke a digest or a key; exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeRequest {
    /// Digest of a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Id or name of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// For a key: signatures that the log recorded before this index stay valid. `None`: no signature of
    /// the key stays valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_index: Option<u64>,
    /// The reason, for whoever asks later.
    pub reason: String,
    /// Stop what runs at once. Otherwise it keeps running, and nothing new is pinned.
    #[serde(default)]
    pub now: bool,
    /// The caller has seen what stops and wants it.
    #[serde(default)]
    pub confirm: bool,
    /// Only report what would stop; nothing is written.
    #[serde(default)]
    pub dry_run: bool,
}

/// A slot that a revocation stops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoppedSlot {
    /// `namespace/name` of the service or gateway.
    pub service: String,
    /// Its slot.
    pub slot: String,
    /// The filter's name.
    pub filter: String,
    /// Digest of the manifest that is assigned to it.
    pub digest: String,
}

/// A revocation in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationView {
    /// Digest of a manifest, or id or name of a key.
    pub what: String,
    /// As in the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_index: Option<u64>,
    /// The reason.
    pub reason: String,
    /// The journal's revision with the revocation.
    pub revision: u64,
    /// When.
    pub time_ms: u64,
    /// Who.
    pub actor: String,
    /// Whether what ran had to stop.
    #[serde(default)]
    pub now: bool,
    /// The slots that had the revoked digest or key at the time of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<StoppedSlot>,
}

/// A request to assign every slot again, with higher versions than proxies have seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReassignRequest {
    /// `namespace/name` of a service or gateway, or `*`.
    pub service: String,
    /// The reason, for whoever asks later.
    #[serde(default)]
    pub reason: String,
}

/// The result of a reassignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReassignResult {
    /// The journal's revision with it.
    pub revision: u64,
    /// As in the request.
    pub service: String,
    /// The epoch of the assignments that follow.
    pub epoch: u64,
    /// Number of proxies that it concerns.
    pub proxies: usize,
}

/// An event of a filter of a service, or of a document that concerns the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryItem {
    /// The journal's revision of the event.
    pub revision: u64,
    /// When.
    pub time_ms: u64,
    /// Who.
    pub actor: String,
    /// The filter's name.
    pub filter: String,
    /// The document, as `Kind/namespace/name`, if the event is about a document; then there is no filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The services concerned; `*` means all.
    pub services: Vec<String>,
    /// The event in a few words: `pinned 1.4.2 sha256:…`.
    pub what: String,
}

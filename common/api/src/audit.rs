//! The journal, what ran, and proofs of both.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A page of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogPage {
    /// Entries in order of their revisions.
    pub entries: Vec<LogEntry>,
    /// The last revision of the journal.
    pub head: u64,
    /// The last revision examined: the next page starts after it, even if entries in between are not
    /// visible to the caller.
    #[serde(default)]
    pub until: u64,
}

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    /// Its revision, from 1.
    pub revision: u64,
    /// When.
    pub time_ms: u64,
    /// Who.
    pub actor: String,
    /// Kind of its record.
    pub kind: String,
    /// The record.
    pub body: Value,
    /// Its hash, which links it to the entry before.
    pub hash: String,
}

/// What ran for a service at a moment or in a range of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunHistory {
    /// The service.
    pub service: String,
    /// The moment, or the start of the range.
    pub at_ms: u64,
    /// The end of the range; `None` for a single moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<u64>,
    /// By proxy and slot.
    pub runs: Vec<RunView>,
    /// Proof that the reports behind this answer are in the log.
    pub proof: Proof,
}

/// What ran in a slot of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// The proxy.
    pub node: String,
    /// The slot.
    pub slot: String,
    /// The filter's name.
    pub filter: String,
    /// Digest of its manifest.
    pub digest: String,
    /// Version of the artifact.
    pub version: String,
    /// From this moment on.
    pub from_ms: u64,
    /// Until just before this moment; `None`: at least until the last report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// When the proxy last reported it.
    pub seen_ms: u64,
    /// The journal's revision of the first report of it.
    pub revision: u64,
    /// That of the report before, if its moment is the beginning: the proxy said an earlier one, and its clock counts only
    /// between its reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_revision: Option<u64>,
    /// That of the last report of it. 0: the registry is of an earlier release, and the moments have no proof.
    #[serde(default)]
    pub seen_revision: u64,
    /// That of the report which shows the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_revision: Option<u64>,
}

/// Proof that entries are in the log. It can be checked offline with only the log's public key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// The log's key, as a verifier line of signed-note. A verifier compares it with a copy obtained
    /// elsewhere.
    pub key: String,
    /// A signed checkpoint (C2SP tlog-checkpoint).
    pub checkpoint: String,
    /// The entries.
    pub entries: Vec<ProvenEntry>,
}

/// An entry and its place in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProvenEntry {
    /// Its revision; its index in the log is one less.
    pub revision: u64,
    /// The bytes of its leaf: canonical JSON.
    pub canonical: String,
    /// The inclusion proof (RFC 6962), from the leaf up, each 64 hexadecimal digits.
    pub hashes: Vec<String>,
}

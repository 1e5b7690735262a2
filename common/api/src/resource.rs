//! Documents in force.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{DocumentProblem, FieldChange, PlaintextView, ProxyIdentity};

/// Documents in force, by kind, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceList {
    /// The journal's revision of this list.
    pub revision: u64,
    /// The documents.
    pub items: Vec<ResourceSummary>,
}

/// A document in force, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSummary {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Digest of its text.
    pub digest: String,
    /// The journal's revision that put it in force.
    pub revision: u64,
    /// When.
    pub time_ms: u64,
    /// Who.
    pub actor: String,
    /// Whether all its conditions hold.
    pub ok: bool,
}

/// A document in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceView {
    /// Its summary.
    #[serde(flatten)]
    pub summary: ResourceSummary,
    /// Its text.
    pub text: String,
    /// `Accepted` and `ResolvedRefs`, by the documents; `ProgrammedView`, by what proxies do.
    pub conditions: Vec<ConditionView>,
    /// Whether each proxy does what the document says; proxies that it does not concern are left out.
    pub programmed: Vec<ProgrammedView>,
    /// Problems of the document.
    pub problems: Vec<DocumentProblem>,
}

/// A version of a document, or its removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentVersion {
    /// The journal's revision of it.
    pub revision: u64,
    /// When.
    pub time_ms: u64,
    /// Who.
    pub actor: String,
    /// Digest of its text; `None`: the document was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Differences from the previous version, at most 50 fields.
    pub fields: Vec<FieldChange>,
    /// The first revision with the same text, if somebody rolled back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<u64>,
}

/// The text of a document as a revision put it in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentText {
    /// The journal's revision that put it in force.
    pub revision: u64,
    /// The name of its source.
    pub source: String,
    /// Digest of its text.
    pub digest: String,
    /// Its text.
    pub text: String,
}

/// A condition of the Gateway API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionView {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: bool,
    /// One word.
    pub reason: String,
    /// The explanation.
    pub message: String,
}

/// Whether a proxy does what a document says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgrammedView {
    /// The proxy.
    pub node: String,
    /// Whether the proxy does.
    pub status: bool,
    /// One word or a code: `ProgrammedView`, `Pending`, `Disconnected`, `trust.threshold`.
    pub reason: String,
    /// The explanation; empty when the proxy does.
    #[serde(default)]
    pub message: String,
    /// Its identity inside the mesh, where the document declares the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<ProxyIdentity>,
    /// The ports that it serves in plain text too, where the document declares the proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plaintext: Vec<PlaintextView>,
}

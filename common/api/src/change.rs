//! Documents, and what a change changes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{DocumentProblem, Refused};

/// Documents to apply and to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// Sources of YAML, each of any number of documents.
    #[serde(default)]
    pub sources: Vec<SourceText>,
    /// Files that the documents name: key sets and public keys.
    #[serde(default)]
    pub files: Vec<FileText>,
    /// Keys of documents to remove, as `Kind/namespace/name`.
    #[serde(default)]
    pub removed: Vec<String>,
    /// Remove every document that is in force but not in `sources`.
    #[serde(default)]
    pub prune: bool,
    /// The caller has seen the effect and wants it: passes the guards against emptied chains, lost protection, wide
    /// changes, and trust policies that refuse what runs.
    #[serde(default)]
    pub confirm: bool,
}

/// A source of documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceText {
    /// Its name in problems, like the name of its file.
    pub source: String,
    /// YAML.
    pub text: String,
}

/// A file that documents name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileText {
    /// Its path as documents write it.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// What a change would do, and the rules that would refuse it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanResult {
    /// The digest of the whole change, which approvals name.
    pub subject: String,
    /// What it would do.
    pub diff: Diff,
    /// The rules that would refuse this request.
    pub refusals: Vec<Refused>,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResult {
    /// The journal's revision with the change; the previous one when nothing changed.
    pub revision: u64,
    /// What it did.
    pub diff: Diff,
}

/// The effect of a change on proxies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Slots, by service, then slot.
    pub slots: Vec<SlotDiff>,
    /// Changes outside slots, by service, in words like `listener https: clientAddress` or `upstream shop/a:80`.
    pub others: BTreeMap<String, BTreeSet<String>>,
    /// The differences in documents that are in force and change.
    #[serde(default)]
    pub documents: Vec<DocumentDiff>,
    /// Documents added or changed, as `Kind/namespace/name`.
    pub documents_changed: Vec<String>,
    /// Documents removed.
    pub documents_removed: Vec<String>,
    /// Proxies added.
    pub nodes_added: Vec<String>,
    /// Proxies removed.
    pub nodes_removed: Vec<String>,
    /// Chains that have filters and would lose all of them.
    pub emptied: Vec<EmptiedChain>,
    /// What would guard less, by service, in words like `"shop/pay-jwt" (tamis/jwt) no longer guards listener "https"`.
    #[serde(default)]
    pub unguarded: BTreeMap<String, BTreeSet<String>>,
    /// Problems that the change introduces.
    pub problems: Vec<DocumentProblem>,
    /// Number of services that have proxies now.
    pub services: usize,
    /// The services whose proxies would change.
    pub touched: BTreeSet<String>,
}

/// The differences in one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentDiff {
    /// `Kind/namespace/name`.
    pub key: String,
    /// The fields that differ, at most 50.
    pub fields: Vec<FieldChange>,
}

/// A field that is added, removed or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Where it is: `spec.rules[0].backendRefs[payments].weight`.
    pub field: String,
    /// Its value before, cut to 80 characters; `None`: the field is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Its value after; `None`: the field is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A chain that would lose all its filters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmptiedChain {
    /// The proxy.
    pub node: String,
    /// Its listener.
    pub listener: String,
}

/// What changes in a slot of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotDiff {
    /// The service.
    pub service: String,
    /// Its slot.
    pub slot: String,
    /// Its proxies in which it changes.
    pub nodes: Vec<String>,
    /// Whether it decides who may pass, before or after: it is in the phase `authn` or `authz`.
    #[serde(default)]
    pub guards: bool,
    /// How.
    pub change: SlotChange,
    /// Its content before the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<SlotContents>,
    /// Its content after the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<SlotContents>,
    /// What differs: `filter`, `digest`, `config`, `grant`, `placement`, `faults`, `refused`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

/// How a slot changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SlotChange {
    /// It is new.
    Added,
    /// It is removed.
    Removed,
    /// Its content changes.
    Changed,
}

/// The content of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotContents {
    /// The filter's name.
    pub filter: String,
    /// Version of the artifact; empty when unknown.
    pub version: String,
    /// Digest of the manifest; `None` when nothing may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Digest of the configuration.
    pub config: String,
    /// The code of the reason why nothing may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The reason in a sentence, where the trust policies refuse it; problems say what the documents refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

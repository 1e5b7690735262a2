//! Documents, and what a change would change.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{DocumentProblem, Refusal};

/// Documents to be put in force and taken out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// Sources of YAML, each of any number of documents.
    #[serde(default)]
    pub sources: Vec<SourceText>,
    /// What documents name: key sets and public keys.
    #[serde(default)]
    pub files: Vec<FileText>,
    /// Keys of documents to be taken out, as `Kind/namespace/name`.
    #[serde(default)]
    pub removed: Vec<String>,
    /// Take out every document that is in force and not in `sources`.
    #[serde(default)]
    pub prune: bool,
    /// Whoever asks has seen what it does and wants it: passes the guards against emptied chains and wide changes.
    #[serde(default)]
    pub confirm: bool,
}

/// A source of documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceText {
    /// What problems call it, like the name of its file.
    pub source: String,
    /// YAML.
    pub text: String,
}

/// A file that documents name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileText {
    /// As documents write it.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// What a change would do, and which rules would refuse it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// What approvals have to name: the digest of the whole change.
    pub subject: String,
    /// What it would do.
    pub diff: Diff,
    /// The rules that would refuse it as it is asked now.
    pub refusals: Vec<Refusal>,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// The journal's revision that has it; that of before when nothing changed.
    pub revision: u64,
    /// What it did.
    pub diff: Diff,
}

/// What a change changes in what proxies do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Slots, by service, then slot.
    pub slots: Vec<SlotDiff>,
    /// What changes beside slots, by service, in words like `listener https` or `upstream shop/a:80`.
    pub others: BTreeMap<String, BTreeSet<String>>,
    /// What differs in documents that are in force and change.
    #[serde(default)]
    pub documents: Vec<DocumentDiff>,
    /// Documents that come or change, as `Kind/namespace/name`.
    pub documents_changed: Vec<String>,
    /// Documents that go.
    pub documents_removed: Vec<String>,
    /// Proxies that come.
    pub nodes_added: Vec<String>,
    /// Proxies that go.
    pub nodes_removed: Vec<String>,
    /// Chains that have filters and would have none.
    pub emptied: Vec<Emptied>,
    /// Problems that are new with the change.
    pub problems: Vec<DocumentProblem>,
    /// How many services have proxies now.
    pub services: usize,
    /// Those of them whose proxies would do something else.
    pub touched: BTreeSet<String>,
}

/// What differs in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentDiff {
    /// `Kind/namespace/name`.
    pub key: String,
    /// The fields that differ, at most 50.
    pub fields: Vec<FieldChange>,
}

/// A field that comes, goes or changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Where it is: `spec.rules[0].backendRefs[payments].weight`.
    pub field: String,
    /// Its value before, cut to 80 characters; `None`: it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Its value after; `None`: it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A chain that would have no filter any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Emptied {
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
    /// How.
    pub change: SlotChange,
    /// What is in it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Side>,
    /// What is in it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Side>,
    /// What differs: `filter`, `digest`, `config`, `grant`, `placement`, `faults`, `refused`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

/// How a slot changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SlotChange {
    /// It comes.
    Added,
    /// It goes.
    Removed,
    /// Something else is in it.
    Changed,
}

/// What a slot has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// The filter's name.
    pub filter: String,
    /// Version of the artifact; empty when unknown.
    pub version: String,
    /// Digest of the manifest; none when nothing may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Digest of the configuration.
    pub config: String,
    /// Why nothing may run, as a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

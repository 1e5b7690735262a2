//! The answer no.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not done: the body of every answer of 400 and above, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Status of the answer.
    pub status: u16,
    /// Stable name of what is wrong, like `not-found` or `refused`.
    pub code: String,
    /// What is wrong, in a sentence.
    pub title: String,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The rules that refused; every one, not only the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// What is wrong with documents, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<DocumentProblem>,
    /// What approvals of this very change have to name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// A rule that refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Stable name of the rule, like `guard.blast-radius`.
    pub code: String,
    /// What it asks for.
    pub rule: String,
    /// Whose rule it is.
    pub set_by: String,
    /// What would satisfy it.
    pub remedy: String,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentProblem {
    /// Stable name of the rule, like `field.unknown`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What would satisfy the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Name of the source.
    pub source: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

//! Errors of the API.

use serde::{Deserialize, Serialize};
use tamis_refused::Refused;
use utoipa::ToSchema;

/// Why a request failed: the body of every response with a status of 400 and above, as
/// `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiProblem {
    /// Status of the response.
    pub status: u16,
    /// Stable name of the problem, like `not-found` or `refused`.
    pub code: String,
    /// The problem in a sentence.
    pub title: String,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// All the rules that refused, not only the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refused>,
    /// Problems of documents, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<DocumentProblem>,
    /// The digest that approvals of this change must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// A problem of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentProblem {
    /// Stable name of the rule, like `field.unknown`.
    pub code: String,
    /// The problem in a sentence.
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

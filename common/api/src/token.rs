//! Tokens: who may do what where.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A token that is to be made. Whoever asks holds all of what it may do, and `operate` there too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// Its name, by which the journal says who did what: lower-case letters, digits and dashes, at most 64.
    pub name: String,
    /// Where it may do something: `*`, `NAMESPACE/*`, one `NAMESPACE/NAME`, or `mesh` for every proxy.
    pub repositories: Vec<String>,
    /// What it may do there: `pull`, `push`, `delete`, `observe`, `operate`, `approve`.
    pub verbs: Vec<String>,
    /// How many hours it opens anything; that of whoever asks when not said, and never longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u64>,
}

/// Another secret for a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotateRequest {
    /// How many hours it opens anything; that of whoever asks when not said, and never longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u64>,
}

/// A token with its secret, which is told this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenMade {
    /// Its name.
    pub name: String,
    /// Its secret.
    pub token: String,
    /// It opens nothing from this moment on; none: it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

impl std::fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenMade").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// Its name.
    pub name: String,
    /// Where it may do something.
    pub repositories: Vec<String>,
    /// What it may do there.
    pub verbs: Vec<String>,
    /// It opens nothing from this moment on; none: it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Whether that moment is past.
    pub expired: bool,
    /// When it was made.
    pub created_ms: u64,
    /// Who made it.
    pub by: String,
}

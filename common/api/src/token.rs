//! Tokens and their rights.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request for a token. The caller's own token must have all of its rights, and `operate` for the same
/// places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// Its name, which the journal records as the actor: lower-case letters, digits and dashes, at most 64.
    pub name: String,
    /// Where its rights apply: `*`, `NAMESPACE/*`, one `NAMESPACE/NAME`, or `mesh` for every proxy.
    pub repositories: Vec<String>,
    /// Its verbs: `pull`, `push`, `delete`, `observe`, `operate`, `approve`.
    pub verbs: Vec<String>,
    /// Hours until it expires; by default the rest of the caller's token, and never longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u64>,
}

/// A request to replace the secret of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotateRequest {
    /// Hours until it expires; by default the rest of the caller's token, and never longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u64>,
}

/// A token with its secret, which is only returned this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedToken {
    /// Its name.
    pub name: String,
    /// Its secret.
    pub token: String,
    /// When it expires; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedToken").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// Its name.
    pub name: String,
    /// Where its rights apply.
    pub repositories: Vec<String>,
    /// Its verbs.
    pub verbs: Vec<String>,
    /// When it expires; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Whether it has expired.
    pub expired: bool,
    /// When it was made.
    pub created_ms: u64,
    /// Who made it.
    pub by: String,
    /// The tokens by which others rotated it since. Revoking one of those, or its maker's, revokes it too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotated_by: Vec<String>,
}

//! A token as people see it.

use super::{RepositoryPattern, Token, Verb};

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its name, which the journal records as the actor.
    pub name: String,
    /// Where its rights apply.
    pub repositories: Vec<RepositoryPattern>,
    /// Its verbs.
    pub verbs: Vec<Verb>,
    /// When it expires, in milliseconds since the Unix epoch; `None`: never.
    pub expires_ms: Option<u64>,
    /// When it was made.
    pub created_ms: u64,
    /// Who made it.
    pub by: String,
    /// The other tokens, of those that are there, by which it was rotated since: it goes back to them too.
    pub rotated_by: Vec<String>,
}

impl From<&Token> for TokenInfo {
    fn from(token: &Token) -> Self {
        Self {
            name: token.name.clone(),
            repositories: token.repositories.clone(),
            verbs: token.verbs.clone(),
            expires_ms: token.expires_ms,
            created_ms: token.created_ms,
            by: token.by.clone(),
            rotated_by: token.makers.iter().filter(|maker| **maker != token.by).cloned().collect(),
        }
    }
}

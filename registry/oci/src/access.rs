//! Access: tokens and their rights. Only the hash of a token is stored.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tamis_ambient::Random;
use tamis_journal::Hash;
use thiserror::Error;

use crate::name::{NameError, Repository};

mod token_info;
mod tokens;

pub use token_info::TokenInfo;
pub(crate) use tokens::{MAX_TOKENS, Token, Tokens};

/// Prefix of a token, by which scanners for leaked secrets find it.
const PREFIX: &str = "tamis_";
/// The longest name of a token, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A right in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Read.
    Pull,
    /// Write: blobs, manifests and tags.
    Push,
    /// Delete: blobs, manifests and tags.
    Delete,
    /// Read what runs: status, documents, history, the log.
    Observe,
    /// Change what runs: apply, pin, roll out, roll back, revoke.
    Operate,
    /// Approve other people's changes.
    Approve,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Self; 6] =
        [Self::Pull, Self::Push, Self::Delete, Self::Observe, Self::Operate, Self::Approve];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Observe => "observe",
            Self::Operate => "operate",
            Self::Approve => "approve",
        }
    }
}

/// Repositories that a token covers: all (`*`), those below a prefix (`acme/*`), or one (`acme/limits`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPattern(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    All,
    Below(Repository),
    One(Repository),
}

impl RepositoryPattern {
    /// Whether the repository is covered.
    #[must_use]
    pub fn covers(&self, repository: &Repository) -> bool {
        match &self.0 {
            Form::All => true,
            Form::Below(prefix) => {
                let rest = repository.as_str().strip_prefix(prefix.as_str());
                rest.is_some_and(|rest| rest.starts_with('/'))
            }
            Form::One(one) => one == repository,
        }
    }
}

impl RepositoryPattern {
    /// Whether everything below `namespace/` is covered, now and later.
    fn covers_below(&self, namespace: &Repository) -> bool {
        match &self.0 {
            Form::All => true,
            Form::Below(prefix) => prefix == namespace || self.covers(namespace),
            Form::One(_) => false,
        }
    }

    /// Whether everything that the other pattern covers is covered.
    fn includes(&self, other: &Self) -> bool {
        match &other.0 {
            Form::All => self.0 == Form::All,
            Form::Below(namespace) => self.covers_below(namespace),
            Form::One(one) => self.covers(one),
        }
    }
}

impl FromStr for RepositoryPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Ok(Self(match text.strip_suffix("/*") {
            _ if text == "*" => Form::All,
            Some(prefix) => Form::Below(prefix.parse()?),
            None => Form::One(text.parse()?),
        }))
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::All => f.write_str("*"),
            Form::Below(prefix) => write!(f, "{prefix}/*"),
            Form::One(one) => write!(f, "{one}"),
        }
    }
}

impl Serialize for RepositoryPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RepositoryPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// These in their order, each once: a token stores nothing twice.
pub(crate) fn distinct<T: PartialEq>(all: Vec<T>) -> Vec<T> {
    let mut found = Vec::with_capacity(all.len());
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// Rights of callers without a token, in every repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnonymousRights {
    /// Nothing.
    #[default]
    None,
    /// Pull.
    Pull,
    /// Pull and push.
    Push,
}

/// A token's secret: `tamis_` and 64 hex digits of 256 random bits. Shown once, stored nowhere.
pub struct TokenSecret(String);

impl TokenSecret {
    /// Makes a new one.
    ///
    /// # Errors
    /// [`SecretError`] when the system provides no randomness.
    pub fn generate() -> Result<Self, SecretError> {
        let bytes = Random::system().octets::<32>().map_err(|_| SecretError)?;
        Ok(Self(format!("{PREFIX}{}", Hash(bytes))))
    }

    /// The text for its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash that the registry stores. Unsalted: 256 random bits are in no dictionary.
    pub(crate) fn hash(&self) -> Hash {
        Hash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The system provides no randomness for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a token cannot be made: the system has no randomness")]
pub struct SecretError;

/// Writers of the journal that are not tokens.
const RESERVED: [&str; 4] = ["anonymous", "director", "operator", "proxies"];

/// Whether text can be the name of a token: lower-case letters, digits and dashes, at most 64 bytes. The
/// journal records it as the actor, so it must not be one of the registry's own names.
pub(crate) fn is_token_name(text: &str) -> bool {
    if RESERVED.contains(&text) {
        return false;
    }
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(legal)
}

/// The caller of a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Caller {
    /// A caller without a token.
    Anonymous(AnonymousRights),
    /// The holder of a token.
    Token(Token),
}

impl Caller {
    /// The caller, by the credentials of a request: `Some(Anonymous)` without credentials, `Some(Token)`
    /// for those of a token; `None` if the credentials match no token.
    ///
    /// As `Authorization: Bearer TOKEN`, or `Basic` with any user name and the token as password (RFC 7617,
    /// RFC 6750 §2.1).
    pub(crate) fn of(
        headers: &HeaderMap,
        tokens: &Tokens,
        anonymous: AnonymousRights,
        now_ms: u64,
    ) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Some(Self::Anonymous(anonymous)) };
        if values.next().is_some() {
            return None;
        }
        let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
        let secret = if scheme.eq_ignore_ascii_case("bearer") {
            rest.trim().to_owned()
        } else if scheme.eq_ignore_ascii_case("basic") {
            let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
            pair.split_once(':')?.1.to_owned()
        } else {
            return None;
        };
        tokens.find(&secret, now_ms).cloned().map(Self::Token)
    }

    /// Whether the caller has that right there.
    pub(crate) fn may(&self, verb: Verb, repository: &Repository) -> bool {
        match self {
            Self::Anonymous(anonymous) => match verb {
                Verb::Pull => *anonymous != AnonymousRights::None,
                Verb::Push => *anonymous == AnonymousRights::Push,
                Verb::Delete | Verb::Observe | Verb::Operate | Verb::Approve => false,
            },
            Self::Token(token) => {
                token.verbs.contains(&verb)
                    && token.repositories.iter().any(|pattern| pattern.covers(repository))
            }
        }
    }

    /// Whether the caller has that right in any repository.
    pub(crate) fn may_somewhere(&self, verb: Verb) -> bool {
        matches!(self, Self::Token(token) if token.verbs.contains(&verb))
    }

    /// Whether the caller has that right everywhere, now and later.
    pub(crate) fn may_everywhere(&self, verb: Verb) -> bool {
        matches!(self, Self::Token(token) if token.verbs.contains(&verb)
            && token.repositories.iter().any(|pattern| pattern.0 == Form::All))
    }

    /// Whether the caller has that right in a whole namespace, now and later.
    pub(crate) fn may_below(&self, verb: Verb, namespace: &Repository) -> bool {
        matches!(self, Self::Token(token) if token.verbs.contains(&verb)
            && token.repositories.iter().any(|pattern| pattern.covers_below(namespace)))
    }

    /// Whether the caller has all these rights, for all these patterns.
    pub(crate) fn may_all(&self, verbs: &[Verb], patterns: &[RepositoryPattern]) -> bool {
        let Self::Token(token) = self else { return false };
        verbs.iter().all(|verb| token.verbs.contains(verb))
            && patterns.iter().all(|one| token.repositories.iter().any(|own| own.includes(one)))
    }

    /// Whether the caller may know that there is a registry at all.
    pub(crate) fn may_enter(&self) -> bool {
        *self != Self::Anonymous(AnonymousRights::None)
    }

    /// The actor that the journal records.
    pub(crate) fn actor(&self) -> &str {
        match self {
            Self::Anonymous(_) => "anonymous",
            Self::Token(token) => &token.name,
        }
    }
}

#[cfg(test)]
mod tests;

//! The decision about one request.

use std::fmt;

use tamis_callers::anonymous::AnonymousRequestRule;
use tamis_callers::list::{ListSource, SecretList};
use tamis_callers::name::known_as;
use tamis_sdk::{Edit, View};

use crate::CONSUMER;
use crate::config::ApiKeyRules;
use crate::keys::KeyList;
use crate::shown::{self, PresentedKeys};

/// What this filter requires of its host: imports in a component, plain values in tests.
pub trait ApiKeyHost: ListSource {
    /// The hash of a key.
    fn sha256(&self, octets: &[u8]) -> Vec<u8>;
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKeyRefusal {
    /// No key, and one is required.
    Missing,
    /// More than one key.
    Ambiguous,
    /// A key of nobody.
    Unknown,
    /// The list of keys cannot be used.
    NoKeys,
}

impl ApiKeyRefusal {
    /// The rule behind it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "api-key.missing",
            Self::Ambiguous => "api-key.ambiguous",
            Self::Unknown => "api-key.unknown",
            Self::NoKeys => "api-key.no-keys",
        }
    }

    /// 503 where the fault is not the client's.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Missing | Self::Ambiguous | Self::Unknown => 401,
            Self::NoKeys => 503,
        }
    }
}

impl fmt::Display for ApiKeyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "a key is required",
            Self::Ambiguous => "more than one key was sent",
            Self::Unknown => "this key is not known",
            Self::NoKeys => "keys cannot be checked now",
        })
    }
}

/// The decision about a request.
#[derive(Clone, Debug)]
pub enum KeyDecision {
    /// It passes with these changes.
    Passes(Vec<Edit>),
    /// It is refused.
    Refused(ApiKeyRefusal),
}

/// Rules and the list of keys.
#[derive(Debug)]
pub struct ApiKeyPolicy {
    rules: ApiKeyRules,
    keys: SecretList<KeyList>,
}

impl ApiKeyPolicy {
    /// A policy that has not read its keys yet.
    #[must_use]
    pub fn new(rules: ApiKeyRules) -> Self {
        let read = |list: &[u8]| KeyList::parse(list).map_err(|error| error.to_string());
        Self { keys: SecretList::new(rules.secret.clone(), "keys", read), rules }
    }

    /// Decides about a request.
    pub fn decide(&mut self, seen: View<'_>, source: &impl ApiKeyHost) -> KeyDecision {
        let shown = shown::find(&self.rules, seen);
        let (key, path) = match shown {
            PresentedKeys::Many => return KeyDecision::Refused(ApiKeyRefusal::Ambiguous),
            PresentedKeys::None if self.rules.absent == AnonymousRequestRule::Refused => {
                return KeyDecision::Refused(ApiKeyRefusal::Missing);
            }
            PresentedKeys::None => return KeyDecision::Passes(edits(&self.rules, None)),
            PresentedKeys::One { key, path } => (key, path),
        };
        let hash = source.sha256(&key);
        let Some(keys) = self.keys.now(source) else {
            return KeyDecision::Refused(ApiKeyRefusal::NoKeys);
        };
        let Some(consumer) = keys.consumer(&hash) else {
            return KeyDecision::Refused(ApiKeyRefusal::Unknown);
        };
        let mut edits = edits(&self.rules, Some(consumer));
        edits.push(match path {
            Some(path) => Edit::path(path),
            None => Edit::remove(self.rules.header.as_str()),
        });
        KeyDecision::Passes(edits)
    }
}

/// What changes for an accepted key, or for a request without one.
fn edits(rules: &ApiKeyRules, consumer: Option<&str>) -> Vec<Edit> {
    known_as(CONSUMER, rules.consumer_header.as_deref(), consumer)
}

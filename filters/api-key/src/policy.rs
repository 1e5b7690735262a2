//! The decision about one request.

use std::fmt;

use tamis_sdk::{Edit, View};

use crate::config::{KeylessRequestRule, Rules};
use crate::keys::Keys;
use crate::known_as;
use crate::shown::{self, PresentedKeys};

/// What this filter requires of its host: imports in a component, plain values in tests.
pub trait Source {
    /// A clock that never goes back.
    fn now_us(&self) -> u64;
    /// The value of a secret.
    ///
    /// # Errors
    /// Why the secret has no value, and the way out.
    fn list(&self, secret: &str) -> Result<Vec<u8>, String>;
    /// The hash of a key.
    fn sha256(&self, octets: &[u8]) -> Vec<u8>;
    /// A line for the operator.
    fn warn(&self, line: &str);
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No key, and one is required.
    Missing,
    /// More than one key.
    Ambiguous,
    /// A key of nobody.
    Unknown,
    /// The list of keys cannot be used.
    NoKeys,
}

impl Refusal {
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "a key is required",
            Self::Ambiguous => "more than one key was sent",
            Self::Unknown => "this key is not known",
            Self::NoKeys => "keys cannot be checked now",
        })
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum KeyDecision {
    /// It passes with these changes.
    Passes(Vec<Edit>),
    /// It is refused.
    Refused(Refusal),
}

/// How long a list is used before the secret is read again.
const FRESH_US: u64 = 1_000_000;

/// Rules and the list of keys as it was last read.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    read: Option<Read>,
}

#[derive(Debug)]
struct Read {
    at_us: u64,
    /// `None`: the list cannot be used.
    keys: Option<Keys>,
}

impl Policy {
    /// A policy that has not read its keys yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, read: None }
    }

    /// Decides about a request.
    pub fn decide(&mut self, seen: View<'_>, source: &impl Source) -> KeyDecision {
        let shown = shown::find(&self.rules, seen);
        let (key, path) = match shown {
            PresentedKeys::Many => return KeyDecision::Refused(Refusal::Ambiguous),
            PresentedKeys::None if self.rules.absent == KeylessRequestRule::Refused => {
                return KeyDecision::Refused(Refusal::Missing);
            }
            PresentedKeys::None => return KeyDecision::Passes(known_as(&self.rules, None)),
            PresentedKeys::One { key, path } => (key, path),
        };
        let hash = source.sha256(&key);
        self.refresh(source);
        let Some(keys) = self.read.as_ref().and_then(|read| read.keys.as_ref()) else {
            return KeyDecision::Refused(Refusal::NoKeys);
        };
        let Some(consumer) = keys.consumer(&hash) else {
            return KeyDecision::Refused(Refusal::Unknown);
        };
        let mut edits = known_as(&self.rules, Some(consumer));
        edits.push(match path {
            Some(path) => Edit::path(path),
            None => Edit::remove(self.rules.header.as_str()),
        });
        KeyDecision::Passes(edits)
    }

    /// Reads the keys again after a second: a key that was taken out of the secret is refused from then on.
    fn refresh(&mut self, source: &impl Source) {
        let now_us = source.now_us();
        let fresh = |read: &Read| now_us.saturating_sub(read.at_us) < FRESH_US;
        if !self.read.as_ref().is_some_and(fresh) {
            let secret = &self.rules.secret;
            let list = source.list(secret);
            let keys = list.and_then(|list| Keys::parse(&list).map_err(|error| error.to_string()));
            let keys = keys.map_err(|why| {
                source.warn(&format!("the keys in the secret `{secret}` cannot be used: {why}"));
            });
            self.read = Some(Read { at_us: now_us, keys: keys.ok() });
        }
    }
}

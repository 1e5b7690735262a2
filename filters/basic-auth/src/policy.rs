//! The decision about one request.

use std::fmt;

use tamis_sdk::{Edit, View};

use crate::config::{AnonymousRequestRule, Rules};
use crate::credentials::{self, PresentedCredentials};
use crate::known_as;
use crate::users::Users;

/// Why no password was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComparisonFault {
    /// The list has a hash that the host does not compare with, or the filter may not wait here.
    Unusable(String),
    /// Too many comparisons wait.
    Busy,
}

/// What this filter requires of its host: imports in a component, plain values in tests.
pub trait Source {
    /// A clock that never goes back.
    fn now_us(&self) -> u64;
    /// The value of a secret.
    ///
    /// # Errors
    /// Why the secret has no value, and the way out.
    fn list(&self, secret: &str) -> Result<Vec<u8>, String>;
    /// The SHA-256 of octets.
    fn sha256(&self, octets: &[u8]) -> Vec<u8>;
    /// Whether the hash was made of the password; takes its time.
    ///
    /// # Errors
    /// Why nothing was compared.
    fn verify(&self, password: &[u8], hash: &str) -> Result<bool, ComparisonFault>;
    /// Whether that proof is remembered.
    fn remembers(&self, proof: &str) -> bool;
    /// Remembers a proof for that many milliseconds.
    fn remember(&self, proof: &str, millis: u32);
    /// A line for the operator.
    fn warn(&self, line: &str);
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No credentials of this scheme, and they are required.
    Missing,
    /// Credentials of another form than RFC 7617.
    Malformed,
    /// More than one field with credentials.
    Ambiguous,
    /// An unknown user, or a wrong password.
    Wrong,
    /// The list of users cannot be used.
    NoUsers,
    /// Too many passwords are being compared.
    Busy,
}

impl Refusal {
    /// The rule behind it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "basic-auth.missing",
            Self::Malformed => "basic-auth.malformed",
            Self::Ambiguous => "basic-auth.ambiguous",
            Self::Wrong => "basic-auth.wrong",
            Self::NoUsers => "basic-auth.no-users",
            Self::Busy => "basic-auth.busy",
        }
    }

    /// 503 where the fault is not the client's.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Missing | Self::Malformed | Self::Ambiguous | Self::Wrong => 401,
            Self::NoUsers | Self::Busy => 503,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "a user and a password are required",
            Self::Malformed => "the credentials are not `user:password` in Base64",
            Self::Ambiguous => "more than one field with credentials was sent",
            Self::Wrong => "this user or this password is wrong",
            Self::NoUsers => "passwords cannot be checked now",
            Self::Busy => "too many passwords are being checked; try again in a second",
        })
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum UserDecision {
    /// It passes with these changes.
    Passes(Vec<Edit>),
    /// It is refused.
    Refused(Refusal),
}

/// How long a list is used before the secret is read again.
const FRESH_US: u64 = 1_000_000;

/// Rules and the list of users as it was last read.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    read: Option<Read>,
}

#[derive(Debug)]
struct Read {
    at_us: u64,
    /// `None`: the list cannot be used.
    users: Option<Users>,
}

impl Policy {
    /// A policy that has not read its users yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, read: None }
    }

    /// The challenge of a refusal.
    #[must_use]
    pub fn challenge(&self) -> &str {
        &self.rules.challenge
    }

    /// Decides about a request.
    pub fn decide(&mut self, seen: View<'_>, source: &impl Source) -> UserDecision {
        let (user, password) = match credentials::find(seen) {
            PresentedCredentials::Many => return UserDecision::Refused(Refusal::Ambiguous),
            PresentedCredentials::Malformed => return UserDecision::Refused(Refusal::Malformed),
            PresentedCredentials::None if self.rules.absent == AnonymousRequestRule::Refused => {
                return UserDecision::Refused(Refusal::Missing);
            }
            PresentedCredentials::None => {
                return UserDecision::Passes(known_as(&self.rules, None));
            }
            PresentedCredentials::One { user, password } => (user, password),
        };
        match self.check(&user, &password, source) {
            Ok(()) => {
                let mut edits = known_as(&self.rules, Some(&user));
                edits.push(Edit::remove(crate::CREDENTIALS));
                UserDecision::Passes(edits)
            }
            Err(refusal) => UserDecision::Refused(refusal),
        }
    }

    fn check(&mut self, user: &str, password: &[u8], source: &impl Source) -> Result<(), Refusal> {
        self.refresh(source);
        let users = self.read.as_ref().and_then(|read| read.users.as_ref());
        let users = users.ok_or(Refusal::NoUsers)?;
        let known = users.hash(user);
        let hash = known.unwrap_or_else(|| users.first_hash());
        let proof = proof(user, password, hash, source);
        if known.is_some() && self.rules.remember_ms > 0 && source.remembers(&proof) {
            return Ok(());
        }
        match source.verify(password, hash) {
            Ok(true) if known.is_some() => {
                if self.rules.remember_ms > 0 {
                    source.remember(&proof, self.rules.remember_ms);
                }
                Ok(())
            }
            Ok(_) => Err(Refusal::Wrong),
            Err(ComparisonFault::Busy) => Err(Refusal::Busy),
            Err(ComparisonFault::Unusable(why)) => {
                let secret = &self.rules.secret;
                source.warn(&format!("a hash in the secret `{secret}` cannot be used: {why}"));
                Err(Refusal::NoUsers)
            }
        }
    }

    /// Reads the users again after a second: a user who was taken out of the secret is refused from then on.
    fn refresh(&mut self, source: &impl Source) {
        let now_us = source.now_us();
        let fresh = |read: &Read| now_us.saturating_sub(read.at_us) < FRESH_US;
        if !self.read.as_ref().is_some_and(fresh) {
            let secret = &self.rules.secret;
            let list = source.list(secret);
            let users =
                list.and_then(|list| Users::parse(&list).map_err(|error| error.to_string()));
            let users = users.map_err(|why| {
                source.warn(&format!("the users in the secret `{secret}` cannot be used: {why}"));
            });
            self.read = Some(Read { at_us: now_us, users: users.ok() });
        }
    }
}

/// What is remembered of a right password. The slow hash, which has a salt of its own, is part of it: a new password or
/// another salt makes another proof.
fn proof(user: &str, password: &[u8], hash: &str, source: &impl Source) -> String {
    let octets = [hash.as_bytes(), user.as_bytes(), password].join(&0);
    source.sha256(&octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

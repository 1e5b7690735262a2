//! The decision about one request.

use std::fmt;

use tamis_callers::anonymous::AnonymousRequestRule;
use tamis_callers::list::{ListSource, SecretList};
use tamis_callers::name::known_as;
use tamis_sdk::{Edit, View};

use crate::config::BasicAuthRules;
use crate::credentials::{self, PresentedCredentials};
use crate::users::Users;
use crate::{CREDENTIALS, USER};

/// Why no password was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComparisonFault {
    /// The list has a hash that the host does not compare with, or the filter may not wait here.
    Unusable(String),
    /// Too many comparisons wait.
    Busy,
}

/// What this filter requires of its host: imports in a component, plain values in tests.
pub trait BasicAuthHost: ListSource {
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
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasicAuthRefusal {
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

impl BasicAuthRefusal {
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

impl fmt::Display for BasicAuthRefusal {
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

/// The decision about a request.
#[derive(Clone, Debug)]
pub enum UserDecision {
    /// It passes with these changes.
    Passes(Vec<Edit>),
    /// It is refused.
    Refused(BasicAuthRefusal),
}

/// Rules and the list of users.
#[derive(Debug)]
pub struct BasicAuthPolicy {
    rules: BasicAuthRules,
    users: SecretList<Users>,
}

impl BasicAuthPolicy {
    /// A policy that has not read its users yet.
    #[must_use]
    pub fn new(rules: BasicAuthRules) -> Self {
        let read = |list: &[u8]| Users::parse(list).map_err(|error| error.to_string());
        Self { users: SecretList::new(rules.secret.clone(), "users", read), rules }
    }

    /// The challenge of a refusal.
    #[must_use]
    pub fn challenge(&self) -> &str {
        &self.rules.challenge
    }

    /// Decides about a request.
    pub fn decide(&mut self, seen: View<'_>, source: &impl BasicAuthHost) -> UserDecision {
        let (user, password) = match credentials::find(seen) {
            PresentedCredentials::Many => {
                return UserDecision::Refused(BasicAuthRefusal::Ambiguous);
            }
            PresentedCredentials::Malformed => {
                return UserDecision::Refused(BasicAuthRefusal::Malformed);
            }
            PresentedCredentials::None if self.rules.absent == AnonymousRequestRule::Refused => {
                return UserDecision::Refused(BasicAuthRefusal::Missing);
            }
            PresentedCredentials::None => {
                return UserDecision::Passes(self.known_as(None));
            }
            PresentedCredentials::One { user, password } => (user, password),
        };
        match self.check(&user, &password, source) {
            Ok(()) => {
                let mut edits = self.known_as(Some(&user));
                edits.push(Edit::remove(CREDENTIALS));
                UserDecision::Passes(edits)
            }
            Err(refusal) => UserDecision::Refused(refusal),
        }
    }

    fn check(
        &mut self,
        user: &str,
        password: &[u8],
        source: &impl BasicAuthHost,
    ) -> Result<(), BasicAuthRefusal> {
        let users = self.users.now(source).ok_or(BasicAuthRefusal::NoUsers)?;
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
            Ok(_) => Err(BasicAuthRefusal::Wrong),
            Err(ComparisonFault::Busy) => Err(BasicAuthRefusal::Busy),
            Err(ComparisonFault::Unusable(why)) => {
                let secret = &self.rules.secret;
                source.warn(&format!("a hash in the secret `{secret}` cannot be used: {why}"));
                Err(BasicAuthRefusal::NoUsers)
            }
        }
    }

    fn known_as(&self, user: Option<&str>) -> Vec<Edit> {
        known_as(USER, self.rules.user_header.as_deref(), user)
    }
}

/// What is remembered of a right password. The slow hash, which has a salt of its own, is part of it: a new password or
/// another salt makes another proof.
fn proof(user: &str, password: &[u8], hash: &str, source: &impl BasicAuthHost) -> String {
    let octets = [hash.as_bytes(), user.as_bytes(), password].join(&0);
    source.sha256(&octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

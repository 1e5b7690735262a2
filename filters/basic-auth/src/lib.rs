//! The built-in `basic-auth` policy: accepts users with a password (RFC 7617).
//!
//! The proxy has only slow hashes of passwords, in a secret ([`users`]). For each request, the user and the password are
//! read from its credentials ([`credentials`]), and the host compares the password with the hash on a thread of its own,
//! while the request waits and its worker does not. A password that was right is remembered for a while ([`policy`]). The
//! upstream receives the name of the user, never the password.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use tamis_callers::answer::refused;
use tamis_callers::list::ListImports;
use tamis_sdk::{ConfigError, Filter, Interest, Request, View, crypto, kv, passwords, request};

pub mod config;
pub mod credentials;
pub mod policy;
pub mod users;

use config::{BasicAuthRules, BasicAuthSettings};
use policy::{BasicAuthHost, BasicAuthPolicy, ComparisonFault, UserDecision};

/// The attribute that names the user.
pub const USER: &str = "basic-auth.user";
/// The header of credentials.
pub const CREDENTIALS: &str = "authorization";

/// The filter as a component.
#[derive(Debug)]
pub struct BasicAuth {
    policy: BasicAuthPolicy,
}

impl BasicAuthHost for ListImports {
    fn sha256(&self, octets: &[u8]) -> Vec<u8> {
        crypto::hash(crypto::Digest::Sha256, octets)
    }

    fn verify(&self, password: &[u8], hash: &str) -> Result<bool, ComparisonFault> {
        passwords::verify(password, hash).map_err(|failure| match failure {
            passwords::Failure::Exhausted => ComparisonFault::Busy,
            passwords::Failure::Hash(why) | passwords::Failure::Denied(why) => {
                ComparisonFault::Unusable(why)
            }
        })
    }

    fn remembers(&self, proof: &str) -> bool {
        kv::read(proof).is_some()
    }

    fn remember(&self, proof: &str, millis: u32) {
        // Without room, the next request of this user is compared again.
        let _ = kv::write(proof, b"", millis);
    }
}

impl Filter for BasicAuth {
    type Settings = BasicAuthSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &BasicAuthSettings) -> Result<(), Vec<ConfigError>> {
        BasicAuthRules::check(settings).map(drop)
    }

    fn configure(settings: BasicAuthSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = BasicAuthRules::check(&settings)?;
        let interest = rules.interest();
        Ok((Self { policy: BasicAuthPolicy::new(rules) }, interest))
    }
}

impl Request for BasicAuth {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        match self.policy.decide(seen, &ListImports) {
            UserDecision::Passes(edits) => request::Decision::change(edits),
            UserDecision::Refused(refusal) => {
                refused(refusal.status(), &refusal, refusal.reason(), self.policy.challenge())
            }
        }
    }
}

tamis_sdk::export_authorizer!(BasicAuth);

#[cfg(test)]
mod tests;

//! The built-in `basic-auth` policy: accepts users with a password (RFC 7617).
//!
//! The proxy has only slow hashes of passwords, in a secret ([`users`]). For each request, the user and the password are
//! read from its credentials ([`credentials`]), and the host compares the password with the hash on a thread of its own,
//! while the request waits and its worker does not. A password that was right is remembered for a while ([`policy`]). The
//! upstream receives the name of the user, never the password.

use tamis_sdk::{
    Attribute, ConfigError, Edit, Filter, Interest, Request, View, clock, crypto, kv, log,
    passwords, reply, request, secrets,
};

pub mod config;
pub mod credentials;
pub mod policy;
pub mod users;

use config::{BasicAuthSettings, Rules};
use policy::{ComparisonFault, Policy, Refusal, Source, UserDecision};

/// The attribute that names the user.
pub const USER: &str = "basic-auth.user";
/// The header of credentials.
pub const CREDENTIALS: &str = "authorization";

/// The filter as a component.
#[derive(Debug)]
pub struct BasicAuth {
    policy: Policy,
}

/// The capabilities of the component.
#[derive(Clone, Copy, Debug)]
struct Imports;

impl Source for Imports {
    fn now_us(&self) -> u64 {
        clock::monotonic_us()
    }

    fn list(&self, secret: &str) -> Result<Vec<u8>, String> {
        secrets::reveal(secrets::open(secret)?).ok_or_else(|| {
            "the grant lets the filter use the list of hashes, and not read it: set `imports.secrets.reveal`".to_owned()
        })
    }

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

    fn warn(&self, line: &str) {
        log::write(log::Level::Error, line);
    }
}

impl Filter for BasicAuth {
    type Settings = BasicAuthSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &BasicAuthSettings) -> Result<(), Vec<ConfigError>> {
        Rules::check(settings).map(drop)
    }

    fn configure(settings: BasicAuthSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = Rules::check(&settings)?;
        let interest = rules.interest();
        Ok((Self { policy: Policy::new(rules) }, interest))
    }
}

impl Request for BasicAuth {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        match self.policy.decide(seen, &Imports) {
            UserDecision::Passes(edits) => request::Decision::change(edits),
            UserDecision::Refused(refusal) => {
                let mut answer = reply(refusal.status());
                if refusal.status() == 401 {
                    answer = answer.header("www-authenticate", self.policy.challenge());
                }
                if refusal == Refusal::Busy {
                    answer = answer.header("retry-after", "1");
                }
                let answer = answer.text(format!("{refusal}\n"));
                request::Decision::answer(answer).because(refusal.reason())
            }
        }
    }
}

/// Edits for a known user, or for a request without one.
fn known_as(rules: &Rules, user: Option<&str>) -> Vec<Edit> {
    let mut edits = Vec::new();
    if let Some(name) = user {
        let (attribute, value) = (USER.to_owned(), name.to_owned());
        edits.push(Edit::SetAttribute(Attribute { name: attribute, value }));
    }
    if let Some(header) = &rules.user_header {
        edits.push(match user {
            Some(name) => Edit::set(header.as_str(), name),
            None => Edit::remove(header.as_str()),
        });
    }
    edits
}

tamis_sdk::export_authorizer!(BasicAuth);

#[cfg(test)]
mod tests;

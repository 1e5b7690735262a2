//! The built-in `api-key` policy: accepts keys of known consumers.
//!
//! The proxy has only the hashes of keys, in a secret ([`keys`]). For each request, the key is found in a
//! header or in the query ([`shown`]), hashed by the host, and compared with every known hash in constant
//! time. The upstream receives the name of the consumer, never the key.

use tamis_sdk::{
    Attribute, ConfigError, Edit, Filter, Interest, Request, View, clock, crypto, log, reply,
    request, secrets,
};

pub mod config;
pub mod keys;
pub mod policy;
pub mod shown;

use config::{ApiKeySettings, Rules};
use policy::{KeyDecision, Policy, Source};

/// The attribute that names the consumer of an accepted key.
pub const CONSUMER: &str = "api-key.consumer";

/// The filter as a component.
#[derive(Debug)]
pub struct ApiKey {
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

    fn warn(&self, line: &str) {
        log::write(log::Level::Error, line);
    }
}

impl Filter for ApiKey {
    type Settings = ApiKeySettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &ApiKeySettings) -> Result<(), Vec<ConfigError>> {
        Rules::check(settings).map(drop)
    }

    fn configure(settings: ApiKeySettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = Rules::check(&settings)?;
        let interest = rules.interest();
        Ok((Self { policy: Policy::new(rules) }, interest))
    }
}

impl Request for ApiKey {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        match self.policy.decide(seen, &Imports) {
            KeyDecision::Passes(edits) => request::Decision::change(edits),
            KeyDecision::Refused(refusal) => {
                let mut answer = reply(refusal.status());
                if refusal.status() == 401 {
                    // RFC 9110 §11.6.1 demands a challenge; no scheme is registered for keys.
                    answer = answer.header("www-authenticate", "ApiKey");
                }
                let answer = answer.text(format!("{refusal}\n"));
                request::Decision::answer(answer).because(refusal.reason())
            }
        }
    }
}

/// Edits for an accepted key, or for a request without one.
fn known_as(rules: &Rules, consumer: Option<&str>) -> Vec<Edit> {
    let mut edits = Vec::new();
    if let Some(name) = consumer {
        let (attribute, value) = (CONSUMER.to_owned(), name.to_owned());
        edits.push(Edit::SetAttribute(Attribute { name: attribute, value }));
    }
    if let Some(header) = &rules.consumer_header {
        edits.push(match consumer {
            Some(name) => Edit::set(header.as_str(), name),
            None => Edit::remove(header.as_str()),
        });
    }
    edits
}

tamis_sdk::export_authorizer!(ApiKey);

#[cfg(test)]
mod tests;

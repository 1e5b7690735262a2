//! The built-in `api-key` policy: accepts keys of known consumers.
//!
//! The proxy has only the hashes of keys, in a secret ([`keys`]). For each request, the key is found in a
//! header or in the query ([`shown`]), hashed by the host, and compared with every known hash in constant
//! time. The upstream receives the name of the consumer, never the key.

// A whole function fits into view; one that is a table expects this lint, with its reason.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

use tamis_callers::answer::refused;
use tamis_callers::list::ListImports;
use tamis_sdk::{ConfigError, Filter, Interest, Request, View, crypto, request};

pub mod config;
pub mod keys;
pub mod policy;
pub mod shown;

use config::{ApiKeyRules, ApiKeySettings};
use policy::{ApiKeyHost, ApiKeyPolicy, KeyDecision};

/// The attribute that names the consumer of an accepted key.
pub const CONSUMER: &str = "api-key.consumer";

/// The filter as a component.
#[derive(Debug)]
pub struct ApiKey {
    policy: ApiKeyPolicy,
}

impl ApiKeyHost for ListImports {
    fn sha256(&self, octets: &[u8]) -> Vec<u8> {
        crypto::hash(crypto::Digest::Sha256, octets)
    }
}

impl Filter for ApiKey {
    type Settings = ApiKeySettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &ApiKeySettings) -> Result<(), Vec<ConfigError>> {
        ApiKeyRules::check(settings).map(drop)
    }

    fn configure(settings: ApiKeySettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = ApiKeyRules::check(&settings)?;
        let interest = rules.interest();
        Ok((Self { policy: ApiKeyPolicy::new(rules) }, interest))
    }
}

impl Request for ApiKey {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        match self.policy.decide(seen, &ListImports) {
            KeyDecision::Passes(edits) => request::Decision::change(edits),
            // No scheme is registered for keys.
            KeyDecision::Refused(refusal) => {
                refused(refusal.status(), &refusal, refusal.reason(), "ApiKey")
            }
        }
    }
}

tamis_sdk::export_authorizer!(ApiKey);

#[cfg(test)]
mod tests;

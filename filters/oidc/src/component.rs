//! The filter as a component: implements the traits of [`crate::host`] with imports, and exports the hooks.

use tamis_jose::algorithm::SigningAlgorithm;
use tamis_jose::host::{Fetch, FetchedResponse, SharedStore, StoredValue, Verify};
use tamis_jose::imports::{HostImports, why};
use tamis_sdk::{
    ConfigError, Field, Filter, Interest, Request, Response, Tick, View, clock, exchange_state,
    http_client, kv, log, random, request, response, secrets,
};

use crate::config::{OidcRules, OidcSettings};
use crate::cookies::with_cookies;
use crate::host::{FormPost, OidcHost, SwapFault};
use crate::policy::OidcPolicy;
use crate::provider::ProviderRefresher;

/// Key of the lines that the hook on requests leaves for the one on responses.
const KEPT: &str = "cookies";

/// The built-in `oidc` policy.
#[derive(Debug)]
pub struct Oidc {
    policy: OidcPolicy,
    refresher: ProviderRefresher,
}

impl Filter for Oidc {
    type Settings = OidcSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &OidcSettings) -> Result<(), Vec<ConfigError>> {
        OidcRules::check(settings).map(drop)
    }

    fn configure(settings: OidcSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = OidcRules::check(&settings)?;
        let interest = rules.interest();
        let refresher = ProviderRefresher::new(&rules);
        Ok((Self { policy: OidcPolicy::new(rules), refresher }, interest))
    }
}

impl Request for Oidc {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        let decided = self.policy.decide(seen, &Imports);
        if !decided.cookies.is_empty() {
            let lines = decided.cookies.join("\n");
            let scope = exchange_state::Scope::Exchange;
            if let Err(why) = exchange_state::write(scope, KEPT, lines.as_bytes()) {
                Imports.warn(&format!("a renewed session does not reach the browser: {why}"));
            }
        }
        decided.decision
    }
}

impl Response for Oidc {
    fn on_response(&mut self, _: View<'_>) -> response::Decision {
        let Some(lines) = exchange_state::read(exchange_state::Scope::Exchange, KEPT) else {
            return response::Decision::pass();
        };
        response::Decision::change(with_cookies(lines.split(|octet| *octet == b'\n')))
    }
}

impl Tick for Oidc {
    fn on_tick(&mut self) -> Option<u32> {
        let (failures, next_ms) = self.refresher.tick(Imports.now_ms(), &Imports);
        for failure in &failures {
            Imports.warn(failure);
        }
        Some(next_ms)
    }
}

/// The capabilities of the component.
struct Imports;

impl Verify for Imports {
    fn import_key(&self, jwk: &str) -> Result<u32, String> {
        HostImports.import_key(jwk)
    }

    fn verify(
        &self,
        key: u32,
        algorithm: SigningAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        HostImports.verify(key, algorithm, message, signature)
    }

    fn sha256(&self, message: &[u8]) -> Vec<u8> {
        HostImports.sha256(message)
    }

    fn drop_key(&self, key: u32) {
        HostImports.drop_key(key);
    }
}

impl SharedStore for Imports {
    fn read(&self, key: &str) -> Option<StoredValue> {
        HostImports.read(key)
    }

    fn write(&self, key: &str, value: &[u8], ttl_ms: u32) -> Result<(), String> {
        HostImports.write(key, value, ttl_ms)
    }

    fn remove(&self, key: &str) {
        HostImports.remove(key);
    }
}

impl Fetch for Imports {
    fn fetch(&self, url: &str) -> Result<FetchedResponse, String> {
        HostImports.fetch(url)
    }
}

impl OidcHost for Imports {
    fn now_ms(&self) -> u64 {
        clock::unix_ms()
    }

    fn random(&self, octets: u32) -> Vec<u8> {
        random::octets(octets)
    }

    fn derive(&self, secret: &str, label: &str) -> Result<Vec<u8>, String> {
        Ok(secrets::hmac_sha256(secrets::open(secret)?, label.as_bytes()))
    }

    fn reveal(&self, secret: &str) -> Result<Vec<u8>, String> {
        secrets::reveal(secrets::open(secret)?).ok_or_else(|| {
            "the grant lets the filter use the client's secret, and not send it: set `imports.secrets.reveal`".to_owned()
        })
    }

    fn post(&self, post: &FormPost) -> Result<FetchedResponse, String> {
        let field = |name: &str, value: &str| Field { name: name.to_owned(), value: value.into() };
        let mut headers = vec![
            field("content-type", "application/x-www-form-urlencoded"),
            field("accept", "application/json"),
        ];
        headers.extend(post.authorization.as_ref().map(|value| field("authorization", value)));
        let outgoing = http_client::Outgoing {
            method: "POST".to_owned(),
            url: post.url.clone(),
            headers,
            body: post.form.clone().into_bytes(),
            timeout_ms: post.timeout_ms,
        };
        let answer = http_client::send(&outgoing).map_err(why)?;
        Ok(FetchedResponse { status: answer.status, body: answer.body })
    }

    fn swap(&self, key: &str, expect: u64, value: &[u8], ttl_ms: u32) -> Result<u64, SwapFault> {
        kv::swap(key, expect, value, ttl_ms).map_err(|stored| {
            // What is stored has the version that was expected: so it was not written for another reason.
            if stored.as_ref().map_or(0, |entry| entry.version) == expect {
                return SwapFault::NoRoom;
            }
            let stored = stored.map(|it| StoredValue { value: it.value, version: it.version });
            SwapFault::Changed(stored)
        })
    }

    fn warn(&self, line: &str) {
        log::write(log::Level::Warn, line);
    }
}

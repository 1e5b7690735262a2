//! The filter as a component: implements the traits of [`crate::host`] with imports, and exports the hooks.

use tamis_sdk::{
    ConfigError, Filter, Interest, Request, Tick, View, clock, crypto, http_client, kv, log,
    request,
};

use crate::algorithm::Algorithm;
use crate::config::{CLAIMS, JwtSettings, Rules, TokenForwarding};
use crate::host::{Fetch, FetchedResponse, Store, StoredValue, Verify};
use crate::policy::Policy;
use crate::refresh::Refresher;

/// Time that a server has to send a key set, in milliseconds.
const FETCH_TIMEOUT_MS: u32 = 5000;

/// The built-in `jwt` policy.
#[derive(Debug)]
pub struct Jwt {
    policy: Policy,
    refresher: Refresher,
}

impl Filter for Jwt {
    type Settings = JwtSettings;
    const SCHEMA: &'static str = include_str!("../schema.json");

    fn check(settings: &JwtSettings) -> Result<(), Vec<ConfigError>> {
        Rules::check(settings).map(drop)
    }

    fn configure(settings: JwtSettings) -> Result<(Self, Interest), Vec<ConfigError>> {
        let rules = Rules::check(&settings)?;
        let interest = interest(&rules);
        let refresher = Refresher::new(&rules);
        // Only verified tokens enter the cache, so a seed that differs from start to start is sufficient.
        let seed = clock::unix_ms() ^ clock::monotonic_us().rotate_left(32);
        Ok((Self { policy: Policy::new(rules, seed, &Imports)?, refresher }, interest))
    }
}

impl Request for Jwt {
    fn on_request(&mut self, seen: View<'_>) -> request::Decision {
        self.policy.decide(seen, clock::unix_ms(), &Imports)
    }
}

impl Tick for Jwt {
    fn on_tick(&mut self) -> Option<u32> {
        let round = self.refresher.tick(clock::unix_ms(), &Imports);
        for failure in &round.failures {
            log::write(log::Level::Warn, failure);
        }
        round.next_ms
    }
}

/// Reads: the token and the claim headers (to see whether a client sent one). Writes: the claim headers,
/// the attribute with claims if it is asked for, and the token's header unless it is forwarded.
#[must_use]
pub fn interest(rules: &Rules) -> Interest {
    let token = std::iter::once(rules.token_header.as_str());
    let claims = rules.claim_headers.iter().map(String::as_str);
    let interest = Interest::reading(token.clone().chain(claims.clone())).writing(claims);
    let attribute = (!rules.claims_to_attribute.is_empty()).then(|| format!("@{CLAIMS}"));
    let interest = interest.writing(attribute.as_deref());
    match rules.spent {
        TokenForwarding::Removed => interest.writing(token),
        TokenForwarding::Forwarded => interest,
    }
}

/// The capabilities of the component.
struct Imports;

impl Verify for Imports {
    fn import_key(&self, jwk: &str) -> Result<u32, String> {
        crypto::import_jwk(jwk)
    }

    fn verify(&self, key: u32, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        crypto::verify(key, import(algorithm), message, signature)
    }

    fn sha256(&self, message: &[u8]) -> Vec<u8> {
        crypto::hash(crypto::Digest::Sha256, message)
    }

    fn drop_key(&self, key: u32) {
        crypto::drop_key(key);
    }
}

impl Store for Imports {
    fn read(&self, key: &str) -> Option<StoredValue> {
        kv::read(key).map(|entry| StoredValue { value: entry.value, version: entry.version })
    }

    fn write(&self, key: &str, value: &[u8], ttl_ms: u32) -> Result<(), String> {
        kv::write(key, value, ttl_ms).map(drop)
    }

    fn remove(&self, key: &str) {
        kv::remove(key);
    }
}

impl Fetch for Imports {
    fn fetch(&self, url: &str) -> Result<FetchedResponse, String> {
        let request = http_client::Outgoing {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: vec![tamis_sdk::Field {
                name: "accept".to_owned(),
                value: b"application/jwk-set+json, application/json".to_vec(),
            }],
            body: Vec::new(),
            timeout_ms: FETCH_TIMEOUT_MS,
        };
        match http_client::send(&request) {
            Ok(answer) => Ok(FetchedResponse { status: answer.status, body: answer.body }),
            Err(http_client::Failure::Denied(why)) => {
                Err(format!("the grant does not allow it: {why}"))
            }
            Err(http_client::Failure::Connect(why)) => Err(format!("no connection: {why}")),
            Err(http_client::Failure::Timeout) => Err("no response in time".to_owned()),
            Err(http_client::Failure::TooLarge) => Err("the response is too large".to_owned()),
            Err(http_client::Failure::Exhausted) => {
                Err("the grant allows no more requests for now".to_owned())
            }
        }
    }
}

fn import(algorithm: Algorithm) -> crypto::Algorithm {
    match algorithm {
        Algorithm::Rs256 => crypto::Algorithm::Rs256,
        Algorithm::Rs384 => crypto::Algorithm::Rs384,
        Algorithm::Rs512 => crypto::Algorithm::Rs512,
        Algorithm::Ps256 => crypto::Algorithm::Ps256,
        Algorithm::Ps384 => crypto::Algorithm::Ps384,
        Algorithm::Ps512 => crypto::Algorithm::Ps512,
        Algorithm::Es256 => crypto::Algorithm::Es256,
        Algorithm::Es384 => crypto::Algorithm::Es384,
        Algorithm::Es512 => crypto::Algorithm::Es512,
        Algorithm::EdDsa => crypto::Algorithm::Eddsa,
        Algorithm::Hs256 => crypto::Algorithm::Hs256,
        Algorithm::Hs384 => crypto::Algorithm::Hs384,
        Algorithm::Hs512 => crypto::Algorithm::Hs512,
    }
}

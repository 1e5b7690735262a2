//! The policy as a whole: examples of RFC 7515, requests, remembered tokens, keys that change, hostile
//! input.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: what is wrong here fails the test"
)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};
use tamis_filter_jwt::component::interest;
use tamis_filter_jwt::config::JwtRules;
use tamis_filter_jwt::policy::JwtPolicy;
use tamis_jose::algorithm::SigningAlgorithm;
use tamis_jose::fault::TokenFault;
use tamis_jose::host::{Fetch, FetchedResponse, SharedStore, StoredValue, Verify};
use tamis_jose::jws::Token;
use tamis_jose::keyring::wish_key;
use tamis_jose::keys::{KeyOrigin, KeySet};
use tamis_jose::refresh::Refresher;
use tamis_sdk::{Config, Edit, View, request, view::packed};

#[cfg(test)]
#[path = "../../jose/tests/harness/native.rs"]
mod native;

use native::Native;

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = &[7; 32];

/// A host: native cryptography, a store, and a server that answers with `served`.
#[derive(Default)]
struct Host {
    native: Native,
    stored: RefCell<HashMap<String, StoredValue>>,
    versions: Cell<u64>,
    served: RefCell<Option<Value>>,
    fetches: Cell<usize>,
}

impl Verify for Host {
    fn import_key(&self, jwk: &str) -> Result<u32, String> {
        self.native.import_key(jwk)
    }
    fn verify(
        &self,
        key: u32,
        algorithm: SigningAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.native.verify(key, algorithm, message, signature)
    }
    fn sha256(&self, message: &[u8]) -> Vec<u8> {
        self.native.sha256(message)
    }
    fn drop_key(&self, key: u32) {
        self.native.drop_key(key);
    }
}

impl SharedStore for Host {
    fn read(&self, key: &str) -> Option<StoredValue> {
        self.stored.borrow().get(key).cloned()
    }
    fn write(&self, key: &str, value: &[u8], _ttl_ms: u32) -> Result<(), String> {
        self.versions.set(self.versions.get() + 1);
        let stored = StoredValue { value: value.to_vec(), version: self.versions.get() };
        self.stored.borrow_mut().insert(key.to_owned(), stored);
        Ok(())
    }
    fn remove(&self, key: &str) {
        self.stored.borrow_mut().remove(key);
    }
}

impl Fetch for Host {
    fn fetch(&self, _url: &str) -> Result<FetchedResponse, String> {
        self.fetches.set(self.fetches.get() + 1);
        let served = self.served.borrow();
        let set = served.as_ref().ok_or("no connection")?;
        Ok(FetchedResponse { status: 200, body: set.to_string().into_bytes() })
    }
}

/// A policy, its host and its time.
struct Scene {
    policy: JwtPolicy,
    refresher: Refresher,
    reads: Vec<String>,
    host: Host,
    now_ms: u64,
}

impl Scene {
    fn new(change: impl FnOnce(&mut Value)) -> Self {
        let mut config = json!({
            "issuers": [{
                "issuer": "https://idp", "audiences": ["shop", "till"], "algorithms": ["HS256"],
                "jwks": {"inline": {"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)}},
                "claimsToHeaders": [
                    {"claim": "sub", "header": "X-User"}, {"claim": "roles", "header": "x-roles"},
                    {"claim": "admin", "header": "x-admin"}],
            }],
        });
        change(&mut config);
        let rules = JwtRules::check(&Config::parse(&config.to_string()).unwrap()).unwrap();
        let (host, reads) = (Host::default(), interest(&rules).reads);
        let refresher = Refresher::new(rules.fetched());
        let policy = JwtPolicy::new(rules, 1, &host).unwrap();
        host.native.take_counts();
        Self { policy, refresher, reads, host, now_ms: NOW * 1000 }
    }

    fn followed() -> Self {
        Self::new(|config| {
            config["issuers"][0]["jwks"] = json!({"url": "https://idp/keys", "refresh": "5m"});
            config["issuers"][0]["algorithms"] = json!(["ES256", "EdDSA"]);
        })
    }

    fn ask(&mut self, fields: &[(&str, &[u8])]) -> request::Decision {
        let raw = packed(&self.reads, fields);
        self.policy.decide(View::new(&raw, &self.reads), self.now_ms, &self.host)
    }

    fn show(&mut self, token: &str) -> request::Decision {
        self.ask(&[("authorization", format!("Bearer {token}").as_bytes())])
    }

    fn reason(&mut self, token: &str) -> String {
        self.show(token).reason.unwrap_or_else(|| "passes".to_owned())
    }

    fn tick(&mut self) -> Vec<String> {
        self.refresher.tick(self.now_ms, &self.host).failures
    }
}

fn claims() -> Value {
    json!({"iss": "https://idp", "aud": "shop", "exp": NOW + 600, "sub": "ann"})
}

fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn sign(claims: &Value) -> String {
    sign_text(r#"{"alg":"HS256"}"#, &claims.to_string())
}

fn sign_text(header: &str, payload: &str) -> String {
    let signed = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
}

fn check(key: &str, token: &str, allowed: SigningAlgorithm) -> Result<(), TokenFault> {
    let native = Native::default();
    let ring = KeySet::parse(key.as_bytes(), KeyOrigin::Inline).unwrap().import(&native).unwrap();
    Token::parse(token.as_bytes())?.check(&ring, &[allowed], &native)
}

#[path = "policy/rfc.rs"]
mod rfc;

#[path = "policy/requests.rs"]
mod requests;

#[path = "policy/remembered.rs"]
mod remembered;

#[path = "policy/rotation.rs"]
mod rotation;

proptest! {
    #[test]
    fn any_octets_are_judged_without_panic(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut scene = Scene::new(|_| {});
        let field = [b"Bearer ".as_slice(), &octets].concat();
        let decision = scene.ask(&[("authorization", &field)]);
        prop_assert!(decision.reason.is_some());
    }

    #[test]
    fn any_header_and_payload_are_judged_without_panic(
        header in r#"\{("(alg|kid|crit|b64|x)":("HS256"|"none"|1|null|\[\]),?){0,4}\}"#,
        payload in r#"\{("(iss|aud|exp|nbf|sub)":("https://idp"|"shop"|1e400|-1|null|\[\{\}\]),?){0,6}\}"#,
    ) {
        let mut scene = Scene::new(|_| {});
        let token = sign_text(&header, &payload);
        prop_assert!(scene.reason(&token) != "passes");
    }

    #[test]
    fn a_flipped_bit_anywhere_never_passes(bit in any::<prop::sample::Index>(), sub in ".{0,40}") {
        let mut scene = Scene::new(|config| config["issuers"][0]["claimsToHeaders"] = json!([]));
        let mut token = sign(&claims_with("sub", json!(sub))).into_bytes();
        let field = |token: &[u8]| [b"Bearer ".as_slice(), token].concat();
        let decision = scene.ask(&[("authorization", &field(&token))]);
        prop_assert!(decision.reason.is_none());
        let bit = bit.index(token.len() * 8);
        token[bit / 8] ^= 1 << (bit % 8);
        let decision = scene.ask(&[("authorization", &field(&token))]);
        // The good token is remembered: neither the cache nor the check may mistake the other for it.
        prop_assert!(decision.reason.is_some());
    }
}

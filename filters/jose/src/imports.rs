//! The traits of [`crate::host`] with the imports of a component.

use tamis_sdk::{Field, crypto, http_client, kv};

use crate::algorithm::SigningAlgorithm;
use crate::host::{Fetch, FetchedResponse, SharedStore, StoredValue, Verify};

/// Time that a server has to send a document, in milliseconds.
const FETCH_TIMEOUT_MS: u32 = 5000;

/// The capabilities of a component.
#[derive(Clone, Copy, Debug)]
pub struct HostImports;

impl Verify for HostImports {
    fn import_key(&self, jwk: &str) -> Result<u32, String> {
        crypto::import_jwk(jwk)
    }

    fn verify(
        &self,
        key: u32,
        algorithm: SigningAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        crypto::verify(key, import(algorithm), message, signature)
    }

    fn sha256(&self, message: &[u8]) -> Vec<u8> {
        crypto::hash(crypto::Digest::Sha256, message)
    }

    fn drop_key(&self, key: u32) {
        crypto::drop_key(key);
    }
}

impl SharedStore for HostImports {
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

impl Fetch for HostImports {
    fn fetch(&self, url: &str) -> Result<FetchedResponse, String> {
        let request = http_client::Outgoing {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: vec![Field {
                name: "accept".to_owned(),
                value: b"application/jwk-set+json, application/json".to_vec(),
            }],
            body: Vec::new(),
            timeout_ms: FETCH_TIMEOUT_MS,
        };
        let answer = http_client::send(&request).map_err(why)?;
        Ok(FetchedResponse { status: answer.status, body: answer.body })
    }
}

/// Why there is no response, for the log.
#[must_use]
pub fn why(failure: http_client::Failure) -> String {
    match failure {
        http_client::Failure::Denied(why) => format!("the grant does not allow it: {why}"),
        http_client::Failure::Connect(why) => format!("no connection: {why}"),
        http_client::Failure::Timeout => "no response in time".to_owned(),
        http_client::Failure::TooLarge => "the response is too large".to_owned(),
        http_client::Failure::Exhausted => "the grant allows no more requests for now".to_owned(),
    }
}

fn import(algorithm: SigningAlgorithm) -> crypto::Algorithm {
    match algorithm {
        SigningAlgorithm::Rs256 => crypto::Algorithm::Rs256,
        SigningAlgorithm::Rs384 => crypto::Algorithm::Rs384,
        SigningAlgorithm::Rs512 => crypto::Algorithm::Rs512,
        SigningAlgorithm::Ps256 => crypto::Algorithm::Ps256,
        SigningAlgorithm::Ps384 => crypto::Algorithm::Ps384,
        SigningAlgorithm::Ps512 => crypto::Algorithm::Ps512,
        SigningAlgorithm::Es256 => crypto::Algorithm::Es256,
        SigningAlgorithm::Es384 => crypto::Algorithm::Es384,
        SigningAlgorithm::Es512 => crypto::Algorithm::Es512,
        SigningAlgorithm::EdDsa => crypto::Algorithm::Eddsa,
        SigningAlgorithm::Hs256 => crypto::Algorithm::Hs256,
        SigningAlgorithm::Hs384 => crypto::Algorithm::Hs384,
        SigningAlgorithm::Hs512 => crypto::Algorithm::Hs512,
    }
}

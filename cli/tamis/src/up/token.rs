//! Tokens of the sample issuer (RFC 7515, ES256), to try a filter that requires tokens.

use crate::named_file;
use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use std::path::Path;
use tamis_ambient::Clock;

/// Name of the key in the key set.
const KEY_ID: &str = "sample";
/// How long a token is valid: a working day.
const SECONDS: u64 = 12 * 3600;

/// A key of the sample issuer.
pub(crate) struct Key {
    pkcs8: Vec<u8>,
    pair: EcdsaKeyPair,
}

impl Key {
    /// A fresh key.
    pub(crate) fn generate() -> Result<Self> {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(|_| anyhow!("no randomness for a key"))?;
        Self::of(made.as_ref().to_vec())
    }

    /// A key that was stored.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let pkcs8 = named_file::octets(path).with_context(|| format!("{}", path.display()))?;
        Self::of(pkcs8).with_context(|| format!("{} is not a private key", path.display()))
    }

    fn of(pkcs8: Vec<u8>) -> Result<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|error| anyhow!("{error}"))?;
        Ok(Self { pkcs8, pair })
    }

    /// PKCS#8, DER.
    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The key set with its public half (RFC 7517).
    pub(crate) fn key_set(&self) -> Value {
        // An uncompressed point: 0x04, then both coordinates (SEC 1 §2.3.3).
        let point = self.pair.public_key().as_ref();
        let half =
            |range: std::ops::Range<usize>| BASE64URL.encode(point.get(range).unwrap_or_default());
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID,
            "x": half(1..33), "y": half(33..65),
        }] })
    }

    /// A token for `shopper`.
    pub(crate) fn sign(&self, issuer: &str, audience: &str) -> Result<String> {
        let now = Clock::system().unix_secs();
        let head = json!({ "alg": "ES256", "typ": "JWT", "kid": KEY_ID });
        let claims = json!({
            "iss": issuer, "aud": audience, "sub": "shopper", "iat": now, "exp": now + SECONDS,
        });
        let part = |value: &Value| BASE64URL.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .map_err(|_| anyhow!("the key cannot sign"))?;
        Ok(format!("{signed}.{}", BASE64URL.encode(signature.as_ref())))
    }
}

#[cfg(test)]
mod tests;

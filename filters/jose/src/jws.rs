//! The compact serialisation of a JWS (RFC 7515 §7.1), read strictly, and the check of its signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::algorithm::SigningAlgorithm;
use crate::fault::TokenFault;
use crate::host::Verify;
use crate::json::unique_object;
use crate::keys::{ImportedKeys, Key};

/// Longest token that is accepted, in bytes.
pub const LONGEST_TOKEN: usize = 16 * 1024;

/// Maximum number of keys tried for one token; further keys that fit are ignored.
const MOST_TRIES: usize = 8;

/// A parsed token. Nothing in it is trusted before [`Token::check`].
#[derive(Debug)]
pub struct Token<'a> {
    algorithm: Option<SigningAlgorithm>,
    key_id: Option<String>,
    signed: &'a [u8],
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Parses a token: three parts, each base64url without padding, stray bits or other characters; a
    /// header without repeated names, without `crit` and `b64` (no extension is supported, RFC 7515
    /// §4.1.11). Keys and addresses of keys in the header (`jwk`, `jku`, `x5u`, `x5c`) are ignored.
    ///
    /// # Errors
    /// [`TokenFault::Malformed`] or [`TokenFault::AlgNone`].
    pub fn parse(text: &'a [u8]) -> Result<Self, TokenFault> {
        if text.len() > LONGEST_TOKEN {
            return Err(TokenFault::Malformed("the token is too long"));
        }
        let mut parts = text.split(|octet| *octet == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenFault::Malformed("the token does not have three parts"));
        };
        // The lengths are within `text`, so the slice exists.
        let signed = text.get(..header.len() + 1 + payload.len()).unwrap_or_default();
        let header = unique_object(&decode(header)?)
            .map_err(|_| TokenFault::Malformed("the header is not a JSON object"))?;
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(TokenFault::Malformed("the token requires an unsupported extension"));
        }
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) if name.eq_ignore_ascii_case("none") => {
                return Err(TokenFault::AlgNone);
            }
            Some(Value::String(name)) => SigningAlgorithm::named(name),
            _ => return Err(TokenFault::Malformed("the header names no algorithm")),
        };
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(TokenFault::Malformed("the key id is not a string")),
        };
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        Ok(Self { algorithm, key_id, signed, payload, signature })
    }

    /// The payload, not yet trusted.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// `kid` of the header.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Checks the signature with the keys of the ring that fit: same `kid` where both have one, the kind of
    /// key that the algorithm requires, the key's own `alg` where it has one.
    ///
    /// # Errors
    /// [`TokenFault::AlgNotAllowed`], [`TokenFault::UnknownKey`] or [`TokenFault::BadSignature`].
    pub fn check<V: Verify>(
        &self,
        ring: &ImportedKeys,
        allowed: &[SigningAlgorithm],
        crypto: &V,
    ) -> Result<(), TokenFault> {
        let algorithm = self
            .algorithm
            .filter(|algorithm| allowed.contains(algorithm))
            .ok_or(TokenFault::AlgNotAllowed)?;
        let named = ring.keys().filter(|(key, _)| self.may_be_signed_by(key));
        let mut fitting = named.clone().filter(|(key, _)| key.fits(algorithm)).peekable();
        if fitting.peek().is_none() {
            let other_use = self.key_id.is_some() && named.count() > 0;
            return Err(if other_use { TokenFault::AlgNotAllowed } else { TokenFault::UnknownKey });
        }
        if algorithm.signature_length().is_some_and(|length| length != self.signature.len()) {
            return Err(TokenFault::BadSignature);
        }
        let verified = fitting
            .take(MOST_TRIES)
            .any(|(_, handle)| crypto.verify(handle, algorithm, self.signed, &self.signature));
        if verified { Ok(()) } else { Err(TokenFault::BadSignature) }
    }

    fn may_be_signed_by(&self, key: &Key) -> bool {
        match (&self.key_id, key.id()) {
            (Some(wanted), Some(id)) => wanted == id,
            (None, _) | (_, None) => true,
        }
    }
}

fn decode(part: &[u8]) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed("a part is not base64url"))
}

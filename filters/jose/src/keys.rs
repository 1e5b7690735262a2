//! Key sets (RFC 7517): parsed, checked, imported.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::algorithm::{KeyKind, SigningAlgorithm};
use crate::host::Verify;
use crate::json::unique_object;
use crate::roca;

/// Maximum number of keys in a set.
const MOST_KEYS: usize = 64;
/// Bounds of an RSA modulus, in bits (RFC 7518 §3.3; above, a check is too expensive).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Origin of a key set. Symmetric keys are accepted only in a configuration: one that a server publishes is
/// public, and anybody could sign with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// Written in the configuration.
    Inline,
    /// Fetched from an address.
    Fetched,
}

/// Why a key set is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// Not JSON, or not a set or key.
    #[error("the key set is not a JSON object with `keys` (RFC 7517 §5)")]
    Format,
    /// More keys than allowed.
    #[error("the key set has more than {MOST_KEYS} keys: remove unused ones")]
    TooMany,
    /// Two keys of one type with one `kid`.
    #[error("two keys have the kid `{0}`: give each its own (RFC 7517 §4.5)")]
    RepeatedId(String),
    /// Symmetric and public keys together.
    #[error("the key set mixes symmetric and public keys: use separate issuers for them")]
    Mixed,
    /// No key in it can check a signature.
    #[error("no key of the set can check a signature: {0}")]
    NoneUsable(String),
}

/// A key that may check signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    id: Option<String>,
    algorithm: Option<SigningAlgorithm>,
    kind: KeyKind,
    secret_length: usize,
    public: String,
}

impl Key {
    /// `kid`.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether the algorithm may be used with this key: its kind, its own `alg`, its length.
    #[must_use]
    pub fn fits(&self, algorithm: SigningAlgorithm) -> bool {
        algorithm.key_kind() == self.kind
            && self.algorithm.is_none_or(|own| own == algorithm)
            && self.secret_length >= algorithm.least_secret_length()
    }
}

/// A key set that was parsed and checked, not yet imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// Parses a set, or a single key. Keys that are not for checking signatures, or of an unknown type, are
    /// left out (RFC 7517 §5).
    ///
    /// # Errors
    /// The text is not a set, is ambiguous, or no key is left.
    pub fn parse(text: &[u8], source: KeyOrigin) -> Result<Self, KeySetError> {
        let members = unique_object(text).map_err(|_| KeySetError::Format)?;
        Self::from_members(&members, source)
    }

    /// As [`KeySet::parse`], from parsed JSON.
    ///
    /// # Errors
    /// As [`KeySet::parse`].
    pub fn from_members(
        members: &Map<String, Value>,
        source: KeyOrigin,
    ) -> Result<Self, KeySetError> {
        let listed: Vec<&Map<String, Value>> = match members.get("keys") {
            Some(Value::Array(keys)) => keys.iter().filter_map(Value::as_object).collect(),
            Some(_) => return Err(KeySetError::Format),
            None if members.contains_key("kty") => vec![members],
            None => return Err(KeySetError::Format),
        };
        if listed.len() > MOST_KEYS {
            return Err(KeySetError::TooMany);
        }
        refuse_repeated_ids(&listed)?;
        let mut keys: Vec<Key> = Vec::new();
        let mut left_out = String::new();
        for (index, jwk) in listed.into_iter().enumerate() {
            match read_key(jwk, source) {
                Ok(key) => keys.push(key),
                // Writing to a String cannot fail.
                Err(why) => drop(write!(left_out, "[{index}] {why}; ")),
            }
        }
        let symmetric = keys.iter().filter(|key| key.kind == KeyKind::Symmetric).count();
        if symmetric > 0 && symmetric < keys.len() {
            return Err(KeySetError::Mixed);
        }
        if keys.is_empty() {
            return Err(KeySetError::NoneUsable(left_out));
        }
        Ok(Self { keys })
    }

    /// Imports the keys; keys that the host refuses (a point that is not on its curve) are left out.
    ///
    /// # Errors
    /// [`KeySetError::NoneUsable`] when the host refuses all of them.
    pub fn import<V: Verify>(self, crypto: &V) -> Result<ImportedKeys, KeySetError> {
        let mut left_out = String::new();
        let mut keys = Vec::with_capacity(self.keys.len());
        for key in self.keys {
            match crypto.import_key(&key.public) {
                Ok(handle) => keys.push((key, handle)),
                Err(why) => drop(write!(left_out, "{why}; ")),
            }
        }
        if keys.is_empty() {
            Err(KeySetError::NoneUsable(left_out))
        } else {
            Ok(ImportedKeys { keys })
        }
    }
}

/// Imported keys of one issuer.
#[derive(Debug)]
pub struct ImportedKeys {
    keys: Vec<(Key, u32)>,
}

impl ImportedKeys {
    /// The keys with their handles.
    pub fn keys(&self) -> impl Iterator<Item = (&Key, u32)> + Clone {
        self.keys.iter().map(|(key, handle)| (key, *handle))
    }

    /// Releases the handles.
    pub fn release<V: Verify>(self, crypto: &V) {
        for (_, handle) in self.keys {
            crypto.drop_key(handle);
        }
    }
}

/// Keys of one type for one use need different ids. This includes keys that cannot be read: a damaged
/// duplicate is a duplicate.
fn refuse_repeated_ids(listed: &[&Map<String, Value>]) -> Result<(), KeySetError> {
    let same = |a: &Map<String, Value>, b: &Map<String, Value>| {
        ["kid", "kty", "use"].into_iter().all(|name| a.get(name) == b.get(name))
    };
    for (index, jwk) in listed.iter().enumerate() {
        if let Some(Value::String(id)) = jwk.get("kid")
            && listed.iter().skip(index + 1).any(|other| same(jwk, other))
        {
            return Err(KeySetError::RepeatedId(id.clone()));
        }
    }
    Ok(())
}

fn read_key(jwk: &Map<String, Value>, source: KeyOrigin) -> Result<Key, &'static str> {
    if !matches!(text(jwk, "use")?, None | Some("sig")) {
        return Err("`use` is not `sig`");
    }
    let for_checking = match jwk.get("key_ops") {
        None => true,
        Some(Value::Array(acts)) => acts.iter().any(|act| act == "verify"),
        Some(_) => false,
    };
    if !for_checking {
        return Err("`key_ops` lacks `verify`");
    }
    let algorithm = match text(jwk, "alg")? {
        None => None,
        Some(name) => {
            Some(SigningAlgorithm::named(name).ok_or("`alg` is not a signature algorithm")?)
        }
    };
    let id = text(jwk, "kid")?.map(str::to_owned);
    let (kind, secret_length, members) = match text(jwk, "kty")? {
        Some("RSA") => (KeyKind::Rsa, 0, rsa(jwk)?),
        Some("EC") => {
            let (kind, members) = elliptic(jwk)?;
            (kind, 0, members)
        }
        Some("OKP") => (KeyKind::Ed25519, 0, edwards(jwk)?),
        Some("oct") if source == KeyOrigin::Fetched => {
            return Err("a symmetric key is accepted only in the configuration");
        }
        Some("oct") => (KeyKind::Symmetric, octets(jwk, "k")?.len(), vec!["kty", "k"]),
        _ => return Err("`kty` must be RSA, EC, OKP or oct"),
    };
    if algorithm.is_some_and(|own| own.key_kind() != kind) {
        return Err("`alg` does not fit the key type");
    }
    if kind == KeyKind::Symmetric {
        let least = algorithm.unwrap_or(SigningAlgorithm::Hs256).least_secret_length();
        if secret_length < least {
            return Err("the symmetric key is shorter than the hash (RFC 7518 §3.2)");
        }
    }
    // Public members only: if a set leaks private ones, they are not passed on.
    let public: Map<String, Value> = members
        .into_iter()
        .filter_map(|name| jwk.get(name).map(|value| (name.to_owned(), value.clone())))
        .collect();
    Ok(Key { id, algorithm, kind, secret_length, public: Value::Object(public).to_string() })
}

fn rsa(jwk: &Map<String, Value>) -> Result<Vec<&'static str>, &'static str> {
    let (modulus, exponent) = (octets(jwk, "n")?, octets(jwk, "e")?);
    let modulus = significant(&modulus);
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |top| top.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err("the RSA key has fewer than 2048 bits or more than 8192");
    }
    let exponent = significant(&exponent);
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    if !odd || exponent == [1] || exponent.len() > 4 {
        return Err("the RSA exponent is not an odd number from 3 to 2³²");
    }
    if roca::is_marked(modulus) {
        return Err("the RSA key comes from a broken generator (CVE-2017-15361)");
    }
    Ok(vec!["kty", "n", "e"])
}

fn elliptic(jwk: &Map<String, Value>) -> Result<(KeyKind, Vec<&'static str>), &'static str> {
    let (kind, length) = match text(jwk, "crv")? {
        Some("P-256") => (KeyKind::P256, 32),
        Some("P-384") => (KeyKind::P384, 48),
        Some("P-521") => (KeyKind::P521, 66),
        _ => return Err("`crv` must be P-256, P-384 or P-521"),
    };
    if octets(jwk, "x")?.len() != length || octets(jwk, "y")?.len() != length {
        return Err("the length of a coordinate does not fit the curve (RFC 7518 §6.2.1.2)");
    }
    Ok((kind, vec!["kty", "crv", "x", "y"]))
}

fn edwards(jwk: &Map<String, Value>) -> Result<Vec<&'static str>, &'static str> {
    if text(jwk, "crv")? != Some("Ed25519") || octets(jwk, "x")?.len() != 32 {
        return Err("the key is not an Ed25519 key of 32 bytes");
    }
    Ok(vec!["kty", "crv", "x"])
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, &'static str> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(_) => Err("a member is not a string"),
    }
}

fn octets(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    let value = text(jwk, name)?.ok_or("a required member is missing")?;
    URL_SAFE_NO_PAD.decode(value).map_err(|_| "a member is not base64url")
}

fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    number.get(zeros..).unwrap_or_default()
}

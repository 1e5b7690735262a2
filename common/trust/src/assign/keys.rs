//! The director's keys that a node trusts.

use serde::Deserialize;

use crate::policy::{KeyDocument, MAX_KEYS, MAX_POLICY_BYTES, trusted_keys};
use crate::{TrustError, TrustedKey, json};

/// The keys of the director and how many of them must sign. A lost key is simply removed from the list:
/// assignments expire soon, so no past signature needs it.
///
/// Invariants: keys and their names are each distinct; 1 ≤ threshold ≤ number of keys ≤ 64.
#[derive(Debug, Clone)]
pub struct DirectorKeys {
    keys: Vec<TrustedKey>,
    threshold: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    keys: Vec<KeyDocument>,
    threshold: usize,
}

impl DirectorKeys {
    /// Makes a set of parsed keys.
    ///
    /// # Errors
    /// An invariant does not hold.
    pub fn new(keys: Vec<TrustedKey>, threshold: usize) -> Result<Self, TrustError> {
        let broken = |reason: String| Err(TrustError::DirectorKeys(reason));
        if keys.len() > MAX_KEYS {
            return broken(format!("more than {MAX_KEYS} keys"));
        }
        for (at, key) in keys.iter().enumerate() {
            let same = |other: &TrustedKey| other.name == key.name || other.key == key.key;
            if key.id != key.key.id() || keys.iter().take(at).any(same) {
                return broken(format!("key {:?}: keys and names must be distinct", key.name));
            }
        }
        if threshold == 0 || threshold > keys.len() {
            return broken(format!(
                "threshold {threshold} must lie between 1 and the number of keys, {}",
                keys.len()
            ));
        }
        Ok(Self { keys, threshold })
    }

    /// Reads strict JSON: `{"keys":[{"name","publicKey","notBefore"?,"expires"?}],"threshold":N}`, with
    /// keys as in a trust policy.
    ///
    /// # Errors
    /// It is malformed, has an unknown or duplicate member, or contradicts itself.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TrustError> {
        let document: Document = json::read("director keys", bytes, MAX_POLICY_BYTES)?;
        if document.keys.len() > MAX_KEYS {
            return Err(TrustError::DirectorKeys(format!("more than {MAX_KEYS} keys")));
        }
        let keys = trusted_keys(&document.keys).map_err(TrustError::DirectorKeys)?;
        Self::new(keys, document.threshold)
    }

    /// The keys, in the order written, including those outside their period of validity.
    #[must_use]
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// How many distinct keys must have signed the same assignment.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }
}

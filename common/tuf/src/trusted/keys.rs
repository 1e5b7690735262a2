//! Keys of metadata: one algorithm, and each key once.

use std::collections::{BTreeMap, BTreeSet};

use sigstore_tuf::Key;
use tamis_trust::PublicKey;

use crate::TufError;

/// The names of ECDSA over P-256 with SHA-256 in TUF clients.
pub(crate) const KEY_TYPE: &str = "ecdsa";
pub(crate) const SCHEME: &str = "ecdsa-sha2-nistp256";
/// Most keys in a file; bounds the work that a file causes.
const MAX_KEYS: usize = 64;

/// Refuses keys of another algorithm, and one key under two ids: TUF counts ids, but a threshold should
/// count people.
pub(crate) fn check(file: &str, keys: &BTreeMap<String, Key>) -> Result<(), TufError> {
    if keys.len() > MAX_KEYS {
        let actual = keys.len();
        return Err(TufError::Limit {
            file: file.to_owned(),
            actual,
            limit: MAX_KEYS,
            unit: "keys",
        });
    }
    let mut seen = BTreeSet::new();
    for (id, key) in keys {
        let short: String = id.chars().filter(|c| !c.is_control()).take(16).collect();
        if key.keytype != KEY_TYPE || key.scheme != SCHEME {
            return Err(TufError::format(
                file,
                format!(
                    "key {short}: only keys of type {KEY_TYPE} and scheme {SCHEME} are accepted"
                ),
            ));
        }
        let public = PublicKey::from_pem(&key.keyval.public)
            .map_err(|error| TufError::format(file, format!("key {short}: {error}")))?;
        if !seen.insert(public.id()) {
            return Err(TufError::format(
                file,
                format!("key {short} is listed twice under two ids; list each key once"),
            ));
        }
    }
    Ok(())
}

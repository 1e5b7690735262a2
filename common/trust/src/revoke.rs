//! Revoked keys: revoked entirely, or from an index of the log on.

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// From when a key is revoked. Ordered by strictness: `Ever` before `From(0)` before `From(1)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revocation {
    /// Entirely: no signature of it counts.
    Ever,
    /// Only signatures that the log recorded before this index count. Signatures that the log never
    /// recorded do not: it is unknown whether they were made before the key was lost.
    From(u64),
}

impl Revocation {
    /// Why a signature recorded at `logged` (`None`: not recorded) does not count; `None` when it does.
    pub(crate) fn refuses(self, logged: Option<u64>) -> Option<String> {
        match (self, logged) {
            (Self::Ever, _) => Some("is revoked".to_owned()),
            (Self::From(from), None) => Some(format!(
                "is revoked from log index {from} on and the log did not record this signature"
            )),
            (Self::From(from), Some(at)) if at >= from => Some(format!(
                "is revoked from log index {from} on, this signature was recorded at {at}"
            )),
            (Self::From(_), Some(_)) => None,
        }
    }
}

/// An entry of `revokedKeys`: a key's name or id (revoked entirely), or `{ key, fromIndex }`.
pub(crate) struct RevokedKey {
    pub(crate) key: String,
    pub(crate) since: Revocation,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RevokedKeyDocument {
    key: String,
    from_index: u64,
}

impl<'de> Deserialize<'de> for RevokedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(key) => Ok(Self { key, since: Revocation::Ever }),
            other => {
                let from: RevokedKeyDocument = serde_json::from_value(other).map_err(|error| {
                    de::Error::custom(format_args!(
                        "revokedKeys has names, ids and {{ key, fromIndex }}: {error}"
                    ))
                })?;
                Ok(Self { key: from.key, since: Revocation::From(from.from_index) })
            }
        }
    }
}

//! Keys that are believed no more: from ever, or from an index of the log on.

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// Since when a key is revoked. The order is how much it takes away: `Ever` before `From(0)` before
/// `From(1)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revocation {
    /// From ever: nothing it signed counts.
    Ever,
    /// What the log recorded before this index still counts; the rest, and what the log never
    /// recorded, does not: nobody can say that it was signed before the key was lost.
    From(u64),
}

impl Revocation {
    /// Why a signature recorded at `logged` (none: not recorded) does not count; none when it does.
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

/// An entry of `revokedKeys`: a key's name or id (from ever), or `{ key, fromIndex }`.
pub(crate) struct RevokedKey {
    pub(crate) key: String,
    pub(crate) since: Revocation,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RevokedFrom {
    key: String,
    from_index: u64,
}

impl<'de> Deserialize<'de> for RevokedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(key) => Ok(Self { key, since: Revocation::Ever }),
            other => {
                let from: RevokedFrom = serde_json::from_value(other).map_err(|error| {
                    de::Error::custom(format_args!(
                        "revokedKeys has names, ids and {{ key, fromIndex }}: {error}"
                    ))
                })?;
                Ok(Self { key: from.key, since: Revocation::From(from.from_index) })
            }
        }
    }
}

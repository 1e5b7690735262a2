//! Upload ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tamis_ambient::{Random, RandomSourceError};

use thiserror::Error;

use crate::{Hash, hex};

/// Octets of an id that are random; the rest says whose the upload is.
const RANDOM_BYTES: usize = 16;

/// Names an upload that is under way: 64 lower-case hex digits. Half of them are random, so that nobody guesses an upload;
/// the other half follows from those and from its owner, so that whoever reads an id somewhere goes on with nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(String);

/// A text that is not an upload id, at most 80 characters of it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("upload id {0:?} is not 64 lower-case hex digits")]
pub struct UploadIdError(pub(crate) String);

impl UploadId {
    /// A new, unique one.
    ///
    /// # Errors
    /// The machine has no random bytes.
    pub(crate) fn random(owner: &str) -> Result<Self, RandomSourceError> {
        let bytes = Random::system().octets::<RANDOM_BYTES>()?;
        Ok(Self::of(&hex::encode(&bytes), owner))
    }

    fn of(random: &str, owner: &str) -> Self {
        let Hash(bytes) = Hash::of(format!("upload {random} of {owner}").as_bytes());
        let (tag, _) = bytes.split_at(32 - RANDOM_BYTES);
        Self(format!("{random}{}", hex::encode(tag)))
    }

    /// Whether the upload was begun for that owner.
    #[must_use]
    pub fn is_of(&self, owner: &str) -> bool {
        let (random, _) = self.0.split_at(2 * RANDOM_BYTES);
        Self::of(random, owner) == *self
    }

    /// The strict grammar; a valid id is safe as part of a path.
    ///
    /// # Errors
    /// The text is not an upload id.
    pub fn parse(text: &str) -> Result<Self, UploadIdError> {
        if text.len() == 64 && hex::decode(text).is_some() {
            return Ok(Self(text.to_owned()));
        }
        Err(UploadIdError(text.chars().take(80).collect()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        Self::parse(text)
    }
}

impl Serialize for UploadId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UploadId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_of_whoever_it_was_begun_for() {
        let (one, other) = (UploadId::random("a ci").unwrap(), UploadId::random("a ci").unwrap());
        assert_ne!(one, other);
        assert!(one.is_of("a ci") && UploadId::parse(one.as_str()).unwrap().is_of("a ci"));
        assert!(!one.is_of("b ci") && !one.is_of("a cd") && !one.is_of(""));
        let mixed = format!("{}{}", &one.as_str()[..32], &other.as_str()[32..]);
        assert!(!UploadId::parse(&mixed).unwrap().is_of("a ci"));
    }
}

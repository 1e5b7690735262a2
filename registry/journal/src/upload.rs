//! Upload ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tamis_ambient::Random;

use crate::{BlobError, hex};

/// Names an upload in progress: 256 random bits as 64 lower-case hex digits, so whoever knows it owns the
/// upload.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(String);

impl UploadId {
    /// A new, unique one.
    pub(crate) fn random() -> Result<Self, BlobError> {
        let bytes = Random::system().octets::<32>();
        let bytes = bytes.map_err(BlobError::storage("draw an upload id"))?;
        Ok(Self(hex::encode(&bytes)))
    }

    /// The strict grammar; a valid id is safe as part of a path.
    ///
    /// # Errors
    /// [`BlobError::UploadId`].
    pub fn parse(text: &str) -> Result<Self, BlobError> {
        if text.len() == 64 && hex::decode(text).is_some() {
            return Ok(Self(text.to_owned()));
        }
        Err(BlobError::UploadId(text.chars().take(80).collect()))
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
    type Err = BlobError;

    fn from_str(text: &str) -> Result<Self, BlobError> {
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

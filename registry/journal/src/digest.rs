//! Digests that name blobs, and incremental hashing.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, SHA512};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use thiserror::Error;

use crate::hex;

/// The hash functions of digests, the registered ones of the OCI image specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigestAlgorithm {
    /// SHA-256: 64 hex digits.
    Sha256,
    /// SHA-512: 128 hex digits.
    Sha512,
}

impl DigestAlgorithm {
    /// The prefix of a digest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// Every algorithm there is.
    pub(crate) const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];
}

/// `sha256:` and 64 or `sha512:` and 128 lower-case hex digits. A string in JSON.
///
/// With these characters only, it is safe as part of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobDigest {
    algorithm: DigestAlgorithm,
    encoded: String,
}

/// A text that is not a digest, at most 160 characters of it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "digest {0:?} is neither \"sha256:\" with 64 nor \"sha512:\" with 128 lower-case hex digits"
)]
pub struct DigestError(pub(crate) String);

impl BlobDigest {
    /// The SHA-256 digest of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The strict grammar of the two algorithms: no capitals, no other length.
    ///
    /// # Errors
    /// The text is not a digest.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let parsed = text.split_once(':').and_then(|(name, encoded)| {
            let algorithm = DigestAlgorithm::ALL.into_iter().find(|one| one.name() == name)?;
            let right = encoded.len() == algorithm.digits() && hex::decode(encoded).is_some();
            right.then(|| Self { algorithm, encoded: encoded.to_owned() })
        });
        parsed.ok_or_else(|| DigestError(text.chars().take(160).collect()))
    }

    /// Its hash function.
    #[must_use]
    pub fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// The hex digits after the colon.
    #[must_use]
    pub fn encoded(&self) -> &str {
        &self.encoded
    }

    /// The first two digits, by which blobs are spread over folders.
    pub(crate) fn spread(&self) -> &str {
        self.encoded.get(..2).unwrap_or_default()
    }

    /// A hasher for bytes that should have this digest.
    #[must_use]
    pub fn hasher(&self) -> Hasher {
        Hasher::new(self.algorithm)
    }
}

impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.encoded)
    }
}

impl fmt::Debug for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BlobDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl Serialize for BlobDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Hashes bytes incrementally.
#[derive(Clone)]
pub struct Hasher {
    algorithm: DigestAlgorithm,
    context: Context,
}

impl Hasher {
    /// A hasher without any bytes yet.
    #[must_use]
    pub fn new(algorithm: DigestAlgorithm) -> Self {
        let function = match algorithm {
            DigestAlgorithm::Sha256 => &SHA256,
            DigestAlgorithm::Sha512 => &SHA512,
        };
        Self { algorithm, context: Context::new(function) }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of all bytes.
    #[must_use]
    pub fn finish(self) -> BlobDigest {
        let encoded = hex::encode(self.context.finish().as_ref());
        BlobDigest { algorithm: self.algorithm, encoded }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_algorithms_give_the_values_of_fips_180_4() {
        let digest = |algorithm| {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"a");
            hasher.update(b"bc");
            hasher.finish().to_string()
        };
        assert_eq!(
            digest(DigestAlgorithm::Sha256),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(
            digest(DigestAlgorithm::Sha512).starts_with("sha512:ddaf35a193617abacc417349ae204131")
        );
    }

    #[test]
    fn only_the_strict_spelling_is_a_digest() {
        let good = BlobDigest::of(b"").to_string();
        assert_eq!(BlobDigest::parse(&good).unwrap().to_string(), good);
        let hex = &good[7..];
        for bad in [
            String::new(),
            hex.to_owned(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{hex}0"),
            format!("sha512:{hex}"),
            format!("md5:{hex}"),
            format!("sha256:../{}", &hex[3..]),
            format!(" {good}"),
        ] {
            assert!(BlobDigest::parse(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_and_what_it_takes_it_gives_back(text in ".{0,140}") {
            if let Ok(digest) = BlobDigest::parse(&text) {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}

//! SHA-256 as the journal uses it: leaves and nodes of RFC 6962, and the links of the chain.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::hex;

/// A SHA-256 value, written as 64 lower-case hex digits, also in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The link of the first entry, and the hash of an empty journal's head.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        sha256(&[bytes])
    }

    /// `SHA-256(0x00 || bytes)`, the leaf of RFC 6962 §2.1.
    #[must_use]
    pub fn leaf(bytes: &[u8]) -> Self {
        sha256(&[&[0], bytes])
    }

    /// `SHA-256(0x01 || left || right)`, the inner node of RFC 6962 §2.1.
    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        sha256(&[&[1], &left.0, &right.0])
    }

    /// `SHA-256(0x02 || previous || leaf)`, the hash of an entry. The prefix differs from RFC 6962's leaves
    /// and nodes, so that no link can pass as part of the tree.
    #[must_use]
    pub fn link(previous: &Self, leaf: &Self) -> Self {
        sha256(&[&[2], &previous.0, &leaf.0])
    }
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    Hash(bytes)
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = hex::decode(text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a hash is 64 lower-case hex digits")
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

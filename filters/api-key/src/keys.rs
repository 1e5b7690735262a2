//! The list of keys: a line for each, with the name of the consumer and the SHA-256 of the key.

use std::collections::HashSet;
use std::fmt;

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use tamis_callers::list;

/// Bytes of a hash.
const HASH_OCTETS: usize = 32;
/// Keys of a list: each is compared for every request.
pub const MAX_KEYS: usize = 1024;
/// Bytes of a consumer's name.
const MAX_NAME_OCTETS: usize = 64;

/// Hashes and consumers, in the order of the list.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyList {
    entries: Vec<([u8; HASH_OCTETS], String)>,
}

/// Shows the names of consumers only.
impl fmt::Debug for KeyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(_, name)| name)).finish()
    }
}

/// What is wrong with a list. Nothing of its content is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyListError {
    /// No line has a key.
    Empty,
    /// More than [`MAX_KEYS`].
    Many,
    /// Not text.
    Text,
    /// This line, from 1, is not a name and a hash.
    Line(usize),
    /// This line has the hash of an earlier one.
    Twice(usize),
}

impl fmt::Display for KeyListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => {
                f.write_str("it has no key; add lines of CONSUMER and the SHA-256 of its key")
            }
            Self::Many => write!(
                f,
                "it has more than {MAX_KEYS} keys; attach the filter twice, with a secret for each route"
            ),
            Self::Text => f.write_str("it is not text in UTF-8"),
            Self::Line(line) => write!(
                f,
                "line {line} is not `CONSUMER HASH`: a name of letters, digits, `.`, `_`, `-`, and 64 hexadecimal digits"
            ),
            Self::Twice(line) => {
                write!(f, "line {line} has the key of an earlier line; a key has one consumer")
            }
        }
    }
}

impl std::error::Error for KeyListError {}

impl KeyList {
    /// Parses a list; empty lines and those that begin with `#` are comments.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(octets: &[u8]) -> Result<Self, KeyListError> {
        let (mut entries, mut known) = (Vec::new(), HashSet::new());
        for (number, line) in list::entries(octets).ok_or(KeyListError::Text)? {
            let mut words = line.split_ascii_whitespace();
            let (name, hash) = match (words.next(), words.next(), words.next()) {
                (Some(name), Some(hash), None) if is_name(name) => (name, hash),
                _ => return Err(KeyListError::Line(number)),
            };
            let hash = parse_hash(hash).ok_or(KeyListError::Line(number))?;
            if !known.insert(hash) {
                return Err(KeyListError::Twice(number));
            }
            if entries.len() == MAX_KEYS {
                return Err(KeyListError::Many);
            }
            entries.push((hash, name.to_owned()));
        }
        if entries.is_empty() { Err(KeyListError::Empty) } else { Ok(Self { entries }) }
    }

    /// The consumer of a key by its hash. Compares with every entry, whatever was found before, so that the
    /// time does not depend on which of them it is or how much of one is right.
    #[must_use]
    pub fn consumer(&self, hash: &[u8]) -> Option<&str> {
        let mut found = u32::MAX;
        for (index, (known, _)) in (0_u32..).zip(&self.entries) {
            let same: Choice = known.as_slice().ct_eq(hash);
            found.conditional_assign(&index, same);
        }
        self.entries.get(found as usize).map(|(_, name)| name.as_str())
    }
}

fn is_name(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    name.len() <= MAX_NAME_OCTETS && name.bytes().all(plain)
}

/// 64 hexadecimal digits.
fn parse_hash(text: &str) -> Option<[u8; HASH_OCTETS]> {
    let digit =
        |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.len() != HASH_OCTETS * 2 {
        return None;
    }
    let mut hash = [0; HASH_OCTETS];
    for (octet, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *octet = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

//! Verified tokens, kept until they expire or the keys change.
//!
//! Two generations of at most half the size each: a full young generation becomes the old one, and entries
//! that are used move back. So insertion and eviction cost one step each, and entries in frequent use stay.
//! Only verified tokens enter, so a client without one cannot displace others.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hasher};

use tamis_jose::host::Verify;

use crate::claims::AcceptedClaims;

/// Tokens up to this length are stored complete; longer ones as their SHA-256.
const LONGEST_WHOLE: usize = 2048;
/// Number of a token's last bytes that determine its place: they belong to the signature and so differ
/// wherever tokens differ. A hit compares the complete token.
const HASHED: usize = 24;

/// Remembers the claims of verified tokens.
#[derive(Debug)]
pub struct TokenCache {
    half: usize,
    seed: u64,
    young: Map,
    old: Map,
}

type Map = HashMap<u64, Entry, BuildHasherDefault<KeyHasher>>;

/// A token, or the digest of a long one, and its claims.
#[derive(Debug)]
struct Entry {
    token: Box<[u8]>,
    accepted: AcceptedClaims,
}

impl TokenCache {
    /// A cache of at most `size` tokens (0: no cache). The seed prevents outsiders from choosing colliding
    /// tokens.
    #[must_use]
    pub fn new(size: usize, seed: u64) -> Self {
        Self { half: size.div_ceil(2), seed, young: Map::default(), old: Map::default() }
    }

    /// The claims of a token, if it is remembered. Needs no call to the host for tokens of up to 2048
    /// bytes, and one hash for longer ones.
    pub fn find<V: Verify>(&mut self, token: &[u8], crypto: &V) -> Option<&AcceptedClaims> {
        if self.is_empty() {
            return None;
        }
        let token = known_by(token, crypto);
        let place = self.place(&token);
        if !holds(&self.young, place, &token) {
            if !holds(&self.old, place, &token) {
                return None;
            }
            let entry = self.old.remove(&place)?;
            self.put(place, entry);
        }
        self.young.get(&place).map(|entry| &entry.accepted)
    }

    /// Remembers a verified token.
    pub fn remember<V: Verify>(&mut self, token: &[u8], accepted: AcceptedClaims, crypto: &V) {
        if self.half == 0 {
            return;
        }
        let token = known_by(token, crypto).into_owned().into_boxed_slice();
        self.put(self.place(&token), Entry { token, accepted });
    }

    /// Forgets one token.
    pub fn forget<V: Verify>(&mut self, token: &[u8], crypto: &V) {
        let token = known_by(token, crypto);
        let place = self.place(&token);
        for map in [&mut self.young, &mut self.old] {
            if holds(map, place, &token) {
                map.remove(&place);
            }
        }
    }

    /// Forgets all tokens: the keys changed.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// Number of tokens that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether no token is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The place of a token. If two tokens share a place, one of them is verified again when it returns;
    /// nothing else happens.
    fn place(&self, token: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        let end = token.len().saturating_sub(HASHED);
        hasher.write(token.get(end..).unwrap_or_default());
        hasher.finish()
    }

    fn put(&mut self, place: u64, entry: Entry) {
        if self.young.len() >= self.half {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(place, entry);
    }
}

fn holds(map: &Map, place: u64, token: &[u8]) -> bool {
    map.get(&place).is_some_and(|entry| is_same(&entry.token, token))
}

/// Whether two tokens are the same. Compared eight octets at a time: in WebAssembly the comparison of slices is a loop over
/// octets, and a token has hundreds.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ((ones, end), (others, other_end)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let number = |octets: &[u8; 8]| u64::from_le_bytes(*octets);
    let are_same = ones.iter().map(number).eq(others.iter().map(number));
    one.len() == other.len() && are_same && end == other_end
}

/// The token itself, or the digest of a long one; the leading NUL distinguishes a digest from every token.
fn known_by<'a, V: Verify>(token: &'a [u8], crypto: &V) -> Cow<'a, [u8]> {
    if token.len() <= LONGEST_WHOLE {
        return Cow::Borrowed(token);
    }
    let mut key = vec![0];
    key.extend(crypto.sha256(token));
    Cow::Owned(key)
}

/// A hasher for keys that are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, octets: &[u8]) {
        // Keys are u64; other input is folded in.
        for octet in octets {
            self.0 = self.0.rotate_left(8) ^ u64::from(*octet);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_same_if_every_octet_is() {
        for length in [0, 1, 7, 8, 9, 16, 23, 400] {
            let token = vec![b'a'; length];
            assert!(is_same(&token, &token.clone()));
            assert!(!is_same(&token, &vec![b'a'; length + 1]), "{length}");
            for at in 0..length {
                let mut other = token.clone();
                other[at] = b'b';
                assert!(!is_same(&token, &other), "{at} of {length}");
            }
        }
    }
}

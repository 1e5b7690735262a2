//! Tokens that were verified, remembered until they expire or the keys change.
//!
//! Two generations of at most half the size each: a full young one becomes the old one, and what is used
//! moves back. So both insert and eviction cost one step, and what is used often stays.
//! Only verified tokens get in, so a client without one cannot push others out.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hasher};

use crate::claims::Accepted;
use crate::host::Verify;

/// Tokens up to this length are kept whole; longer ones are known by their SHA-256.
const LONGEST_WHOLE: usize = 2048;
/// Octets of a token that its place is found by: its last, which are of the signature and so differ wherever tokens
/// differ. What is found is compared whole.
const HASHED: usize = 24;

/// Remembers what verified tokens said.
#[derive(Debug)]
pub struct Cache {
    half: usize,
    seed: u64,
    young: Map,
    old: Map,
}

type Map = HashMap<u64, Entry, BuildHasherDefault<Hashed>>;

/// A token, or what a long one is known by, and what it said.
#[derive(Debug)]
struct Entry {
    token: Box<[u8]>,
    accepted: Accepted,
}

impl Cache {
    /// A cache of at most `size` tokens (0: none). The seed keeps outsiders from choosing colliding tokens.
    #[must_use]
    pub fn new(size: usize, seed: u64) -> Self {
        Self { half: size.div_ceil(2), seed, young: Map::default(), old: Map::default() }
    }

    /// What the token said, if it is remembered. Costs no call out of the filter for tokens of up to
    /// 2048 octets, and one hash for longer ones.
    pub fn find<V: Verify>(&mut self, token: &[u8], crypto: &V) -> Option<&Accepted> {
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
    pub fn remember<V: Verify>(&mut self, token: &[u8], accepted: Accepted, crypto: &V) {
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

    /// Forgets everything: the keys changed.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// How many tokens are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether no token is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a token is kept. Two that fall together take turns: then one is verified anew, and nothing is wrong.
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
    map.get(&place).is_some_and(|entry| *entry.token == *token)
}

/// The token itself, or of a long one its digest; the leading NUL keeps that apart from every token.
fn known_by<'a, V: Verify>(token: &'a [u8], crypto: &V) -> Cow<'a, [u8]> {
    if token.len() <= LONGEST_WHOLE {
        return Cow::Borrowed(token);
    }
    let mut key = vec![0];
    key.extend(crypto.sha256(token));
    Cow::Owned(key)
}

/// Takes a key that is a hash already as it is.
#[derive(Clone, Copy, Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, octets: &[u8]) {
        // Keys are u64; whatever else comes is folded in.
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

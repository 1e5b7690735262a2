//! Tokens that were verified, remembered until they expire or the keys change.
//!
//! Two generations of at most half the size each: a full young one becomes the old one, and what is used
//! moves back. So both insert and eviction cost one step, and what is used often stays.
//! Only verified tokens get in, so a client without one cannot push others out.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasher, Hasher};

use crate::claims::Accepted;
use crate::host::Verify;

/// Tokens up to this length are their own key; longer ones are known by their SHA-256.
const LONGEST_WHOLE: usize = 2048;

/// Remembers what verified tokens said.
#[derive(Debug)]
pub struct Cache {
    half: usize,
    young: HashMap<Vec<u8>, Accepted, Seeded>,
    old: HashMap<Vec<u8>, Accepted, Seeded>,
}

impl Cache {
    /// A cache of at most `size` tokens (0: none). The seed keeps outsiders from choosing colliding tokens.
    #[must_use]
    pub fn new(size: usize, seed: u64) -> Self {
        let map = || HashMap::with_hasher(Seeded(seed));
        Self { half: size.div_ceil(2), young: map(), old: map() }
    }

    /// What the token said, if it is remembered. Costs no call out of the filter for tokens of up to
    /// 2048 octets, and one hash for longer ones.
    pub fn find<V: Verify>(&mut self, token: &[u8], crypto: &V) -> Option<&Accepted> {
        if self.young.is_empty() && self.old.is_empty() {
            return None;
        }
        if token.len() > LONGEST_WHOLE {
            let key = digest(token, crypto);
            return self.find_key(&key);
        }
        self.find_key(token)
    }

    fn find_key(&mut self, key: &[u8]) -> Option<&Accepted> {
        if !self.young.contains_key(key)
            && let Some((key, accepted)) = self.old.remove_entry(key)
        {
            self.put(key, accepted);
        }
        self.young.get(key)
    }

    /// Remembers a verified token.
    pub fn remember<V: Verify>(&mut self, token: &[u8], accepted: Accepted, crypto: &V) {
        if self.half == 0 {
            return;
        }
        let long = token.len() > LONGEST_WHOLE;
        let key = if long { digest(token, crypto) } else { token.to_vec() };
        self.put(key, accepted);
    }

    /// Forgets one token.
    pub fn forget<V: Verify>(&mut self, token: &[u8], crypto: &V) {
        let long = token.len() > LONGEST_WHOLE;
        let key = if long { digest(token, crypto) } else { token.to_vec() };
        self.young.remove(&key);
        self.old.remove(&key);
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

    fn put(&mut self, key: Vec<u8>, accepted: Accepted) {
        if self.young.len() >= self.half {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, accepted);
    }
}

/// A digest as a key; the leading NUL keeps it apart from every token.
fn digest<V: Verify>(token: &[u8], crypto: &V) -> Vec<u8> {
    let mut key = vec![0];
    key.extend(crypto.sha256(token));
    key
}

#[derive(Clone, Copy, Debug)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

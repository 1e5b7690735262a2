//! The keys of one issuer, as this instance holds them, and how they follow the store, which `tick`
//! updates.

use std::time::Duration;

use crate::host::{SharedStore, StoredValue, Verify};
use crate::keys::{ImportedKeys, KeyOrigin, KeySet, KeySetError};

/// Time between two reads of the store, in milliseconds.
const LOOK_EVERY_MS: u64 = 1000;
/// How long a request for newer keys stays, in milliseconds.
const WISH_TTL_MS: u32 = 60_000;

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum IssuerKeys {
    /// Keys that are written in the configuration.
    Inline(KeySet),
    /// Keys that are fetched, and fetched again after `refresh`.
    Url {
        /// The address of the key set.
        url: String,
        /// Time between two fetches.
        refresh: Duration,
    },
}

/// Key in the store of what was fetched from an address.
#[must_use]
pub fn document_key(url: &str) -> String {
    format!("jwks:{url}")
}

/// Key in the store that requests newer keys: an instance met a token with an unknown key.
#[must_use]
pub fn wish_key(url: &str) -> String {
    format!("want:{url}")
}

/// Keys of an issuer.
#[derive(Debug)]
pub enum Keyring {
    /// From the configuration: never change.
    Fixed(ImportedKeys),
    /// From the store: change when `tick` writes there.
    Followed(FollowedKeys),
}

/// Keys that follow the store.
#[derive(Debug)]
pub struct FollowedKeys {
    url: String,
    ring: Option<ImportedKeys>,
    seen: Option<StoredValue>,
    looked_ms: Option<u64>,
    wished_ms: Option<u64>,
}

/// Whether keys changed since the last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyringChange {
    /// They are unchanged.
    Same,
    /// They changed: tokens verified with the previous keys must be verified again.
    Other,
}

impl Keyring {
    /// The keys of a checked configuration.
    ///
    /// # Errors
    /// The host refuses all inline keys.
    pub fn new<V: Verify>(keys: &IssuerKeys, crypto: &V) -> Result<Self, KeySetError> {
        match keys {
            IssuerKeys::Inline(set) => set.clone().import(crypto).map(Self::Fixed),
            IssuerKeys::Url { url, .. } => Ok(Self::at(url)),
        }
    }

    /// The keys that are fetched from an address.
    #[must_use]
    pub fn at(url: &str) -> Self {
        let url = url.to_owned();
        Self::Followed(FollowedKeys {
            url,
            ring: None,
            seen: None,
            looked_ms: None,
            wished_ms: None,
        })
    }

    /// The keys, if there are any yet.
    #[must_use]
    pub fn ring(&self) -> Option<&ImportedKeys> {
        match self {
            Self::Fixed(ring) => Some(ring),
            Self::Followed(followed) => followed.ring.as_ref(),
        }
    }

    /// Releases the handles of the keys.
    pub fn release<V: Verify>(self, crypto: &V) {
        match self {
            Self::Fixed(ring) => ring.release(crypto),
            Self::Followed(followed) => {
                if let Some(ring) = followed.ring {
                    ring.release(crypto);
                }
            }
        }
    }

    /// Checks whether the keys changed, at most once a second.
    pub fn look<H: Verify + SharedStore>(&mut self, now_ms: u64, host: &H) -> KeyringChange {
        match self {
            Self::Fixed(_) => KeyringChange::Same,
            Self::Followed(followed) => followed.look(now_ms, host),
        }
    }

    /// Lets the next [`Keyring::look`] read the store, however short ago the last one was: keys were just stored.
    pub fn hurry(&mut self) {
        if let Self::Followed(followed) = self {
            followed.looked_ms = None;
        }
    }

    /// Requests newer keys because a token names an unknown key, at most once a second.
    pub fn wish<S: SharedStore>(&mut self, now_ms: u64, store: &S) {
        if let Self::Followed(followed) = self
            && is_due(followed.wished_ms, now_ms)
        {
            followed.wished_ms = Some(now_ms);
            // A full store delays the newer keys until the next refresh, and does no other harm.
            drop(store.write(&wish_key(&followed.url), b"1", WISH_TTL_MS));
        }
    }
}

impl FollowedKeys {
    fn look<H: Verify + SharedStore>(&mut self, now_ms: u64, host: &H) -> KeyringChange {
        if !is_due(self.looked_ms, now_ms) {
            return KeyringChange::Same;
        }
        self.looked_ms = Some(now_ms);
        let stored = host.read(&document_key(&self.url));
        if stored == self.seen {
            return KeyringChange::Same;
        }
        let same_keys = match (&stored, &self.seen) {
            (Some(new), Some(old)) => document(&new.value) == document(&old.value),
            _ => false,
        };
        self.seen = stored;
        if same_keys {
            return KeyringChange::Same;
        }
        let ring = self
            .seen
            .as_ref()
            .and_then(|stored| KeySet::parse(document(&stored.value), KeyOrigin::Fetched).ok())
            .and_then(|set| set.import(host).ok());
        if let Some(old) = std::mem::replace(&mut self.ring, ring) {
            old.release(host);
        }
        KeyringChange::Other
    }
}

/// A stored document: the time of the fetch in milliseconds since 1970, a line feed, what was fetched.
#[must_use]
pub fn envelope(fetched_ms: u64, set: &[u8]) -> Vec<u8> {
    let mut value = format!("{fetched_ms}\n").into_bytes();
    value.extend_from_slice(set);
    value
}

/// When a stored document was fetched; 0 if that is unknown.
#[must_use]
pub fn fetched_ms(value: &[u8]) -> u64 {
    let line = value.split(|octet| *octet == b'\n').next().unwrap_or_default();
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What was fetched, without the time.
#[must_use]
pub fn document(value: &[u8]) -> &[u8] {
    let end = value.iter().position(|octet| *octet == b'\n');
    end.and_then(|end| value.get(end + 1..)).unwrap_or_default()
}

fn is_due(last_ms: Option<u64>, now_ms: u64) -> bool {
    last_ms.is_none_or(|last| now_ms.abs_diff(last) >= LOOK_EVERY_MS)
}

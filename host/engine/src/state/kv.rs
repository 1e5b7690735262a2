//! Small values with a time to live, shared by all instances of an attachment: what `kv` reads and writes.

use super::bounds::SweepPause;
use crate::abi::KvEntry;
use crate::{FilterState, KvGrant};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const FULL: &str = "the store is full (`imports.kv.entries`, `imports.kv.totalBytes` of the grant)";

/// All values of an attachment.
#[derive(Debug, Default)]
pub(crate) struct KvStore(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<String, StoredValue>,
    octets: usize,
    last_version: u64,
    sweep: SweepPause,
}

#[derive(Debug)]
struct StoredValue {
    value: Vec<u8>,
    version: u64,
    /// `None`: never expires.
    until: Option<Instant>,
}

impl StoredValue {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    fn entry(&self) -> KvEntry {
        KvEntry { value: self.value.clone(), version: self.version }
    }
}

/// Memory of a value under its key.
fn size(key: &str, value: &[u8]) -> usize {
    key.len().saturating_add(value.len())
}

impl KvStore {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self, key: &str, now: Instant) -> Option<KvEntry> {
        self.lock().entries.get(key).filter(|s| !s.is_over(now)).map(StoredValue::entry)
    }

    /// Stores a value for `ttl_ms` (0: until removed) and returns its version.
    pub(crate) fn write(
        &self,
        key: String,
        value: Vec<u8>,
        ttl_ms: u32,
        grant: &KvGrant,
        now: Instant,
    ) -> Result<u64, String> {
        self.lock().put(key, value, ttl_ms, grant, now)
    }

    pub(crate) fn swap(
        &self,
        key: String,
        expect: u64,
        value: Vec<u8>,
        ttl_ms: u32,
        grant: &KvGrant,
        now: Instant,
    ) -> Result<u64, Option<KvEntry>> {
        let mut inner = self.lock();
        let stored = inner.entries.get(&key).filter(|s| !s.is_over(now)).map(StoredValue::entry);
        if stored.as_ref().map_or(0, |entry| entry.version) != expect {
            return Err(stored);
        }
        inner.put(key, value, ttl_ms, grant, now).map_err(|_| stored)
    }

    pub(crate) fn remove(&self, key: &str) {
        self.lock().take(key);
    }
}

impl Inner {
    fn take(&mut self, key: &str) {
        if let Some(stored) = self.entries.remove(key) {
            self.octets = self.octets.saturating_sub(size(key, &stored.value));
        }
    }

    fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: u32,
        grant: &KvGrant,
        now: Instant,
    ) -> Result<u64, String> {
        if key.len() > grant.key_bytes {
            return Err(format!(
                "a key may have at most {} bytes (`imports.kv.keyBytes` of the grant)",
                grant.key_bytes
            ));
        }
        if value.len() > grant.value_bytes {
            return Err(format!(
                "a value may have at most {} bytes (`imports.kv.valueBytes` of the grant)",
                grant.value_bytes
            ));
        }
        let size = size(&key, &value);
        if !self.fits(&key, size, grant) {
            let entries = self.entries.len();
            if !self.sweep.is_due(entries, now) {
                return Err(FULL.to_owned());
            }
            let over: Vec<String> = self
                .entries
                .iter()
                .filter(|(_, stored)| stored.is_over(now))
                .map(|(key, _)| key.clone())
                .collect();
            over.iter().for_each(|key| self.take(key));
            if !self.fits(&key, size, grant) {
                return Err(FULL.to_owned());
            }
        }
        self.take(&key);
        self.last_version = self.last_version.saturating_add(1);
        self.octets = self.octets.saturating_add(size);
        let ttl = Duration::from_millis(u64::from(ttl_ms));
        let until = if ttl_ms == 0 { None } else { now.checked_add(ttl) };
        self.entries.insert(key, StoredValue { value, version: self.last_version, until });
        Ok(self.last_version)
    }

    fn fits(&self, key: &str, size: usize, grant: &KvGrant) -> bool {
        let old = self.entries.get(key).map(|stored| self::size(key, &stored.value));
        let entries = self.entries.len().saturating_add(usize::from(old.is_none()));
        let octets = self.octets.saturating_sub(old.unwrap_or(0)).saturating_add(size);
        entries <= grant.entries && octets <= grant.total_bytes
    }
}

/// For tests of filters: the values of a filter, without a call of it.
impl FilterState {
    /// Stores a value without an end, as if the filter had written it.
    ///
    /// # Errors
    /// It exceeds what `grant` allows; the text names the setting.
    pub fn write_kv(&self, key: &str, value: &[u8], grant: &KvGrant) -> Result<(), String> {
        let now = self.clock.now();
        self.kv.write(key.to_owned(), value.to_owned(), 0, grant, now).map(drop)
    }

    /// The value under a key, unless its time is over.
    pub fn read_kv(&self, key: &str) -> Option<Vec<u8>> {
        self.kv.read(key, self.clock.now()).map(|entry| entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_expire_swap_compares_and_limits_hold() {
        let (store, now) = (KvStore::default(), Instant::now());
        let grant = KvGrant { entries: 2, value_bytes: 4, ..KvGrant::default() };
        let one = store.write("a".into(), b"1".to_vec(), 100, &grant, now).unwrap();
        assert_eq!(store.read("a", now).unwrap().version, one);
        assert!(store.read("a", now + Duration::from_millis(100)).is_none());
        assert!(store.swap("a".into(), 0, b"2".to_vec(), 0, &grant, now).is_err());
        let two = store.swap("a".into(), one, b"2".to_vec(), 0, &grant, now).unwrap_or(0);
        assert!(two > one);
        assert!(store.write("b".into(), b"12345".to_vec(), 0, &grant, now).is_err());
        store.write("b".into(), b"1".to_vec(), 0, &grant, now).unwrap();
        assert!(store.write("c".into(), b"1".to_vec(), 0, &grant, now).is_err());
        store.remove("b");
        assert!(store.write("c".into(), b"1".to_vec(), 0, &grant, now).is_ok());
    }
}

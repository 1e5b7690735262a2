//! `kv`: small values with a time to live, shared by all instances of an attachment.

use super::Sweep;
use crate::abi::KvEntry;
use crate::{FilterState, Host, KvGrant};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

pub(super) fn add(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap("read", |store: StoreContextMut<'_, Host>, (key,): (String,)| {
        let state = &store.data().state;
        let now = state.clock.now();
        Ok((state.kv.read(&key, now).or_else(|| beneath(state, &key, now)),))
    })?;
    linker.func_wrap(
        "write",
        |store: StoreContextMut<'_, Host>, (key, value, ttl): (String, Vec<u8>, u32)| {
            let host = store.data();
            Ok((host.state.kv.write(key, value, ttl, &grant(host), host.state.clock.now()),))
        },
    )?;
    linker.func_wrap(
        "swap",
        |store: StoreContextMut<'_, Host>,
         (key, expect, value, ttl): (String, u64, Vec<u8>, u32)| {
            let host = store.data();
            let now = host.state.clock.now();
            let expect = match expected(&host.state, &key, expect, now) {
                Ok(expect) => expect,
                Err(entry) => return Ok((Err(Some(entry)),)),
            };
            Ok((host.state.kv.swap(key, expect, value, ttl, &grant(host), now),))
        },
    )?;
    linker.func_wrap("remove", |store: StoreContextMut<'_, Host>, (key,): (String,)| {
        store.data().state.kv.remove(&key);
        Ok(())
    })
}

/// The value that a shadow reads under a key it has not written: the value of the filter it shadows.
fn beneath(state: &FilterState, key: &str, now: Instant) -> Option<KvEntry> {
    state.of.as_ref().and_then(|of| of.kv.read(key, now))
}

/// The version that a shadow's own value must have for a swap: `None` if the shadow has not written the key
/// and expects the value beneath.
fn expected(state: &FilterState, key: &str, expect: u64, now: Instant) -> Result<u64, KvEntry> {
    if state.kv.read(key, now).is_some() {
        return Ok(expect);
    }
    match beneath(state, key, now) {
        Some(entry) if entry.version != expect => Err(entry),
        Some(_) => Ok(0),
        None => Ok(expect),
    }
}

fn grant(host: &Host) -> KvGrant {
    host.settings.grant.imports.kv.clone().unwrap_or_default()
}

const FULL: &str = "the store is full (`imports.kv.entries`, `imports.kv.totalBytes` of the grant)";

/// All values of an attachment.
#[derive(Debug, Default)]
pub(crate) struct Store(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<String, StoredValue>,
    octets: usize,
    last_version: u64,
    sweep: Sweep,
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

impl Store {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, key: &str, now: Instant) -> Option<KvEntry> {
        self.lock().entries.get(key).filter(|s| !s.is_over(now)).map(StoredValue::entry)
    }

    /// Stores a value for `ttl_ms` (0: until removed) and returns its version.
    fn write(
        &self,
        key: String,
        value: Vec<u8>,
        ttl_ms: u32,
        grant: &KvGrant,
        now: Instant,
    ) -> Result<u64, String> {
        self.lock().put(key, value, ttl_ms, grant, now)
    }

    fn swap(
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

    fn remove(&self, key: &str) {
        self.lock().take(key);
    }
}

impl Inner {
    fn take(&mut self, key: &str) {
        if let Some(stored) = self.entries.remove(key) {
            self.octets = self.octets.saturating_sub(key.len() + stored.value.len());
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
        let size = key.len() + value.len();
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
        self.last_version += 1;
        self.octets += size;
        let ttl = Duration::from_millis(u64::from(ttl_ms));
        let until = if ttl_ms == 0 { None } else { now.checked_add(ttl) };
        self.entries.insert(key, StoredValue { value, version: self.last_version, until });
        Ok(self.last_version)
    }

    fn fits(&self, key: &str, size: usize, grant: &KvGrant) -> bool {
        let old = self.entries.get(key).map(|stored| key.len() + stored.value.len());
        let entries = self.entries.len() + usize::from(old.is_none());
        entries <= grant.entries && self.octets - old.unwrap_or(0) + size <= grant.total_bytes
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
    use std::sync::Arc;

    #[test]
    fn values_expire_swap_compares_and_limits_hold() {
        let (store, now) = (Store::default(), Instant::now());
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

    #[test]
    fn a_shadow_swaps_what_is_beneath_into_its_own() {
        let (of, now) = (Arc::new(FilterState::new(Arc::default())), Instant::now());
        let grant = KvGrant::default();
        let one = of.kv.write("a".into(), b"1".to_vec(), 0, &grant, now).unwrap();
        let shadow = of.shadow();
        assert_eq!(expected(&shadow, "a", one + 1, now).map_err(|entry| entry.version), Err(one));
        assert_eq!(expected(&shadow, "b", 0, now).ok(), Some(0));
        let expect = expected(&shadow, "a", one, now).unwrap_or(1);
        let own = shadow.kv.swap("a".into(), expect, b"2".to_vec(), 0, &grant, now).unwrap_or(0);
        assert_eq!(expected(&shadow, "a", own, now).ok(), Some(own));
        assert_eq!(of.kv.read("a", now).unwrap().value, b"1");
    }
}

//! `kv`: small values with a time to live, shared by all instances of an attachment.

use crate::abi::KvEntry;
use crate::{FilterState, Host, KvGrant};
use std::time::Instant;
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

/// The version that a shadow's own value must have for a swap: 0 if the shadow has not written the key and expects the
/// value of the filter that it shadows.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

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

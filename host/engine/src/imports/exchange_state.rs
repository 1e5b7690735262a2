//! `exchange-state`: values that live as long as an exchange, or as its connection.

use crate::Host;
use crate::abi::Scope;
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

pub(super) fn add(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "read",
        |store: StoreContextMut<'_, Host>, (scope, key): (Scope, String)| {
            let host = store.data();
            Ok((host.state.kept.read(host.exchange, scope, &key),))
        },
    )?;
    linker.func_wrap(
        "write",
        |store: StoreContextMut<'_, Host>, (scope, key, value): (Scope, String, Vec<u8>)| {
            let host = store.data();
            if host.state.is_shadow() {
                // A candidate is called after the fact, when the exchange may have ended.
                return Ok((Ok(()),));
            }
            let grant = host.settings.grant.imports.exchange_state.clone().unwrap_or_default();
            Ok((host.state.kept.write(host.exchange, scope, key, value, &grant),))
        },
    )?;
    linker.func_wrap("remove", |store: StoreContextMut<'_, Host>, (scope, key): (Scope, String)| {
        let host = store.data();
        host.state.kept.remove(host.exchange, scope, &key);
        Ok(())
    })
}

//! `counters`: sums over fixed windows that begin with the first change.

use crate::state::counters::id;
use crate::{CountersGrant, Host};
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

pub(super) fn add(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "add",
        |store: StoreContextMut<'_, Host>,
         (name, key, delta, window): (String, String, i64, u32)| {
            let host = store.data();
            let grant = grant(host);
            let id = id(name, key, window, &grant);
            Ok((host.state.counters.add(id, delta, &grant, host.state.clock.now()),))
        },
    )?;
    linker.func_wrap(
        "read",
        |store: StoreContextMut<'_, Host>, (name, key, window): (String, String, u32)| {
            let host = store.data();
            let id = id(name, key, window, &grant(host));
            Ok((host.state.counters.read(&id, host.state.clock.now()),))
        },
    )
}

fn grant(host: &Host) -> CountersGrant {
    host.settings.grant.imports.counters.clone().unwrap_or_default()
}

//! `passwords`: compares passwords with their hashes while the instance is suspended.

use super::ImportMode;
use crate::Host;
use crate::abi::PasswordFailure;
use crate::passwords::{self, BoundedHash, TurnOwner};
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

/// Comparisons within one call of a hook.
const MAX_PER_CALL: u32 = 4;

pub(super) fn add(linker: &mut LinkerInstance<'_, Host>, mode: ImportMode) -> wasmtime::Result<()> {
    if mode != ImportMode::Suspending {
        return linker.func_wrap(
            "verify",
            |mut store: StoreContextMut<'_, Host>, (_, _): (Vec<u8>, String)| {
                let host = store.data_mut();
                host.comparisons = host.comparisons.saturating_add(1);
                let why = "only `tick`, the hook on request heads (`on-request`) and others that the grant lets call out may compare passwords, and no candidate in a shadow does";
                Ok((Err::<bool, _>(PasswordFailure::Denied(why.to_owned())),))
            },
        );
    }
    linker.func_wrap_async(
        "verify",
        |mut store: StoreContextMut<'_, Host>, (password, hash): (Vec<u8>, String)| {
            Box::new(async move {
                let host = store.data_mut();
                host.comparisons = host.comparisons.saturating_add(1);
                if host.configuring {
                    let why = "`configure` compares no passwords";
                    return Ok((Err(PasswordFailure::Denied(why.to_owned())),));
                }
                if host.comparisons > MAX_PER_CALL {
                    return Ok((Err(PasswordFailure::Exhausted),));
                }
                let hash = match BoundedHash::parse(&hash) {
                    Ok(hash) => hash,
                    Err(fault) => return Ok((Err(PasswordFailure::Hash(fault.to_string())),)),
                };
                let (namespace, clock) = (Arc::clone(&host.state.owner.name), host.state.clock);
                // Its state is of one attachment, and there as long as anything of it waits.
                let owner = TurnOwner { namespace, filter: Arc::as_ptr(&host.state).addr() };
                let Ok(comparing) = passwords::compare(&owner, clock, password, hash) else {
                    return Ok((Err(PasswordFailure::Exhausted),));
                };
                let since = clock.now();
                let answer = comparing.await.map_err(|_| PasswordFailure::Exhausted);
                let host = store.data_mut();
                host.waited = host.waited.saturating_add(clock.since(since));
                // Waiting is not computing, as in `http-client`.
                let limit_us = host.settings.grant.limits.time_us;
                let epochs = host.deadline.again(limit_us);
                store.set_epoch_deadline(epochs);
                Ok((answer,))
            })
        },
    )
}

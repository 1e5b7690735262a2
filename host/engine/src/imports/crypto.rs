//! `crypto`: native signature verification with key handles, and hashes.

use super::{handle, no_handle};
use crate::Host;
use crate::abi::{Algorithm, Digest};
use crate::key::Key;
use aws_lc_rs::digest;
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

/// Keys an instance may hold.
const MAX_KEYS: usize = 256;

pub(super) fn add(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap("import-jwk", |mut store: StoreContextMut<'_, Host>, (jwk,): (String,)| {
        Ok((Key::from_jwk(&jwk).and_then(|key| keep(&mut store.data_mut().keys, key)),))
    })?;
    linker.func_wrap(
        "verify",
        |store: StoreContextMut<'_, Host>,
         (key, algorithm, message, signature): (u32, Algorithm, Vec<u8>, Vec<u8>)| {
            let key = store.data().keys.get(key as usize).and_then(Option::as_ref);
            let key = key.ok_or_else(|| no_handle("crypto.verify"))?;
            Ok((key.verify(algorithm, &message, &signature),))
        },
    )?;
    linker.func_wrap(
        "hash",
        |_: StoreContextMut<'_, Host>, (which, message): (Digest, Vec<u8>)| {
            let algorithm = match which {
                Digest::Sha256 => &digest::SHA256,
                Digest::Sha384 => &digest::SHA384,
                Digest::Sha512 => &digest::SHA512,
            };
            Ok((digest::digest(algorithm, &message).as_ref().to_vec(),))
        },
    )?;
    linker.func_wrap("drop-key", |mut store: StoreContextMut<'_, Host>, (key,): (u32,)| {
        if let Some(slot) = store.data_mut().keys.get_mut(key as usize) {
            *slot = None;
        }
        Ok(())
    })
}

fn keep(keys: &mut Vec<Option<Key>>, key: Key) -> Result<u32, String> {
    if let Some(free) = keys.iter().position(Option::is_none) {
        if let Some(slot) = keys.get_mut(free) {
            *slot = Some(key);
        }
        return Ok(handle(free.saturating_add(1)));
    }
    if keys.len() >= MAX_KEYS {
        return Err(format!(
            "an instance may hold at most {MAX_KEYS} keys; drop keys that are no longer needed"
        ));
    }
    keys.push(Some(key));
    Ok(handle(keys.len()))
}

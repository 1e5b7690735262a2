//! `secrets`: used by handle; the value is visible only if the grant sets `reveal`.

use super::{MAX_SHOWN, handle, no_handle};
use crate::Host;
use crate::error::printable;
use aws_lc_rs::{constant_time, hmac};
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

pub(super) fn add(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap("open", |mut store: StoreContextMut<'_, Host>, (name,): (String,)| {
        Ok((open(store.data_mut(), name),))
    })?;
    linker.func_wrap(
        "hmac-sha256",
        |store: StoreContextMut<'_, Host>, (secret, message): (u32, Vec<u8>)| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &value(store.data(), secret)?);
            Ok((hmac::sign(&key, &message).as_ref().to_vec(),))
        },
    )?;
    linker.func_wrap(
        "equals",
        |store: StoreContextMut<'_, Host>, (secret, candidate): (u32, Vec<u8>)| {
            let value = value(store.data(), secret)?;
            Ok((constant_time::verify_slices_are_equal(&value, &candidate).is_ok(),))
        },
    )?;
    linker.func_wrap("reveal", |store: StoreContextMut<'_, Host>, (secret,): (u32,)| {
        let host = store.data();
        let value = value(host, secret)?;
        let reveal = host.settings.grant.imports.secrets.as_ref().is_some_and(|g| g.reveal);
        Ok((reveal.then(|| value.to_vec()),))
    })
}

fn open(host: &mut Host, name: String) -> Result<u32, String> {
    let granted = host.settings.grant.imports.secrets.as_ref();
    if !granted.is_some_and(|g| g.names.contains(&name)) {
        let name = printable(&name, MAX_SHOWN);
        return Err(format!(
            "its Grant does not name the secret `{name}`: add it to `imports.secrets.names` of the Grant"
        ));
    }
    if host.state.secrets.find(&name).is_none() {
        return Err(format!(
            "this proxy has no secret `{name}` for the namespace of the attachment; provide it with `--secret {name}=file:PATH` or `--secret NAMESPACE/{name}=file:PATH`, or as a file in the folder of `--secrets`"
        ));
    }
    if let Some(at) = host.secrets.iter().position(|n| *n == name) {
        return Ok(handle(at.saturating_add(1)));
    }
    host.secrets.push(name);
    Ok(handle(host.secrets.len()))
}

/// The current value: it may have been renewed since the secret was opened.
fn value(host: &Host, secret: u32) -> wasmtime::Result<Arc<[u8]>> {
    let name = host.secrets.get(secret as usize).ok_or_else(|| no_handle("secrets"))?;
    let gone = || wasmtime::Error::msg("a secret was removed after it was opened");
    host.state.secrets.find(name).ok_or_else(gone)
}

#[cfg(test)]
mod tests {
    use super::super::basic::tests::host;
    use super::*;

    #[test]
    fn an_unknown_secret_is_named_in_few_characters() {
        for fill in ["a", "\u{1}", "é", "\n"] {
            let said = open(&mut host(), fill.repeat(1 << 20)).unwrap_err();
            assert!(said.contains("imports.secrets.names") && said.len() < 400, "{}", said.len());
        }
    }
}

//! Capabilities: one file each, linked only when the component imports them (the grant was checked before).

mod basic;
mod counters;
mod crypto;
mod escaped;
mod exchange_state;
mod http_client;
mod kv;
mod metrics;
pub(crate) mod output;
mod passwords;
mod quota;
mod secrets;
mod telemetry;
mod wasi;

use crate::Host;
use crate::engine::CompiledComponent;
use wasmtime::component::{InstancePre, Linker, LinkerInstance};

/// How imports behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImportMode {
    /// Every import of the contract traps: for `validate`.
    Trapping,
    /// No import suspends.
    Direct,
    /// `http-client` and `passwords` suspend the instance.
    Suspending,
}

/// Resolves a component's imports, once per filter.
pub(crate) fn link(
    compiled: &CompiledComponent,
    mode: ImportMode,
) -> wasmtime::Result<InstancePre<Host>> {
    let mut linker: Linker<Host> = compiled.engine.linker();
    wasi::add(&mut linker, compiled)?;
    if mode == ImportMode::Trapping {
        linker.define_unknown_imports_as_traps(&compiled.component)?;
        return linker.instantiate_pre(&compiled.component);
    }
    for import in &compiled.inspection.imports {
        let mut instance = linker.instance(&compiled.inspection.contract.interface(import))?;
        add(&mut instance, import, mode)?;
    }
    linker.instantiate_pre(&compiled.component)
}

fn add(
    linker: &mut LinkerInstance<'_, Host>,
    import: &str,
    mode: ImportMode,
) -> wasmtime::Result<()> {
    match import {
        "log" => basic::log(linker),
        "clock" => basic::clock(linker),
        "random" => basic::random(linker),
        "metrics" => metrics::add(linker),
        "crypto" => crypto::add(linker),
        "passwords" => passwords::add(linker, mode),
        "secrets" => secrets::add(linker),
        "quota" => quota::add(linker),
        "counters" => counters::add(linker),
        "kv" => kv::add(linker),
        "exchange-state" => exchange_state::add(linker),
        "http-client" => http_client::add(linker, mode),
        "spans" => telemetry::spans(linker),
        "records" => telemetry::records(linker),
        other => Err(wasmtime::Error::msg(format!("no capability `{other}`"))),
    }
}

/// Bytes of a text of a guest that are shown in an error.
const MAX_SHOWN: usize = 80;

/// The error for a handle that the guest invented.
fn no_handle(what: &str) -> wasmtime::Error {
    wasmtime::Error::msg(format!("`{what}` was called with an unknown handle"))
}

/// The index of the value just pushed.
fn handle(len_after: usize) -> u32 {
    u32::try_from(len_after.saturating_sub(1)).unwrap_or(u32::MAX)
}

/// Cuts to at most `max` bytes, on a character boundary.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

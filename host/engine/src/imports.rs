//! Capabilities: one file each, linked only when the component imports them (the grant was checked before).

pub(crate) mod counters;
pub(crate) mod crypto;
pub(crate) mod exchange_state;
pub(crate) mod http_client;
pub(crate) mod kv;
pub(crate) mod quota;

mod basic;
mod metrics;
mod secrets;
mod telemetry;
mod wasi;

use crate::Host;
use crate::engine::CompiledComponent;
use aws_lc_rs::digest;
use std::time::{Duration, Instant};
use wasmtime::component::{InstancePre, Linker, LinkerInstance};

/// How imports behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Every import of the contract traps: for `validate`.
    Trapping,
    /// No import suspends.
    Direct,
    /// `http-client` suspends the instance.
    Suspending,
}

/// Resolves a component's imports, once per filter.
pub(crate) fn link(
    compiled: &CompiledComponent,
    mode: Mode,
) -> wasmtime::Result<InstancePre<Host>> {
    let mut linker: Linker<Host> = compiled.engine.linker();
    wasi::add(&mut linker, compiled)?;
    if mode == Mode::Trapping {
        linker.define_unknown_imports_as_traps(&compiled.component)?;
        return linker.instantiate_pre(&compiled.component);
    }
    for import in &compiled.inspection.imports {
        let mut instance = linker.instance(&compiled.inspection.contract.interface(import))?;
        add(&mut instance, import, mode)?;
    }
    linker.instantiate_pre(&compiled.component)
}

fn add(linker: &mut LinkerInstance<'_, Host>, import: &str, mode: Mode) -> wasmtime::Result<()> {
    match import {
        "log" => basic::log(linker),
        "clock" => basic::clock(linker),
        "random" => basic::random(linker),
        "metrics" => metrics::add(linker),
        "crypto" => crypto::add(linker),
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

/// Beginning of the stored form of a key that is kept by its hash.
const HASHED: &str = "sha256:";

/// The stored form of a key: the key itself, or its SHA-256 when it is longer than granted. Different keys
/// stay different: a key that looks like a hash is hashed too, so that nobody can choose the key of another.
/// Each costs at most `max` bytes, or those of a hash.
fn within(key: String, max: usize) -> String {
    if key.len() <= max && !key.starts_with(HASHED) {
        return key;
    }
    let hash = digest::digest(&digest::SHA256, key.as_bytes());
    let hex = hash.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex = hex.filter_map(|nibble| char::from_digit(u32::from(nibble), 16));
    HASHED.chars().chain(hex).collect()
}

/// When what is over is sought again in a full store. A search costs as much as there are entries, and who fills a store
/// (a client that chooses keys, perhaps) may ask for one with each request: so it waits, longer the more there are.
#[derive(Debug, Default)]
pub(crate) struct Sweep(Option<Instant>);

/// Nanoseconds of a pause for each entry looked at: some fifty times what a look takes.
const PAUSE_FOR_EACH: u64 = 1_000;

impl Sweep {
    /// Whether to seek now among so many.
    pub(crate) fn is_due(&mut self, entries: usize, now: Instant) -> bool {
        if self.0.is_some_and(|at| now < at) {
            return false;
        }
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        self.0 = now.checked_add(Duration::from_nanos(entries.saturating_mul(PAUSE_FOR_EACH)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_kept_under_that_of_another() {
        let long = "k".repeat(300);
        let kept = within(long.clone(), 256);
        assert!(kept.starts_with(HASHED) && kept.len() < 80);
        let twice = within(kept.clone(), 256);
        let keys = [long, kept.clone(), twice.clone(), "sha256:".to_owned(), String::new()];
        let all: std::collections::HashSet<_> =
            keys.iter().map(|key| within(key.clone(), 256)).collect();
        assert_eq!(all.len(), keys.len(), "{all:?}");
        for odd in ["\0", "a\0b", "a", "\u{202e}", "ä"] {
            assert_eq!(within(odd.to_owned(), 256), odd, "octets are octets");
        }
    }

    #[test]
    fn a_full_store_is_searched_now_and_then_however_often_it_is_asked() {
        let (mut sweep, now) = (Sweep::default(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        let asked = (0..1_000).filter(|ms| sweep.is_due(100_000, at(*ms))).count();
        assert_eq!(asked, 10, "each of 100,000 entries costs a pause of a microsecond");
    }
}

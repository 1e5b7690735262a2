//! `log`, `clock` and `random`.

use super::cut;
use crate::abi::LogLevel;
use crate::{Host, LogGrant};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

/// Bytes that one `random.octets` call returns at most.
const MAX_RANDOM: u32 = 64 * 1024;
/// Bytes of an error line that are kept for the report of a following fault.
const MAX_LAST_WORDS: usize = 512;

pub(super) fn log(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "write",
        |mut store: StoreContextMut<'_, Host>, (level, message): (LogLevel, String)| {
            if matches!(level, LogLevel::Error) {
                // The last log line before a failure is what the filter's author needs.
                let words = cut(&message, MAX_LAST_WORDS).escape_debug().to_string();
                store.data_mut().last_words = Some(words);
            }
            let host = store.data();
            if host.state.is_shadow() {
                return Ok(());
            }
            let default = LogGrant::default();
            let grant = host.settings.grant.imports.log.as_ref().unwrap_or(&default);
            if host.state.log.take(1, grant.per_second, Duration::from_secs(1)) {
                write(host, level, cut(&message, grant.max_bytes));
            }
            Ok(())
        },
    )
}

fn write(host: &Host, level: LogLevel, message: &str) {
    let (filter, digest, exchange) = (&host.settings.name, &host.settings.digest, host.exchange);
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(target: "tamis::filter", filter, digest, exchange, "{}", message.escape_debug())
        };
    }
    match level {
        LogLevel::Debug => event!(debug),
        LogLevel::Info => event!(info),
        LogLevel::Warn => event!(warn),
        LogLevel::Error => event!(error),
    }
}

pub(super) fn clock(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap("unix-ms", |_: StoreContextMut<'_, Host>, (): ()| Ok((unix_ms(),)))?;
    linker.func_wrap("monotonic-us", |_: StoreContextMut<'_, Host>, (): ()| {
        Ok((monotonic_ms().saturating_mul(1_000),))
    })
}

pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whole milliseconds: a finer clock would be a side channel.
pub(super) fn monotonic_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn random(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap("get-u64", |_: StoreContextMut<'_, Host>, (): ()| Ok((number()?,)))?;
    linker
        .func_wrap("octets", |_: StoreContextMut<'_, Host>, (count,): (u32,)| Ok((octets(count)?,)))
}

pub(super) fn number() -> wasmtime::Result<u64> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| wasmtime::Error::msg("no randomness"))?;
    Ok(u64::from_le_bytes(bytes))
}

pub(super) fn octets(count: u32) -> wasmtime::Result<Vec<u8>> {
    if count > MAX_RANDOM {
        return Err(wasmtime::Error::msg(format!(
            "one call returns at most {MAX_RANDOM} random bytes"
        )));
    }
    let mut bytes = vec![0; count as usize];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| wasmtime::Error::msg("no randomness"))?;
    Ok(bytes)
}

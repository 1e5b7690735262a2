//! `log`, `clock` and `random`.

use super::cut;
use crate::abi::{Attribute, LogLevel};
use crate::{Host, LogGrant};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, WasmStr};

/// Bytes that one `random.octets` call returns at most.
const MAX_RANDOM: u32 = 64 * 1024;
/// Fields of a log line.
const MAX_LOG_FIELDS: usize = 32;
/// Bytes of an error line that are kept for the report of a following fault.
pub(super) const MAX_LAST_WORDS: usize = 512;

pub(super) fn log(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "write",
        |mut store: StoreContextMut<'_, Host>, (level, message): (LogLevel, WasmStr)| {
            let wanted = WantedLine::take(store.data(), level);
            // The bytes of a line that nobody will read are not read here either: a flood costs the rate alone.
            if wanted.is_any() {
                let message = message.to_str(&store)?.into_owned();
                line(store.data_mut(), level, wanted, &message, "");
            }
            Ok(())
        },
    )?;
    linker.func_wrap(
        "write-with",
        |mut store: StoreContextMut<'_, Host>,
         (level, message, fields): (LogLevel, String, Vec<Attribute>)| {
            let wanted = WantedLine::take(store.data(), level);
            if !wanted.is_any() {
                return Ok(());
            }
            let fields = fields.iter().take(MAX_LOG_FIELDS);
            let fields = fields.map(|field| {
                format!("{}={}", field.name.escape_debug(), field.value.escape_debug())
            });
            let fields = fields.collect::<Vec<_>>().join(" ");
            line(store.data_mut(), level, wanted, &message, &fields);
            Ok(())
        },
    )
}

/// What a line that a filter writes is wanted for.
#[derive(Clone, Copy)]
pub(super) struct WantedLine {
    /// The last error line before a failure is what the filter's author needs.
    is_last_words: bool,
    /// It goes to the log: the filter wrote fewer lines than it may.
    is_logged: bool,
}

impl WantedLine {
    /// Counts a line of this level.
    pub(super) fn take(host: &Host, level: LogLevel) -> Self {
        let default = LogGrant::default();
        let grant = host.settings.grant.imports.log.as_ref().unwrap_or(&default);
        let is_logged = !host.state.is_shadow()
            && host.state.log.take(1, grant.per_second, Duration::from_secs(1));
        Self { is_last_words: matches!(level, LogLevel::Error), is_logged }
    }

    fn is_any(self) -> bool {
        self.is_last_words || self.is_logged
    }
}

/// Writes a line for what it is wanted. `fields` are escaped before.
pub(super) fn line(
    host: &mut Host,
    level: LogLevel,
    wanted: WantedLine,
    message: &str,
    fields: &str,
) {
    if wanted.is_last_words {
        host.last_words = Some(cut(message, MAX_LAST_WORDS).escape_debug().to_string());
    }
    if wanted.is_logged {
        let default = LogGrant::default();
        let grant = host.settings.grant.imports.log.as_ref().unwrap_or(&default);
        let message = cut(message, grant.max_bytes);
        let room = grant.max_bytes.saturating_sub(message.len());
        write(host, level, message, cut(fields, room));
    }
}

fn write(host: &Host, level: LogLevel, message: &str, fields: &str) {
    let (filter, digest, exchange) = (&host.settings.name, &host.settings.digest, host.exchange);
    let space = if fields.is_empty() { "" } else { " " };
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(target: "tamis::filter", filter, digest, exchange,
                "{}{space}{fields}", message.escape_debug())
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
    linker.func_wrap("unix-ms", |store: StoreContextMut<'_, Host>, (): ()| {
        Ok((store.data().state.clock.unix_ms(),))
    })?;
    linker.func_wrap("monotonic-us", |store: StoreContextMut<'_, Host>, (): ()| {
        Ok((monotonic_ms(store.data()).saturating_mul(1_000),))
    })
}

/// Whole milliseconds: a finer clock would be a side channel.
pub(super) fn monotonic_ms(host: &Host) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let clock = host.state.clock;
    let since = clock.since(*START.get_or_init(|| clock.now()));
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn random(linker: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    linker.func_wrap("get-u64", |store: StoreContextMut<'_, Host>, (): ()| {
        Ok((number(store.data())?,))
    })?;
    linker.func_wrap("octets", |store: StoreContextMut<'_, Host>, (count,): (u32,)| {
        Ok((octets(store.data(), count)?,))
    })
}

pub(super) fn number(host: &Host) -> wasmtime::Result<u64> {
    Ok(u64::from_le_bytes(host.state.random.octets().map_err(wasmtime::Error::new)?))
}

pub(super) fn octets(host: &Host, count: u32) -> wasmtime::Result<Vec<u8>> {
    if count > MAX_RANDOM {
        return Err(wasmtime::Error::msg(format!(
            "one call returns at most {MAX_RANDOM} random bytes"
        )));
    }
    let mut bytes = vec![0; count as usize];
    host.state.random.fill(&mut bytes).map_err(wasmtime::Error::new)?;
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::host::Settings;
    use crate::{FilterState, Grant};
    use std::sync::Arc;

    pub(crate) fn host() -> Host {
        let settings = Settings {
            name: "test/output".to_owned(),
            digest: String::new(),
            version: String::new(),
            grant: Grant::everything(),
            fetch: None,
            buckets: OnceLock::new(),
        };
        let state = FilterState::new(Arc::new(tamis_observe::Metrics::new()));
        let mark = crate::Engine::new().unwrap().mark();
        Host::new(Arc::new(settings), Arc::new(state), mark)
    }

    #[test]
    fn an_error_line_is_in_the_report_without_its_fields() {
        let mut host = host();
        let wanted = WantedLine::take(&host, LogLevel::Error);
        line(&mut host, LogLevel::Error, wanted, "no key", "kid=7");
        let wanted = WantedLine::take(&host, LogLevel::Info);
        line(&mut host, LogLevel::Info, wanted, "still here", "");
        assert_eq!(host.last_words.as_deref(), Some("no key"));
    }
}

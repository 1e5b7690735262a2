//! `log`, `clock` and `random`.

use super::cut;
use crate::abi::LogLevel;
use crate::{Host, LogGrant};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, LinkerInstance, WasmList, WasmStr};

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
                let message = beginning(&store, &message)?;
                line(store.data_mut(), level, wanted, &message, "");
            }
            Ok(())
        },
    )?;
    linker.func_wrap(
        "write-with",
        |mut store: StoreContextMut<'_, Host>,
         (level, message, fields): (LogLevel, WasmStr, WasmList<LogField>)| {
            let wanted = WantedLine::take(store.data(), level);
            if !wanted.is_any() {
                return Ok(());
            }
            let message = beginning(&store, &message)?;
            let mut written = EscapedFields::new(longest_line(store.data()));
            for at in 0..fields.len().min(MAX_LOG_FIELDS) {
                let Some(field) = fields.get(&mut store, at).transpose()? else { break };
                if written.is_full() {
                    break;
                }
                written.add(&field.name.to_str(&store)?, &field.value.to_str(&store)?);
            }
            line(store.data_mut(), level, wanted, &message, &written.text);
            Ok(())
        },
    )
}

/// A field of a line, in the memory of the guest: no more of it is copied than is written.
#[derive(ComponentType, Lift)]
#[component(record)]
struct LogField {
    name: WasmStr,
    value: WasmStr,
}

/// As much of a message as anybody reads.
fn beginning(store: &StoreContextMut<'_, Host>, message: &WasmStr) -> wasmtime::Result<String> {
    let most = longest_line(store.data()).max(MAX_LAST_WORDS);
    Ok(cut(&message.to_str(store)?, most).to_owned())
}

/// Bytes of a line that the grant allows.
fn longest_line(host: &Host) -> usize {
    let default = LogGrant::default();
    host.settings.grant.imports.log.as_ref().unwrap_or(&default).max_bytes
}

/// The fields of a line as they are written, `NAME=VALUE NAME=VALUE`, up to a length: what is beyond it is not formatted
/// either, since an escape is several times as long as what it stands for.
struct EscapedFields {
    text: String,
    most: usize,
}

impl EscapedFields {
    fn new(most: usize) -> Self {
        Self { text: String::new(), most }
    }

    fn is_full(&self) -> bool {
        self.text.len() >= self.most
    }

    fn add(&mut self, name: &str, value: &str) {
        let space = if self.text.is_empty() { "" } else { " " };
        let octets = space.chars().chain(name.escape_debug()).chain(['=']);
        for one in octets.chain(value.escape_debug()) {
            if self.is_full() {
                return;
            }
            self.text.push(one);
        }
    }
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
        let is_logged = !host.state.is_silent()
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
        let most = longest_line(host);
        let message = cut(message, most);
        let room = most.saturating_sub(message.len());
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
    fn no_more_of_the_fields_of_a_line_is_formatted_than_is_written() {
        for (fields, wanted) in [
            (&[("a", "1"), ("b", "2")][..], "a=1 b=2"),
            (&[("a", "")], "a="),
            (&[], ""),
            (&[("a\n", "\u{1b}[2J")], "a\\n=\\u{1b}[2J"),
            (&[("a", "12345678901234567890")], "a=123456789012345678"),
            (&[("a", "1234567"), ("b", "1234567"), ("c", "")], "a=1234567 b=1234567 "),
            (&[("a", "\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}")], "a=\\u{1}\\u{1}\\u{1}\\u{"),
        ] {
            let mut escaped = EscapedFields::new(20);
            fields.iter().for_each(|(name, value)| escaped.add(name, value));
            assert_eq!(escaped.text, wanted);
        }
        // As many as a guest can pass in, each as long as it can be.
        for long in ["a".repeat(4 << 20), "\u{1}".repeat(4 << 20), "é".repeat(2 << 20)] {
            let mut escaped = EscapedFields::new(4_096);
            (0..MAX_LOG_FIELDS).for_each(|_| escaped.add(&long, &long));
            assert!((4_096..4_100).contains(&escaped.text.len()), "{}", escaped.text.len());
            assert!(escaped.text.capacity() <= 8_192, "{}", escaped.text.capacity());
        }
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

//! `log`, `clock` and `random`.

use super::cut;
use super::escaped::EscapedText;
use crate::abi::LogLevel;
use crate::{Host, LogGrant};
use std::fmt::{self, Write as _};
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
    /// Something did not fit.
    is_cut: bool,
}

impl EscapedFields {
    fn new(most: usize) -> Self {
        Self { text: String::new(), most, is_cut: false }
    }

    fn is_full(&self) -> bool {
        self.is_cut || self.text.len() >= self.most
    }

    fn add(&mut self, name: &str, value: &str) {
        if self.is_full() {
            return;
        }
        let space = if self.text.is_empty() { "" } else { " " };
        // No escape is shorter than its character, so what is cut here is beyond the limit anyway.
        let (name, value) = (EscapedText(cut(name, self.most)), EscapedText(cut(value, self.most)));
        // It fails when the line is full, which is no failure of anybody.
        let _full = write!(self, "{space}{name}={value}");
    }
}

impl fmt::Write for EscapedFields {
    /// Takes what there is room for.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let taken = cut(text, self.most.saturating_sub(self.text.len()));
        self.text.push_str(taken);
        self.is_cut |= taken.len() < text.len();
        if self.is_cut { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The purposes for which a line of a filter is kept.
#[derive(Clone, Copy)]
pub(super) struct WantedLine {
    /// The last error line before a failure is what the filter's author needs.
    is_last_words: bool,
    /// It goes to the log: the filter wrote fewer lines than it may.
    is_logged: bool,
}

impl WantedLine {
    /// Counts a line of this level, unless nobody is shown lines of this level: those must not use up the rate of the others.
    pub(super) fn take(host: &Host, level: LogLevel) -> Self {
        let default = LogGrant::default();
        let grant = host.settings.grant.imports.log.as_ref().unwrap_or(&default);
        let is_logged = !host.state.is_silent()
            && is_shown(level)
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

/// The target of lines of filters.
const TARGET: &str = "tamis::filter";

/// Whether the log of this program shows such lines.
fn is_shown(level: LogLevel) -> bool {
    match level {
        LogLevel::Debug => tracing::enabled!(target: TARGET, tracing::Level::DEBUG),
        LogLevel::Info => tracing::enabled!(target: TARGET, tracing::Level::INFO),
        LogLevel::Warn => tracing::enabled!(target: TARGET, tracing::Level::WARN),
        LogLevel::Error => tracing::enabled!(target: TARGET, tracing::Level::ERROR),
    }
}

fn write(host: &Host, level: LogLevel, message: &str, fields: &str) {
    let (filter, digest, exchange) = (&host.settings.name, &host.settings.digest, host.exchange);
    let space = if fields.is_empty() { "" } else { " " };
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(target: TARGET, filter, digest, exchange,
                "{}{space}{fields}", EscapedText(message))
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
    use std::sync::{Arc, Mutex};

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

    /// A log that shows lines from this level on, and keeps them.
    pub(crate) struct Shown {
        from: tracing::Level,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Shown {
        /// What `act` logs.
        pub(crate) fn during(from: tracing::Level, act: impl FnOnce()) -> Vec<String> {
            let lines = Arc::default();
            let shown = Self { from, lines: Arc::clone(&lines) };
            tracing::subscriber::with_default(shown, act);
            let lines = lines.lock().unwrap();
            lines.clone()
        }
    }

    impl tracing::Subscriber for Shown {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            metadata.target() == TARGET && *metadata.level() <= self.from
        }

        fn event(&self, event: &tracing::Event<'_>) {
            struct Message(String);
            impl tracing::field::Visit for Message {
                fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
                    if field.name() == "message" {
                        self.0 = format!("{value:?}");
                    }
                }
            }
            let mut message = Message(String::new());
            event.record(&mut message);
            self.lines.lock().unwrap().push(message.0);
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[test]
    fn lines_that_nobody_is_shown_leave_the_rate_to_those_that_are() {
        use tracing::Level;
        let per_second = LogGrant::default().per_second as usize;
        for (from, level, shown) in [
            (Level::WARN, LogLevel::Debug, 0),
            (Level::WARN, LogLevel::Info, 0),
            (Level::WARN, LogLevel::Warn, per_second),
            (Level::WARN, LogLevel::Error, per_second),
            (Level::DEBUG, LogLevel::Debug, per_second),
            (Level::DEBUG, LogLevel::Info, per_second),
        ] {
            let mut host = host();
            let lines = Shown::during(from, || {
                for _ in 0..3 * per_second {
                    let wanted = WantedLine::take(&host, level);
                    line(&mut host, level, wanted, "a \"b\"\n", "n=1");
                }
            });
            assert_eq!(lines.len(), shown, "{level:?} from {from}");
            assert!(lines.iter().all(|line| line == r#"a \"b\"\n n=1"#), "{lines:?}");
            let after = Shown::during(from, || {
                let wanted = WantedLine::take(&host, LogLevel::Error);
                line(&mut host, LogLevel::Error, wanted, "seen", "");
            });
            assert_eq!(after.len(), usize::from(shown == 0), "{level:?} from {from}");
        }
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
            (&[("a", "12345678901234567é"), ("b", "")], "a=12345678901234567"),
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

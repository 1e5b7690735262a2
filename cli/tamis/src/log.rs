//! Log lines on stderr; `TAMIS_LOG` sets the level (default: `warn`).

use std::fmt::{self, Debug, Write as _};
use tamis_resources::acts_on_screen;
use tracing::field::Field;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// Lines that may wait for whoever reads stderr. Those beyond are dropped, and their number is reported at the end.
const WAITING_LINES_MAX: usize = 4 * 1024;

/// Warnings, but not those of `h2`, which writes a line for each frame that a stranger sends without need.
const DEFAULT: &str = "warn,h2=error";

/// The writer of log lines. Its drop writes those that wait.
pub(crate) struct LogWriter {
    guard: Option<WorkerGuard>,
    dropped: ErrorCounter,
}

/// Starts logging until the writer is dropped.
///
/// A thread of its own writes the lines: whoever holds up stderr, a terminal that is stopped or a pipe that nobody
/// reads, holds up no worker and so no request.
pub(crate) fn start() -> LogWriter {
    let (lines, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES_MAX)
        .thread_name("tamis-log")
        .finish(std::io::stderr());
    let dropped = lines.error_counter();
    let filter = EnvFilter::try_from_env("TAMIS_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .fmt_fields(debug_fn(write_field).delimited(" "))
        .with_writer(lines);
    // Fails only when logging is already started, which is fine.
    let _ = builder.with_target(false).try_init();
    LogWriter { guard: Some(guard), dropped }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let dropped = self.dropped.dropped_lines();
        if dropped > 0 {
            tracing::warn!(dropped, "log lines were dropped, because stderr was read too slowly");
        }
        drop(self.guard.take());
    }
}

/// Writes a field of a line as the library does: the message as it is, any other as `name=value`.
///
/// The library looks at each character of a message for those that command a terminal, which takes a worker 50 µs for a line
/// of 4 KiB, and not at those of other fields.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let mut writer = HarmlessWriter(writer);
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        name => write!(writer, "{name}={value:?}"),
    }
}

/// Writes text without characters that command a terminal, which may come from strangers: these are escaped, and what is
/// between them is copied in one piece.
struct HarmlessWriter<W>(W);

impl<W: fmt::Write> fmt::Write for HarmlessWriter<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.chars();
        while let Some(at) = rest.as_str().bytes().position(may_begin_command) {
            // Such an octet begins a character.
            let (harmless, more) = rest.as_str().split_at(at);
            self.0.write_str(harmless)?;
            rest = more.chars();
            match rest.next() {
                Some(one) if acts_on_screen(one) => write!(self.0, "{}", one.escape_default())?,
                Some(one) => self.0.write_char(one)?,
                None => {}
            }
        }
        self.0.write_str(rest.as_str())
    }
}

/// Whether a character that acts on a screen may begin with this octet in UTF-8. Those that may, and the characters that they
/// begin: ASCII, U+0080 to U+00BF, U+0600 to U+063F, U+1000 to U+2FFF, U+F000 to U+FFFF, U+C0000 to U+FFFFF.
fn may_begin_command(octet: u8) -> bool {
    octet.is_ascii_control() || matches!(octet, 0xc2 | 0xd8 | 0xe1 | 0xe2 | 0xef | 0xf3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `act` logs, without times.
    fn logged(act: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_target(false)
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, act);
        let octets = kept.0.lock().unwrap();
        String::from_utf8(octets.clone()).unwrap()
    }

    #[test]
    fn a_line_has_its_fields_and_then_its_message() {
        let text = "seen";
        let line = logged(|| tracing::warn!(filter = "a/b", exchange = 7, "{text} n=1"));
        assert_eq!(line, " WARN seen n=1 filter=\"a/b\" exchange=7\n");
        let line = logged(|| tracing::warn!(error = %io::Error::other("no room"), "not written"));
        assert_eq!(line, " WARN not written error=no room\n");
    }

    #[test]
    fn every_character_that_acts_on_a_screen_begins_with_an_octet_that_is_looked_at() {
        for one in ('\0'..=char::MAX).filter(|one| acts_on_screen(*one)) {
            let first = one.to_string().as_bytes()[0];
            assert!(may_begin_command(first), "{one:?}");
        }
    }

    #[test]
    fn text_of_strangers_commands_no_terminal() {
        for (text, shown) in [
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\u{7}\u{8}\u{c}\u{7f}b", "a\\u{7}\\u{8}\\u{c}\\u{7f}b"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("over\rwritten", "over\\rwritten"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            ("a\u{feff}b\u{e0041}c\u{2014}", "a\\u{feff}b\\u{e0041}c\u{2014}"),
            ("two\n\tlines é «\u{1f980}»", "two\n\tlines é «\u{1f980}»"),
            ("", ""),
        ] {
            let line = logged(|| tracing::warn!(name = %text, "{text}"));
            assert_eq!(line, format!(" WARN {shown} name={shown}\n"), "{text:?}");
        }
    }
}

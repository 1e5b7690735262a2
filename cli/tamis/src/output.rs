//! The output of commands: text for people, JSON for programs, errors on one line.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use tamis_resources::{printable, printable_json};

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON value; one per line for commands that keep running.
    Json,
}

/// Prints a result in the requested form.
pub(crate) fn result<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) {
    drawn_result(output, value, || plain(&text()).into_owned());
}

/// The same with a [`drawn`] text.
pub(crate) fn drawn_result<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) {
    match output {
        Output::Text => drawn(&text()),
        Output::Json => {
            let json = serde_json::to_string_pretty(value).unwrap_or_default();
            drawn(&printable_json(&json));
        }
    }
}

/// Prints one event of a command that keeps running.
pub(crate) fn event<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) {
    match output {
        Output::Text => line(&text()),
        Output::Json => {
            drawn(&printable_json(&serde_json::to_string(value).unwrap_or_default()));
        }
    }
}

/// Prints text, as [`plain`] text; a closed pipe is not an error.
pub(crate) fn line(text: &str) {
    drawn(&plain(text));
}

/// Prints a text that commands the terminal itself: the parts of others in it must be [`plain`].
pub(crate) fn drawn(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
    let _ = out.flush();
}

/// Prints a note in addition to the result, as [`plain`] text.
pub(crate) fn note(text: &str) {
    drawn_note(&plain(text));
}

/// The same with a [`drawn`] text.
pub(crate) fn drawn_note(text: &str) {
    use std::io::Write as _;
    // When stderr is closed, there is nowhere to report that.
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}

/// A text without what terminals act on, which is written out: parts of a text come from others. [`line()`] and [`note`] print
/// all text so.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    printable(text)
}

/// A text on one line: messages of tools, registries and the system may contain line breaks.
pub(crate) fn one_line(text: &str) -> String {
    let text = plain(text);
    let lines = text.split('\n').map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

/// Prints on one line why a command failed.
pub(crate) fn failed(output: Output, why: &str) {
    let why = one_line(why);
    match output {
        Output::Text => note(&format!("error: {why}")),
        Output::Json => event(output, &serde_json::json!({ "error": why }), String::new),
    }
}

/// Shows what takes a while, until it is dropped.
pub(crate) enum BusyIndicator {
    /// On a terminal, from the start.
    Bar(ProgressBar),
    /// Elsewhere, as a line on standard error after [`LONG`], unless this is dropped before.
    Line {
        #[expect(dead_code, reason = "what waits for it learns that it is dropped")]
        over: mpsc::Sender<()>,
    },
}

/// Time after which a log shows what is in progress.
const LONG: Duration = Duration::from_secs(1);
/// How such a line begins.
const IN_PROGRESS: &str = "… ";

/// Shows that something is in progress.
pub(crate) fn busy(what: impl Into<String>) -> BusyIndicator {
    if !std::io::stderr().is_terminal() {
        let (over, end) = mpsc::channel();
        let what = what.into();
        std::thread::spawn(move || {
            if is_long(&end, LONG) {
                note(&format!("{IN_PROGRESS}{what}"));
            }
        });
        return BusyIndicator::Line { over };
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(plain(&what.into()).into_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    BusyIndicator::Bar(bar)
}

/// Whether the sender still exists after that time: then the work takes long.
fn is_long(end: &mpsc::Receiver<()>, time: Duration) -> bool {
    end.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

impl Drop for BusyIndicator {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_what_takes_long_and_nothing_else() {
        let (over, end) = mpsc::channel();
        let busy = BusyIndicator::Line { over };
        assert!(is_long(&end, Duration::ZERO));
        drop(busy);
        assert!(!is_long(&end, Duration::from_secs(600)));
    }

    #[test]
    fn words_of_others_move_no_cursor() {
        let hostile = "a\u{1b}[2Jb\rc\u{9b}d\u{202e}e\tf\ng";
        assert_eq!(plain(hostile), "a\\u{1b}[2Jb\\rc\\u{9b}d\\u{202e}e\tf\ng");
        assert_eq!(one_line("a\u{1b}\n\n b "), "a\\u{1b}; b");
    }
}

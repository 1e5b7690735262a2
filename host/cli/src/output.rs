//! How commands speak: text for people, JSON for programs, errors in one line.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::time::Duration;

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON value, or one a line for commands that go on.
    Json,
}

/// Prints a result in the form asked for.
pub(crate) fn result<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) {
    match output {
        Output::Text => line(&text()),
        Output::Json => line(&serde_json::to_string_pretty(value).unwrap_or_default()),
    }
}

/// Prints one event of a command that goes on.
pub(crate) fn event<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) {
    match output {
        Output::Text => line(&text()),
        Output::Json => line(&serde_json::to_string(value).unwrap_or_default()),
    }
}

/// Prints text; a reader that went away is no error.
pub(crate) fn line(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
    let _ = out.flush();
}

/// Prints something beside the result.
pub(crate) fn note(text: &str) {
    use std::io::Write as _;
    // Nobody is there to be told that nobody reads.
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}

/// A text in one line: what a tool or the system said may have line breaks of its own.
pub(crate) fn one_line(text: &str) -> String {
    let lines = text.split('\n').map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

/// Prints why a command failed, in one line.
pub(crate) fn failed(output: Output, why: &str) {
    let why = one_line(why);
    match output {
        Output::Text => note(&format!("error: {why}")),
        Output::Json => line(&serde_json::json!({ "error": why }).to_string()),
    }
}

/// Says on a terminal what takes a while, until it is dropped.
pub(crate) struct Busy(ProgressBar);

/// Shows on a terminal that something is under way; silent elsewhere.
pub(crate) fn busy(what: impl Into<String>) -> Busy {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what.into());
    bar.enable_steady_tick(Duration::from_millis(200));
    Busy(bar)
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

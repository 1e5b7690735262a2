//! The output of commands: text for people, JSON for programs, errors on one line.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::time::Duration;

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
    match output {
        Output::Text => line(&text()),
        Output::Json => line(&serde_json::to_string_pretty(value).unwrap_or_default()),
    }
}

/// Prints a registry's response in the requested form, without control characters that could move the
/// cursor or reorder a line.
pub(crate) fn answer<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) {
    result(output, value, || plain(&text()));
}

/// Prints one event of a command that keeps running.
pub(crate) fn event<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) {
    match output {
        Output::Text => line(&text()),
        Output::Json => line(&serde_json::to_string(value).unwrap_or_default()),
    }
}

/// Prints text; a closed pipe is not an error.
pub(crate) fn line(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
    let _ = out.flush();
}

/// Prints a note in addition to the result.
pub(crate) fn note(text: &str) {
    use std::io::Write as _;
    // When stderr is closed, there is nowhere to report that.
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}

/// A text without what terminals act on: control characters other than line breaks and tabs, and those that
/// change the direction of writing. Parts of the text come from others.
pub(crate) fn plain(text: &str) -> String {
    let turns = |one| matches!(one, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let acts = |one: char| one.is_control() && !matches!(one, '\n' | '\t');
    text.chars().map(|one| if acts(one) || turns(one) { '\u{fffd}' } else { one }).collect()
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
        Output::Json => line(&serde_json::json!({ "error": why }).to_string()),
    }
}

/// Shows on a terminal what takes a while, until it is dropped.
pub(crate) struct BusyIndicator(ProgressBar);

/// Shows on a terminal that something is in progress; silent elsewhere.
pub(crate) fn busy(what: impl Into<String>) -> BusyIndicator {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what.into());
    bar.enable_steady_tick(Duration::from_millis(200));
    BusyIndicator(bar)
}

impl Drop for BusyIndicator {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_move_no_cursor() {
        let hostile = "a\u{1b}[2Jb\rc\u{9b}d\u{202e}e\tf\ng";
        assert_eq!(plain(hostile), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}e\tf\ng");
        assert_eq!(one_line("a\u{1b}\n\n b "), "a\u{fffd}; b");
    }
}

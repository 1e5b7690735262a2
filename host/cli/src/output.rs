//! How commands speak: text for people, JSON for programs, errors in one line.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

use serde::Serialize;

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
    eprintln!("{}", text.trim_end_matches('\n'));
}

/// Prints why a command failed: the error and its causes, in one line.
pub(crate) fn failed(output: Output, error: &anyhow::Error) {
    match output {
        Output::Text => eprintln!("error: {error:#}"),
        Output::Json => println!("{}", serde_json::json!({ "error": format!("{error:#}") })),
    }
}

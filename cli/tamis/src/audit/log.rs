//! `tamis audit log`.

use super::words;
use crate::ending::EndSignal;
use crate::output::{self, Output};
use crate::remote::{RegistryAccess, Remote};
use crate::when::{dated, moment, now_ms, rfc3339};
use anyhow::Result;
use console::Term;
use std::process::ExitCode;
use std::time::Duration;
use tamis_api::{LogEntry, LogPage};

/// Arguments of `log`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Entries from this moment on: RFC 3339 in UTC, or an age (10m, 1h30m). Default: the last 50 entries.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Entries after this revision, instead of from a moment.
    #[arg(long, value_name = "REVISION", conflicts_with = "since")]
    after: Option<u64>,
    /// Keep printing new entries until Ctrl-C.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    at: RegistryAccess,
}

/// Entries printed when neither a moment nor a revision is given.
const LAST: u64 = 50;
/// Entries fetched per request.
const PAGE: usize = 500;
/// Pause between two requests for new entries.
const PAUSE: Duration = Duration::from_secs(1);

/// Prints entries, and with `--follow` new ones as they arrive.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode> {
    let since = arguments.since.as_deref().map(|text| moment(text, now_ms())).transpose()?;
    let remote = arguments.at.remote()?;
    let ending = EndSignal::new()?;
    let mut after = match (arguments.after, since) {
        (Some(after), _) => after,
        (None, Some(since)) => before(since, |after| page(&remote, after, 1))?,
        (None, None) => page(&remote, 0, 1)?.head.saturating_sub(LAST),
    };
    loop {
        let (found, until) = match page(&remote, after, PAGE) {
            Ok(found) => (found.entries, found.until),
            // Registries restart; `--follow` waits for them.
            Err(error) if arguments.follow => {
                output::note(&output::one_line(&format!("{error:#}; trying again")));
                (Vec::new(), after)
            }
            Err(error) => return Err(error),
        };
        for entry in &found {
            output::event(output, &dated(entry), || line(entry, width()));
        }
        // Entries in between may be visible only to other tokens.
        let looked = found.last().map_or(after, |last| last.revision).max(until);
        if looked > after {
            after = looked;
        } else if !arguments.follow || ending.within(PAUSE) {
            return Ok(ExitCode::SUCCESS);
        }
        if ending.asked() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn page(remote: &Remote, after: u64, limit: usize) -> Result<LogPage> {
    remote.ask("reading", async |client| client.log(after, limit).await)
}

/// The last revision before a moment. Times in the journal never decrease, so a binary search finds it.
fn before(since: u64, mut page: impl FnMut(u64) -> Result<LogPage>) -> Result<u64> {
    let (mut low, mut high) = (0, page(0)?.head);
    while low < high {
        let middle = low.midpoint(high);
        match page(middle)?.entries.first() {
            Some(entry) if entry.time_ms < since => low = entry.revision,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Columns of the terminal; `None` when the output is not a terminal: lines then stay whole.
fn width() -> Option<usize> {
    let terminal = Term::stdout();
    terminal.is_term().then(|| usize::from(terminal.size().1))
}

fn line(entry: &LogEntry, width: Option<usize>) -> String {
    let LogEntry { revision, time_ms, actor, kind, body, hash: _ } = entry;
    let what = words::sentence(kind, body);
    let text = format!("{revision:>6}  {}  {actor:<12}  {what}", rfc3339(*time_ms));
    let text = output::plain(&text);
    match width {
        Some(width) => console::truncate_str(&text, width, "…").into_owned(),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(revision: u64, time_ms: u64) -> LogEntry {
        let (actor, kind) = ("ada".to_owned(), "pinned".to_owned());
        LogEntry { revision, time_ms, actor, kind, body: json!({ "a": 1 }), hash: String::new() }
    }

    #[test]
    fn the_first_entry_of_a_moment_is_found() {
        let times = [10, 10, 20, 20, 20, 30];
        let page = |after: u64| {
            let index = usize::try_from(after).unwrap();
            let found = times.get(index).map(|time| entry(after + 1, *time));
            Ok(LogPage { entries: found.into_iter().collect(), head: 6, until: 0 })
        };
        for (since, revision) in [(0, 0), (10, 0), (11, 2), (20, 2), (30, 5), (31, 6)] {
            assert_eq!(before(since, page).unwrap(), revision, "{since}");
        }
        assert_eq!(
            before(5, |_| Ok(LogPage { entries: Vec::new(), head: 0, until: 0 })).unwrap(),
            0
        );
    }

    #[test]
    fn a_line_is_cut_on_a_terminal_only() {
        let whole = line(&entry(7, 60_000), None);
        assert_eq!(whole, "     7  1970-01-01T00:01:00Z  ada           pinned ? ? for ? (?)");
        assert_eq!(line(&entry(7, 60_000), Some(10)), "     7  1…");
    }
}

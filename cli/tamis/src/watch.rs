//! Commands that refresh their output.

use crate::ending::EndSignal;
use crate::output::{self, Output};
use anyhow::Result;
use console::Term;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// Interval between two refreshes.
const PAUSE: Duration = Duration::from_secs(2);

/// The result of one refresh.
pub(crate) struct RefreshView {
    /// For programs.
    pub(crate) value: Value,
    /// For people.
    pub(crate) text: String,
    /// Distinguishes results: equal when only time has passed.
    pub(crate) key: String,
    /// True when nothing will change any more.
    pub(crate) over: bool,
}

/// As much of a text as fits a terminal with so many rows and columns: lines are cut, and those that do not
/// fit are counted. The last line stays, since it is the summary.
fn fitting(text: &str, (rows, columns): (usize, usize)) -> String {
    let cut = |line: &str| console::truncate_str(line, columns, "…").into_owned();
    let lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
    // The cursor stands on a line of its own.
    let room = rows.saturating_sub(1).max(3);
    let (Some((last, before)), true) = (lines.split_last(), lines.len() > room) else {
        return lines.iter().map(|line| cut(line)).collect::<Vec<_>>().join("\n");
    };
    let mut shown: Vec<String> = before.iter().take(room - 2).map(|line| cut(line)).collect();
    shown.push(format!("… {} more lines; --problems shows fewer", lines.len() - room + 1));
    shown.push(cut(last));
    shown.join("\n")
}

/// Refreshes until the user ends it or it is over. A terminal shows the latest result; elsewhere each new
/// one is printed, as JSON on one line. A failure is reported and tried again, since registries restart;
/// only the first refresh must succeed.
pub(crate) fn watch(
    output: Output,
    mut look: impl FnMut() -> Result<RefreshView>,
) -> Result<ExitCode> {
    let ending = EndSignal::new()?;
    let terminal = Term::stdout();
    let redraw = output == Output::Text && terminal.is_term();
    let mut last: Option<String> = None;
    loop {
        match look() {
            Ok(found) => {
                if redraw {
                    terminal.clear_screen()?;
                    let (rows, columns) = terminal.size();
                    let size = (usize::from(rows), usize::from(columns));
                    output::line(&fitting(&output::plain(&found.text), size));
                } else if last.as_ref() != Some(&found.key) {
                    output::event(output, &found.value, || found.text.clone());
                }
                if found.over {
                    return Ok(ExitCode::SUCCESS);
                }
                last = Some(found.key);
            }
            Err(error) if last.is_none() => return Err(error),
            Err(error) => output::note(&output::one_line(&format!("{error:#}; trying again"))),
        }
        if ending.within(PAUSE) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_fits_the_terminal_and_keeps_its_last_line() {
        let text: String = (0..60).map(|at| format!("line {at} {}\n", "x".repeat(100))).collect();
        for size in [(24, 80), (10, 40), (1, 20), (3, 7)] {
            let shown = fitting(&text, size);
            let lines: Vec<&str> = shown.lines().collect();
            assert!(lines.len() < size.0.max(4), "{size:?}: {}", lines.len());
            assert!(lines.last().unwrap().starts_with("line 5"), "{size:?}: {shown}");
            let wide = lines.iter().filter(|line| !line.starts_with('…'));
            assert!(wide.clone().all(|line| line.chars().count() <= size.1), "{size:?}: {shown}");
        }
        assert_eq!(fitting("a\nb\n", (24, 80)), "a\nb");
    }
}

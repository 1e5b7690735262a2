//! Commands that look again and again.

use crate::ending::Ending;
use crate::output::{self, Output};
use anyhow::Result;
use console::Term;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// What one look found.
pub(crate) struct Look {
    /// For programs.
    pub(crate) value: Value,
    /// For people.
    pub(crate) text: String,
    /// What tells one look from another: without what is only the time.
    pub(crate) key: String,
    /// Nothing will change any more.
    pub(crate) over: bool,
}

/// As much of a text as a terminal of so many rows and columns shows: lines are cut, and those that do not fit are counted.
/// The last line stays, for it sums up.
fn fitting(text: &str, (rows, columns): (usize, usize)) -> String {
    let cut = |line: &str| console::truncate_str(line, columns, "…").into_owned();
    let lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
    // The cursor stands in a line of its own.
    let room = rows.saturating_sub(1).max(3);
    let (Some((last, before)), true) = (lines.split_last(), lines.len() > room) else {
        return lines.iter().map(|line| cut(line)).collect::<Vec<_>>().join("\n");
    };
    let mut shown: Vec<String> = before.iter().take(room - 2).map(|line| cut(line)).collect();
    shown.push(format!("… {} lines more; --problems shows less", lines.len() - room + 1));
    shown.push(cut(last));
    shown.join("\n")
}

/// Looks until somebody asks for the end or it is over. A terminal shows the last look; elsewhere each that is new is
/// printed, in JSON one a line. A look that fails is told and tried again, for registries restart; the first must not.
pub(crate) fn watch(output: Output, mut look: impl FnMut() -> Result<Look>) -> Result<ExitCode> {
    let ending = Ending::new()?;
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
                    output::event(output, &found.value, || output::plain(&found.text));
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

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
                    output::line(&output::plain(&found.text));
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

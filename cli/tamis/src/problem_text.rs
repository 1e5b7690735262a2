//! A problem of a document, as a terminal shows it.

use miette::{GraphicalReportHandler, GraphicalTheme};
use std::io::IsTerminal as _;
use tamis_resources::Problem;

/// A problem with its source text, for people.
pub(crate) fn render(problem: &Problem) -> String {
    let theme = if std::io::stdout().is_terminal() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let problem = &problem.printable();
    let mut text = String::new();
    match GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .render_report(&mut text, problem)
    {
        Ok(()) => text,
        Err(_) => {
            let place = &problem.place;
            format!("{}:{}:{}: {problem}\n", place.source, place.line, place.column)
        }
    }
}

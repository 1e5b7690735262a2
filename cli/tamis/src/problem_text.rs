//! A problem of a document, as a terminal and a log show it.

use miette::{GraphicalReportHandler, GraphicalTheme};
use std::io::IsTerminal as _;
use tamis_resources::Problem;

/// A problem as standard error shows it: to people with its source text, to a log without. A log is kept and read by many, and a
/// line of a document may have a secret, as one has that is refused for it.
pub(crate) fn noted(problem: &Problem) -> String {
    if std::io::stderr().is_terminal() { render(problem) } else { logged(problem) }
}

fn logged(problem: &Problem) -> String {
    format!("{} ({})", problem.in_one_line(), problem.code)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_quotes_no_line_of_a_document() {
        let filter = |config: &str| {
            format!(
                "kind: FilterAttachment\napiVersion: tamis.dev/v1alpha1\nmetadata: {{ name: a, namespace: b }}\nspec: {{ filter: acme/f, config: {{ {config} }} }}\n"
            )
        };
        for (what, text) in [
            ("a secret", filter("apiKey: Hunter2LogLeak")),
            ("an unknown field beside one", filter("apiKey: Hunter2LogLeak }, odd: { a: 1")),
            ("no YAML", filter("apiKey: Hunter2LogLeak, {")),
        ] {
            let read = tamis_resources::read("a.yaml", &text);
            assert!(!read.problems.is_empty(), "{what}");
            for problem in &read.problems {
                assert!(
                    render(problem).contains("Hunter2LogLeak"),
                    "{what}: a terminal shows the line"
                );
                let logged = logged(problem);
                assert!(!logged.contains("Hunter2"), "{what}: {logged}");
                assert!(
                    logged.starts_with("a.yaml:") && logged.contains(&problem.code),
                    "{logged}"
                );
            }
        }
    }
}

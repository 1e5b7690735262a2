//! Errors in the form of the API.

use tamis_api::{DocumentProblem, Problem, Refusal};
use tamis_director::BodyError;
use tamis_journal::{BlobError, JournalError};
use tamis_trust::Refused;

/// A number and its word: `1 proxy`, `3 proxies`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A problem without refusals.
pub(crate) fn problem(status: u16, code: &str, title: impl Into<String>) -> Problem {
    Problem {
        status,
        code: code.to_owned(),
        title: title.into(),
        remedy: None,
        refusals: Vec::new(),
        problems: Vec::new(),
        subject: None,
    }
}

/// An invalid request.
pub(crate) fn bad(title: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { remedy: Some(remedy.into()), ..problem(400, "bad-request", title) }
}

/// A missing thing.
pub(crate) fn missing(title: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { remedy: Some(remedy.into()), ..problem(404, "not-found", title) }
}

/// Rules that refuse.
pub(crate) fn refused(refusals: Vec<Refused>) -> Problem {
    let title = match refusals.as_slice() {
        [one] => one.rule.clone(),
        many => format!("{} rules refuse it", many.len()),
    };
    let refusals = refusals.into_iter().map(refusal).collect();
    Problem { refusals, ..problem(409, "refused", title) }
}

pub(crate) fn refusal(refused: Refused) -> Refusal {
    Refusal {
        code: refused.code.to_owned(),
        rule: refused.rule,
        set_by: refused.set_by,
        remedy: refused.remedy,
    }
}

/// Invalid documents.
pub(crate) fn documents(problems: &[tamis_resources::Problem]) -> Problem {
    let title = match problems {
        [one] => one.message.clone(),
        many => format!("the documents have {} problems", many.len()),
    };
    let problems = problems.iter().map(document).collect();
    Problem { problems, ..problem(422, "documents", title) }
}

pub(crate) fn document(problem: &tamis_resources::Problem) -> DocumentProblem {
    DocumentProblem {
        code: problem.code.clone(),
        message: problem.message.clone(),
        help: problem.help.clone(),
        source: problem.place.source.clone(),
        line: problem.place.line,
        column: problem.place.column,
    }
}

/// The storage does not respond, or refuses. Nothing is known to have changed.
pub(crate) fn journal(error: &JournalError) -> Problem {
    match error {
        JournalError::TooLarge { .. } | JournalError::Body { .. } => {
            bad(error.to_string(), "make it smaller, or split it")
        }
        _ => {
            tracing::warn!(error = %chain(error), "the journal failed");
            let remedy = "try again; what runs keeps running".to_owned();
            Problem {
                remedy: Some(remedy),
                ..problem(503, "unavailable", "the journal cannot be reached or refuses")
            }
        }
    }
}

pub(crate) fn blob(error: &BlobError) -> Problem {
    tracing::warn!(error = %chain(error), "the blobs failed");
    problem(503, "unavailable", "the registry's blobs cannot be reached")
}

pub(crate) fn body(error: &BodyError) -> Problem {
    bad(error.to_string(), "make it smaller, or split it")
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

//! Errors in the form of the API.

use tamis_api::{ApiProblem, DocumentProblem};
use tamis_director::RecordError;
use tamis_journal::{BlobError, JournalError};
use tamis_trust::Refused;

/// A number and its word: `1 proxy`, `3 proxies`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A problem without refusals.
pub(crate) fn problem(status: u16, code: &str, title: impl Into<String>) -> ApiProblem {
    ApiProblem {
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
pub(crate) fn bad(title: impl Into<String>, remedy: impl Into<String>) -> ApiProblem {
    ApiProblem { remedy: Some(remedy.into()), ..problem(400, "bad-request", title) }
}

/// A missing thing.
pub(crate) fn missing(title: impl Into<String>, remedy: impl Into<String>) -> ApiProblem {
    ApiProblem { remedy: Some(remedy.into()), ..problem(404, "not-found", title) }
}

/// Rules that refuse.
pub(crate) fn refused(refusals: Vec<Refused>) -> ApiProblem {
    let title = match refusals.as_slice() {
        [one] => one.rule.clone(),
        many => format!("{} rules refuse it", many.len()),
    };
    ApiProblem { refusals, ..problem(409, "refused", title) }
}

/// Invalid documents.
pub(crate) fn documents(problems: &[tamis_resources::Problem]) -> ApiProblem {
    let title = match problems {
        [one] => one.message.clone(),
        many => format!("the documents have {} problems", many.len()),
    };
    let problems = problems.iter().map(document).collect();
    ApiProblem { problems, ..problem(422, "documents", title) }
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

/// A caller whose token was valid when the request began, and is no longer.
pub(crate) fn ended(token: &str) -> ApiProblem {
    let title = format!(
        "the token {token:?} was revoked or replaced, or it expired, before the request was complete; nothing was changed"
    );
    let remedy = "send a valid token: `Authorization: Bearer TOKEN`".to_owned();
    ApiProblem { remedy: Some(remedy), ..problem(401, "unauthorized", title) }
}

/// The storage does not respond, or refuses. Nothing is known to have changed.
pub(crate) fn journal(error: &JournalError) -> ApiProblem {
    match error {
        JournalError::TooLarge { .. } | JournalError::Body { .. } => {
            bad(error.to_string(), "make it smaller, or split it")
        }
        JournalError::Full { .. } => {
            tracing::error!(%error, "the disk of the registry is full");
            disk_full()
        }
        _ => {
            tracing::warn!(error = %tamis_journal::causes(error), "the journal failed");
            unreadable()
        }
    }
}

/// The journal cannot be used.
pub(crate) fn unreadable() -> ApiProblem {
    let remedy = "ask another replica, or try again; what runs keeps running".to_owned();
    let title = "the journal cannot be reached or refuses";
    ApiProblem { remedy: Some(remedy), ..problem(503, "unavailable", title) }
}

/// The disk of the registry is full, so that nothing can be changed.
pub(crate) fn disk_full() -> ApiProblem {
    let remedy = "free some of it on the registry's machine; what runs keeps running".to_owned();
    ApiProblem {
        remedy: Some(remedy),
        ..problem(507, "disk-full", "the disk of the registry is full: nothing was changed")
    }
}

pub(crate) fn blob(error: &BlobError) -> ApiProblem {
    if matches!(error, BlobError::Full) {
        tracing::error!(%error, "the disk of the registry is full");
        return disk_full();
    }
    tracing::warn!(error = %tamis_journal::causes(error), "the blobs failed");
    problem(503, "unavailable", "the registry's blobs cannot be reached")
}

pub(crate) fn body(error: &RecordError) -> ApiProblem {
    bad(error.to_string(), "make it smaller, or split it")
}

/// The error for a document that is not there.
pub(crate) fn unknown(key: &str) -> ApiProblem {
    missing(format!("there is no {key}"), "`tamis get all` lists what is in force")
}

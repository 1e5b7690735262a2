//! How commands fail: one line, and an exit code for the kind of failure.

use crate::output::{self, Output};
use serde_json::json;
use std::fmt;
use std::process::ExitCode;
use tamis_client::ClientError;

/// Rules of the control plane refused; `--confirm` or another person's approval may pass them.
pub(crate) const REFUSED: u8 = 3;
/// The requested thing does not exist.
const NOT_FOUND: u8 = 4;

/// The requested thing does not exist, with the way out in the same line.
#[derive(Debug)]
pub(crate) struct NotFound(pub(crate) String);

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotFound {}

/// Prints why a command failed and returns its exit code.
pub(crate) fn report(output: Output, error: &anyhow::Error) -> ExitCode {
    let why = output::one_line(&tamis_node::causes(error.as_ref()));
    let said = error.chain().find_map(|cause| cause.downcast_ref::<ClientError>());
    match (output, said.and_then(ClientError::problem)) {
        (Output::Json, Some(problem)) => {
            output::event(output, &json!({ "error": why, "problem": problem }), String::new);
        }
        _ => output::failed(output, &why),
    }
    if error.chain().any(|cause| cause.is::<NotFound>()) {
        return ExitCode::from(NOT_FOUND);
    }
    code(said)
}

fn code(said: Option<&ClientError>) -> ExitCode {
    match said {
        Some(said) if said.is_refused_by_rule() => ExitCode::from(REFUSED),
        Some(said) if said.is_not_found() => ExitCode::from(NOT_FOUND),
        _ => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::{ApiProblem, Refused};

    #[test]
    fn refusals_and_missing_things_have_exit_codes_of_their_own() {
        let problem = |status, refusals| {
            let (code, title) = ("a".to_owned(), "b".to_owned());
            let (remedy, subject, problems) = (None, None, Vec::new());
            let problem = ApiProblem { status, code, title, remedy, refusals, problems, subject };
            ClientError::Refused(Box::new(problem))
        };
        let words = || "x".to_owned();
        let refusal =
            Refused { code: words().into(), rule: words(), set_by: words(), remedy: words() };
        let said = |error: &ClientError| format!("{:?}", code(Some(error)));
        let exits = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(said(&problem(409, vec![refusal])), exits(3));
        assert_eq!(said(&problem(404, Vec::new())), exits(4));
        assert_eq!(said(&problem(401, Vec::new())), exits(1));
        assert_eq!(format!("{:?}", code(None)), exits(1));
    }
}

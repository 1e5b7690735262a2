//! Why there is no answer, or why the answer is no.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use http::StatusCode;
use tamis_api::Problem;
use tamis_transport::{ConnectError, TlsError};
use thiserror::Error;

use crate::Server;

/// What can go wrong between a client and a registry.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// TLS needs to know whom to believe.
    #[error("{server} speaks TLS; name the file of its authority, in PEM")]
    NoAuthority {
        /// The registry.
        server: Server,
    },
    /// Files of TLS make no sense with an address without TLS.
    #[error(
        "{server} speaks no TLS, so a certificate and an authority say nothing; write https://"
    )]
    NoTls {
        /// The registry.
        server: Server,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token is no token.
    #[error("the token has characters that no token has; give it as it was printed, on one line")]
    Token,
    /// The token would travel in clear text.
    #[error(
        "the token would travel in clear text to {server}, where others can read it; write https://, or go through a \
         tunnel to a loopback address"
    )]
    ClearText {
        /// The registry.
        server: Server,
    },
    /// A name has no address.
    #[error("{host} does not resolve to an address")]
    Resolve {
        /// The name.
        host: String,
        /// What the system said; none: an empty answer.
        source: Option<io::Error>,
    },
    /// No connection.
    #[error("{server} cannot be reached; is a registry running there?")]
    Connect {
        /// The registry.
        server: Server,
        /// Why.
        source: Box<ConnectError>,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the connection to {server} broke off")]
    Broken {
        /// The registry.
        server: Server,
        /// Why.
        source: hyper::Error,
    },
    /// It took too long.
    #[error("{server} did not answer within {} s", timeout.as_secs_f32())]
    Timeout {
        /// The registry.
        server: Server,
        /// The time allowed.
        timeout: Duration,
    },
    /// The answer is longer than it may be.
    #[error(
        "the answer of {server} to {path} is longer than {limit} bytes, which are read at most"
    )]
    TooLarge {
        /// The registry.
        server: Server,
        /// What was asked for.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// The answer is not what the API promises.
    #[error("{server} answered {path} with {status} and {what}; is it a registry of this release?")]
    Strange {
        /// The registry.
        server: Server,
        /// What was asked for.
        path: String,
        /// The status.
        status: StatusCode,
        /// What is strange.
        what: String,
    },
    /// The control plane says no.
    #[error("{}", said(.0))]
    Refused(Box<Problem>),
    /// The OCI API says no.
    #[error("{path}: {message} ({code})")]
    Oci {
        /// What was asked for.
        path: String,
        /// The status.
        status: StatusCode,
        /// The code of OCI Distribution 1.1.
        code: String,
        /// In words.
        message: String,
    },
    /// Bytes do not have the digest that they were asked for by.
    #[error("{server} sent other bytes than {digest}; do not use them, and ask who changed them")]
    Tampered {
        /// The registry.
        server: Server,
        /// What was asked for.
        digest: String,
    },
    /// An artifact cannot be pushed, or what was pulled is none.
    #[error("{0}")]
    Artifact(String),
}

impl ClientError {
    /// Whether what was asked for is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Refused(problem) => problem.status == 404,
            Self::Oci { status, .. } => *status == StatusCode::NOT_FOUND,
            _ => false,
        }
    }

    /// Whether rules of the control plane refused what was asked.
    #[must_use]
    pub fn is_refused_by_rule(&self) -> bool {
        matches!(self, Self::Refused(problem) if !problem.refusals.is_empty())
    }

    /// What the control plane said, as it said it.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }
}

/// The rule that somebody else has to agree.
const APPROVALS: &str = "guard.approvals";

/// How many problems of documents stand in one line.
const SHOWN: usize = 3;

/// A problem in one line: what, by which rules, whose they are, the ways out.
fn said(problem: &Problem) -> String {
    let title = problem.title.trim_end_matches('.');
    // Where the title is one of the rules, the rule says it better: with its name and its owner.
    let told = problem.refusals.iter().any(|refusal| refusal.rule == title);
    let mut text = if told { "refused".to_owned() } else { title.to_owned() };
    for refusal in &problem.refusals {
        let _ = write!(
            text,
            "; {}: {} (set by {}): {}",
            refusal.code, refusal.rule, refusal.set_by, refusal.remedy
        );
    }
    for one in problem.problems.iter().take(SHOWN) {
        let _ = write!(text, "; {}:{}:{}: {}", one.source, one.line, one.column, one.message);
        if let Some(help) = &one.help {
            let _ = write!(text, " ({help})");
        }
    }
    if let Some(more) = problem.problems.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = write!(text, "; and {more} more");
    }
    if let Some(remedy) = &problem.remedy {
        let _ = write!(text, "; {remedy}");
    }
    let approvals = problem.refusals.iter().any(|refusal| refusal.code == APPROVALS);
    if let Some(subject) = problem.subject.as_ref().filter(|one| approvals && !text.contains(*one))
    {
        let _ = write!(text, "; approvals name {subject}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_api::{DocumentProblem, Refusal};

    fn problem() -> Problem {
        Problem {
            status: 409,
            code: "refused".into(),
            title: "the change is refused.".into(),
            remedy: None,
            refusals: vec![Refusal {
                code: "guard.blast-radius".into(),
                rule: "3 of 4 services would change".into(),
                set_by: "the blast radius".into(),
                remedy: "confirm".into(),
            }],
            problems: Vec::new(),
            subject: Some("sha256:00".into()),
        }
    }

    #[test]
    fn a_refusal_says_rule_owner_and_way_out_in_one_line() {
        let error = ClientError::Refused(Box::new(problem()));
        assert_eq!(
            error.to_string(),
            "the change is refused; guard.blast-radius: 3 of 4 services would change (set by the blast radius): \
             confirm"
        );
        assert!(error.is_refused_by_rule() && !error.is_not_found());
    }

    #[test]
    fn what_has_to_be_approved_is_named_once() {
        let said = |remedy: &str| {
            let refusal = Refusal {
                code: APPROVALS.into(),
                remedy: remedy.into(),
                ..problem().refusals.remove(0)
            };
            ClientError::Refused(Box::new(Problem { refusals: vec![refusal], ..problem() }))
                .to_string()
        };
        assert!(said("ask somebody").ends_with("ask somebody; approvals name sha256:00"));
        assert!(said("approve sha256:00").ends_with("approve sha256:00"));
    }

    #[test]
    fn a_rule_is_not_told_twice() {
        let rule = problem().refusals.remove(0).rule;
        let error = ClientError::Refused(Box::new(Problem { title: rule, ..problem() }));
        assert!(error.to_string().starts_with("refused; guard.blast-radius: 3 of 4"), "{error}");
    }

    #[test]
    fn many_problems_of_documents_are_counted_and_not_all_told() {
        let one = DocumentProblem {
            code: "field.unknown".into(),
            message: "there is no `prts`".into(),
            help: Some("did you mean `ports`?".into()),
            source: "a.yaml".into(),
            line: 4,
            column: 2,
        };
        let told =
            Problem { status: 422, refusals: Vec::new(), problems: vec![one; 5], ..problem() };
        let text = ClientError::Refused(Box::new(told)).to_string();
        assert!(text.contains("a.yaml:4:2: there is no `prts` (did you mean `ports`?)"), "{text}");
        assert!(text.ends_with("; and 2 more"), "{text}");
    }
}

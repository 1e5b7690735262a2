//! Why a request failed or was refused.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use http::StatusCode;
use tamis_api::ApiProblem;
use tamis_transport::{ConnectError, TlsError};
use tamis_trust::Digest;
use thiserror::Error;

use crate::Server;

/// Everything that can go wrong between a client and a registry.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A push would replace what its version names.
    #[error("the version names another filter in the registry, {there}; this one is {here}")]
    Released {
        /// The digest that the version names.
        there: Digest,
        /// The digest of what was to be pushed.
        here: Digest,
    },
    /// TLS needs an authority to trust.
    #[error("{server} speaks TLS; name the file of its authority, in PEM")]
    NoAuthority {
        /// The registry.
        server: Server,
    },
    /// Certificates make no sense for an address without TLS.
    #[error(
        "{server} does not use TLS, so certificates and an authority have no effect; write https://"
    )]
    NoTls {
        /// The registry.
        server: Server,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token has a form that no token has.
    #[error(
        "the token has characters that tokens do not have; give it as it was printed, on one line"
    )]
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
    /// A name does not resolve.
    #[error("{host} does not resolve to an address")]
    Resolve {
        /// The name.
        host: String,
        /// The system's error; `None`: the answer was empty.
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
    /// The connection broke, or the bytes received are not HTTP.
    #[error("the connection to {server} was lost")]
    Broken {
        /// The registry.
        server: Server,
        /// Why.
        source: hyper::Error,
    },
    /// The time limit passed.
    #[error("{server} did not answer within {} s", timeout.as_secs_f32())]
    Timeout {
        /// The registry.
        server: Server,
        /// The time allowed.
        timeout: Duration,
    },
    /// The response exceeds its size limit.
    #[error("the answer of {server} to {path} is longer than {limit} bytes, the most that is read")]
    TooLarge {
        /// The registry.
        server: Server,
        /// What was asked for.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// The response is not what the API promises.
    #[error("{server} answered {path} with {status} and {what}; is it a registry of this release?")]
    Strange {
        /// The registry.
        server: Server,
        /// What was asked for.
        path: String,
        /// The status.
        status: StatusCode,
        /// What is unexpected about it.
        what: String,
    },
    /// The control plane refuses.
    #[error("{}", shown(.0))]
    Refused(Box<ApiProblem>),
    /// The OCI API refuses.
    #[error("{path}: {message} ({code})")]
    Oci {
        /// What was asked for.
        path: String,
        /// The status.
        status: StatusCode,
        /// The code of OCI Distribution 1.1.
        code: String,
        /// The message of the registry.
        message: String,
    },
    /// Bytes do not match the digest by which they were requested.
    #[error(
        "{server} sent bytes that do not match {digest}; do not use them, and find out who changed them"
    )]
    Tampered {
        /// The registry.
        server: Server,
        /// What was asked for.
        digest: String,
    },
    /// An artifact cannot be pushed, or what was pulled is not an artifact.
    #[error("{0}")]
    Artifact(String),
}

impl ClientError {
    /// Whether the same request may succeed a moment later: the registry is not there, does not answer, or has no room now.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } | Self::Timeout { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 429 | 503),
            Self::Oci { status, .. } => {
                matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            }
            _ => false,
        }
    }

    /// Whether the requested thing does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Refused(problem) => problem.status == 404,
            Self::Oci { status, .. } => *status == StatusCode::NOT_FOUND,
            _ => false,
        }
    }

    /// Whether rules of the control plane refused the request.
    #[must_use]
    pub fn is_refused_by_rule(&self) -> bool {
        matches!(self, Self::Refused(problem) if !problem.refusals.is_empty())
    }

    /// The problem document of the control plane, unchanged.
    #[must_use]
    pub fn problem(&self) -> Option<&ApiProblem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }
}

/// The rule that requires another person's approval.
const APPROVALS: &str = "guard.approvals";

/// How many problems of documents are listed on one line.
const SHOWN: usize = 3;

/// A problem on one line: what is refused, by which rules, who set them, the ways out.
fn shown(problem: &ApiProblem) -> String {
    let title = problem.title.trim_end_matches('.');
    // When the title repeats a rule, the rule's own line is better: it has its name and its owner.
    let told = problem.refusals.iter().any(|refusal| refusal.rule == title);
    let mut text = if told { "refused".to_owned() } else { title.to_owned() };
    for (at, refusal) in problem.refusals.iter().enumerate() {
        let sign = if told && at == 0 { ":" } else { ";" };
        let _ = write!(text, "{sign} {}: {}", refusal.code, refusal.rule);
        if !refusal.set_by.is_empty() && !refusal.rule.contains(&refusal.set_by) {
            let _ = write!(text, " (rule of {})", refusal.set_by);
        }
        if !refusal.remedy.is_empty() {
            let _ = write!(text, "; {}", refusal.remedy);
        }
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
    use tamis_api::{DocumentProblem, Refused};

    fn problem() -> ApiProblem {
        ApiProblem {
            status: 409,
            code: "refused".into(),
            title: "the change is refused.".into(),
            remedy: None,
            refusals: vec![Refused {
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
            "the change is refused; guard.blast-radius: 3 of 4 services would change (rule of the blast radius); \
             confirm"
        );
        assert!(error.is_refused_by_rule() && !error.is_not_found());
    }

    #[test]
    fn what_has_to_be_approved_is_named_once() {
        let said = |remedy: &str| {
            let refusal = Refused {
                code: APPROVALS.into(),
                remedy: remedy.into(),
                ..problem().refusals.remove(0)
            };
            ClientError::Refused(Box::new(ApiProblem { refusals: vec![refusal], ..problem() }))
                .to_string()
        };
        assert!(said("ask somebody").ends_with("ask somebody; approvals name sha256:00"));
        assert!(said("approve sha256:00").ends_with("approve sha256:00"));
    }

    #[test]
    fn a_rule_is_not_told_twice() {
        let rule = problem().refusals.remove(0).rule;
        let error = ClientError::Refused(Box::new(ApiProblem { title: rule, ..problem() }));
        assert!(error.to_string().starts_with("refused: guard.blast-radius: 3 of 4"), "{error}");
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
            ApiProblem { status: 422, refusals: Vec::new(), problems: vec![one; 5], ..problem() };
        let text = ClientError::Refused(Box::new(told)).to_string();
        assert!(text.contains("a.yaml:4:2: there is no `prts` (did you mean `ports`?)"), "{text}");
        assert!(text.ends_with("; and 2 more"), "{text}");
    }
}

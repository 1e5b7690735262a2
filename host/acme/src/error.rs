//! Why there is no new certificate, and what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use instant_acme::Problem;
use tamis_transport::TlsError;
use thiserror::Error;

use crate::directory_error::DirectoryError;
use crate::text::shortened;

/// What the types of problems begin with (RFC 8555 §6.7).
const TYPES: &str = "urn:ietf:params:acme:error:";

/// Why there is no new certificate. The one in use stays.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AcmeError {
    /// The server cannot be asked.
    #[error("the ACME server cannot be asked")]
    Directory(#[source] DirectoryError),
    /// The server refuses.
    #[error("the ACME server refuses ({kind}): {detail}")]
    Refused {
        /// The kind of problem, such as `rateLimited` (RFC 8555 §6.7).
        kind: String,
        /// Its words, shortened.
        detail: String,
    },
    /// The server does not follow the protocol.
    #[error("the answer of the ACME server cannot be used: {0}")]
    Answer(String),
    /// The server offers no challenge of that kind for the host.
    #[error("the ACME server offers no {0} challenge for this host")]
    NoChallenge(&'static str),
    /// The order took too long.
    #[error("the order is not fulfilled within {0:?}")]
    Late(Duration),
    /// The certificate would not work.
    #[error("the certificate of the ACME server cannot be used")]
    Certificate(#[source] TlsError),
    /// What is kept cannot be read or written.
    #[error("{} cannot be used", path.display())]
    Kept {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The authorities of the directory cannot be used.
    #[error("the authorities of the ACME server cannot be used")]
    Authorities(#[source] TlsError),
    /// The installed cryptography makes no key.
    #[error("no key can be made")]
    Key(#[source] rcgen::Error),
    /// The certificate of a challenge cannot be shown.
    #[error("the certificate of the challenge cannot be shown")]
    Shown(#[source] TlsError),
}

impl AcmeError {
    /// Whether the server decided: asking it again soon would cost one of the few attempts that it allows.
    #[must_use]
    pub fn is_decision(&self) -> bool {
        match self {
            Self::Directory(_) | Self::Kept { .. } => false,
            // A nonce that is too old, or a fault of its own, is nothing that it decided about us.
            Self::Refused { kind, .. } => {
                !matches!(kind.as_str(), "badNonce" | "serverInternal" | "accountDoesNotExist")
            }
            Self::Answer(_)
            | Self::NoChallenge(_)
            | Self::Late(_)
            | Self::Certificate(_)
            | Self::Authorities(_)
            | Self::Key(_)
            | Self::Shown(_) => true,
        }
    }

    /// Whether the server does not know the account any more.
    pub(crate) fn is_account_gone(&self) -> bool {
        matches!(self, Self::Refused { kind, .. } if kind == "accountDoesNotExist")
    }

    /// What to do.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Directory(_) | Self::Authorities(_) => {
                "check `spec.acme.directory`, the way to it, and `spec.acme.ca` if an authority of your own signs its certificate; the proxy tries again by itself"
            }
            Self::Refused { kind, .. } => match kind.as_str() {
                "rateLimited" => {
                    "the server allows no more orders for now; it is tried again by itself"
                }
                "caa" | "rejectedIdentifier" | "unsupportedIdentifier" => {
                    "this server gives no certificate for the host: correct `hostname` or the CAA record of its domain, or name another server"
                }
                "externalAccountRequired" => {
                    "this server wants an account that is bound to a customer of its own, which Tamis does not offer: name another one"
                }
                "invalidContact" | "unsupportedContact" => "correct `spec.acme.contact`",
                "userActionRequired" => "read the new terms of the server, and agree to them there",
                _ => REACH,
            },
            Self::Late(_) => REACH,
            Self::NoChallenge(_) => {
                "write the other challenge in `tls.acme`, or name another server"
            }
            Self::Answer(_) | Self::Certificate(_) => {
                "check that `spec.acme.directory` names an ACME server; it is tried again by itself"
            }
            Self::Kept { .. } => {
                "make the folder writable for the user of the proxy, and for nobody else"
            }
            Self::Key(_) | Self::Shown(_) => "report it; it is tried again by itself",
        }
    }
}

const REACH: &str = "the server must reach this gateway by the host: at port 80 for http-01, at port 443 for tls-alpn-01, through every load balancer and without a guard that refuses it; it is tried again by itself";

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        use instant_acme::Error;
        match error {
            Error::Api(problem) => refused(&problem),
            Error::Other(error) => match error.downcast::<DirectoryError>() {
                Ok(error) => Self::Directory(*error),
                Err(error) => Self::Answer(shortened(&error.to_string())),
            },
            other => Self::Answer(shortened(&other.to_string())),
        }
    }
}

/// A refusal with its reason; of those of several identifiers, ours is the only one.
pub(crate) fn refused(problem: &Problem) -> AcmeError {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = shortened(kind.strip_prefix(TYPES).unwrap_or(kind));
    let own = problem.detail.as_deref();
    let below = || problem.subproblems.iter().find_map(|one| one.detail.as_deref());
    let detail = shortened(own.or_else(below).unwrap_or("it does not say why"));
    AcmeError::Refused { kind, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> AcmeError {
        refused(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_server_shortened_and_with_the_way_out() {
        let long = format!(
            r#"{{ "type": "urn:ietf:params:acme:error:rateLimited", "detail": "a\u001b[31m\n{}" }}"#,
            "b".repeat(10_000)
        );
        let error = problem(&long);
        let AcmeError::Refused { kind, detail } = &error else { panic!("{error}") };
        assert_eq!((kind.as_str(), detail.chars().count()), ("rateLimited", crate::text::TEXT_MAX));
        assert!(detail.starts_with("a[31mb"), "{detail}");
        assert!(error.help().contains("no more orders"));
        assert_eq!(problem("{}").to_string(), "the ACME server refuses (): it does not say why");
        assert!(
            problem(r#"{"type": "urn:ietf:params:acme:error:connection"}"#)
                .help()
                .contains("port 80")
        );
        assert!(
            problem(r#"{"type": "urn:ietf:params:acme:error:accountDoesNotExist"}"#)
                .is_account_gone()
        );
    }
}

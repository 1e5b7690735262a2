//! What can go wrong, each with the place, the rule and the way out.

use std::path::PathBuf;

use thiserror::Error;

/// Metadata that is not trusted, or a repository that cannot do what was requested.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TufError {
    /// A namespace does not follow the grammar.
    #[error(
        "namespace {0:?} is neither \"*\" nor lower-case letters and digits joined by '.', '_' or '-', in \
         components separated by '/', at most 200 bytes"
    )]
    Namespace(String),
    /// A target among the policy documents has an invalid name.
    #[error(
        "target {0:?}: a policy document is named policy/NAMESPACE.json with ~ for /, or policy/_all.json"
    )]
    Path(String),
    /// A file that others name is missing.
    #[error("{file} is missing: {by} names it; send all files of one state together")]
    Missing {
        /// The file.
        file: String,
        /// The file that names it.
        by: String,
    },
    /// A file breaks a rule of TUF.
    #[error("{file}: {reason}{}", .rule.way_out())]
    Metadata {
        /// The file.
        file: String,
        /// Which rule.
        rule: Rule,
        /// What was found.
        reason: String,
    },
    /// A policy document is invalid, or covers filters outside its namespace.
    #[error("{file}: {reason}")]
    Document {
        /// Its path among the targets.
        file: String,
        /// The problem and the way out.
        reason: String,
    },
    /// A file is too large, or there are too many.
    #[error("{file}: {actual} is more than the limit of {limit} {unit}")]
    Limit {
        /// The file.
        file: String,
        /// The actual number.
        actual: usize,
        /// The limit.
        limit: usize,
        /// The unit of both numbers.
        unit: &'static str,
    },
    /// The stored state does not follow from the pinned root, or was altered.
    #[error(
        "{}: the state stored there is not trusted ({reason}); remove the file to start again from the pinned root, which forgets the highest versions seen", path.display()
    )]
    Kept {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {act}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operation that failed.
        act: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A change to a repository that makes no sense.
    #[error("{0}")]
    Change(String),
    /// A key or a document does not parse.
    #[error(transparent)]
    Trust(#[from] tamis_trust::TrustError),
}

/// The rules of TUF that a file can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It is not metadata of its role, or uses features that are not accepted here.
    Format,
    /// Too few distinct keys signed.
    Threshold,
    /// Its version, or one that it names, is lower than before; or a root is missing.
    Rollback,
    /// It has expired.
    Expired,
    /// It is not the file that the others name: it belongs to another state, or was altered.
    Mixed,
}

impl Rule {
    const fn way_out(self) -> &'static str {
        match self {
            Self::Format => "",
            Self::Threshold => {
                "; sign it with as many of the role's keys as its threshold asks for"
            }
            Self::Rollback => "; versions never fall: publish a higher one",
            Self::Expired => "; publish it again with a later expiry",
            Self::Mixed => "; send all metadata files of one snapshot, unchanged",
        }
    }
}

impl TufError {
    /// The error for a file that the TUF state machine rejected.
    pub(crate) fn tuf(file: &str, error: &sigstore_tuf::Error) -> Self {
        use sigstore_tuf::Error as Tuf;
        let rule = match error {
            Tuf::ThresholdNotMet { .. } | Tuf::DuplicateSignature { .. } => Rule::Threshold,
            Tuf::Rollback { .. } | Tuf::BadRootVersion { .. } | Tuf::EqualVersion { .. } => {
                Rule::Rollback
            }
            Tuf::Expired { .. } => Rule::Expired,
            Tuf::IntegrityMismatch(_) => Rule::Mixed,
            _ => Rule::Format,
        };
        Self::Metadata { file: file.to_owned(), rule, reason: one_line(error) }
    }

    pub(crate) fn format(file: &str, reason: impl Into<String>) -> Self {
        Self::Metadata { file: file.to_owned(), rule: Rule::Format, reason: reason.into() }
    }

    /// The TUF rule that was broken; `None` for errors that are not about TUF rules.
    #[must_use]
    pub fn rule(&self) -> Option<Rule> {
        match self {
            Self::Metadata { rule, .. } => Some(*rule),
            _ => None,
        }
    }
}

/// An error and its causes; foreign text is kept on one line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

//! What can go wrong, each with the place, the rule and the way out.

use std::path::PathBuf;

use thiserror::Error;

/// Metadata that is not believed, or a repository that cannot do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A namespace does not follow the grammar.
    #[error(
        "namespace {0:?} is neither \"*\" nor lower-case letters and digits joined by '.', '_' or '-', in \
         components separated by '/', at most 200 bytes"
    )]
    Namespace(String),
    /// A target among the documents of policy is named like none.
    #[error(
        "target {0:?}: a document of policy lies at policy/NAMESPACE.json with ~ for /, or at \
         policy/_all.json"
    )]
    Path(String),
    /// A file that the others name is not there.
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
    /// A document of policy is none, or speaks of what is not its own.
    #[error("{file}: {reason}")]
    Document {
        /// Its path among the targets.
        file: String,
        /// What is wrong with it and the way out.
        reason: String,
    },
    /// A file is larger than any of its kind may be, or there are too many.
    #[error("{file}: {actual} is more than the limit of {limit} {unit}")]
    Limit {
        /// The file.
        file: String,
        /// What there is.
        actual: usize,
        /// How much there may be.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// What was kept does not follow from the pinned root, or was altered.
    #[error(
        "{}: what was kept there is not believed ({reason}); remove the file to begin again from the \
         pinned root, which forgets the highest versions seen", path.display()
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
        /// What was tried.
        act: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A change to a repository that makes no sense.
    #[error("{0}")]
    Change(String),
    /// A key or a document does not parse.
    #[error(transparent)]
    Trust(#[from] tamis_trust::Error),
}

/// The rules of TUF a file can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It is no metadata of its role, or uses what is not accepted here.
    Format,
    /// Too few distinct keys signed.
    Threshold,
    /// Its version, or one it names, fell; or a root was left out.
    Rollback,
    /// Its time is over.
    Expired,
    /// It is not the file that the others name: of another state, or altered.
    Mixed,
}

impl Rule {
    const fn way_out(self) -> &'static str {
        match self {
            Self::Format => "",
            Self::Threshold => "; have it signed by enough of the role's keys",
            Self::Rollback => "; versions never fall: publish a higher one",
            Self::Expired => "; publish it anew with a later expiry",
            Self::Mixed => "; send all files of one state, unaltered",
        }
    }
}

impl Error {
    /// What the state machine of TUF said about a file.
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

    /// The rule of TUF that was broken; none when it was none of them.
    #[must_use]
    pub fn rule(&self) -> Option<Rule> {
        match self {
            Self::Metadata { rule, .. } => Some(*rule),
            _ => None,
        }
    }
}

/// An error and its causes; foreign text is kept to a line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

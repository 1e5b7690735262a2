//! Malformed input of any kind, found before any question of trust.

use thiserror::Error;

/// Input that does not have the form it should. Each message names the place, the rule and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A digest is not `sha256:` and 64 lower-case hex digits.
    #[error("digest {0:?} is not \"sha256:\" followed by 64 lower-case hex digits")]
    Digest(String),
    /// A filter name does not follow the grammar.
    #[error(
        "name {0:?} is not NAMESPACE/NAME: lower-case letters and digits joined by '.', '_' or '-', \
         at most 255 bytes"
    )]
    Name(String),
    /// A version is not a semantic version, or carries build metadata.
    #[error(
        "version {0:?} is not MAJOR.MINOR.PATCH with an optional -PRERELEASE; build metadata (+…) \
         cannot be an OCI tag, leave it out"
    )]
    Version(String),
    /// A time is not RFC 3339 in UTC.
    #[error("time {0:?} is not RFC 3339 in UTC, such as 2027-01-31T00:00:00Z")]
    Time(String),
    /// A namespace pattern does not follow the grammar.
    #[error("namespace pattern {0:?} is neither \"*\" nor \"NAMESPACE/*\" nor \"NAMESPACE/NAME\"")]
    Pattern(String),
    /// A public or private key cannot be used.
    #[error("key: {0}")]
    Key(&'static str),
    /// A text is not exactly one PEM block of the expected label.
    #[error("PEM: expected one block labelled {0:?} and nothing else")]
    Pem(&'static str),
    /// A document is not JSON as we accept it.
    #[error("{place}: {reason}")]
    Json {
        /// Which document.
        place: &'static str,
        /// What is wrong, with line and column where known.
        reason: String,
    },
    /// A document is larger than its limit.
    #[error("{place} has {actual} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Which document.
        place: &'static str,
        /// Its size in bytes.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A manifest or its config breaks a rule of the layout.
    #[error("manifest: {0}")]
    Manifest(String),
    /// A component is not the one that the manifest describes.
    #[error("component: {what} is {actual}, the manifest says {expected}")]
    Component {
        /// `size` or `digest`.
        what: &'static str,
        /// The value found in the bytes.
        actual: String,
        /// The value in the manifest.
        expected: String,
    },
    /// A bundle breaks a rule of the format.
    #[error("bundle: {0}")]
    Bundle(String),
    /// An assignment breaks a rule of its format.
    #[error("assignment: {0}")]
    Assignment(String),
    /// The director's keys contradict themselves.
    #[error("director keys: {0}")]
    DirectorKeys(String),
    /// A policy contradicts itself.
    #[error("trust policy {name:?}: {reason}")]
    Policy {
        /// The policy's name.
        name: String,
        /// The rule it breaks and the way out.
        reason: String,
    },
    /// The cryptographic library failed: no entropy or no memory.
    #[error("{0} failed in the cryptographic library")]
    Crypto(&'static str),
}

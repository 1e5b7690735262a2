//! Why an ACME server gave no answer that can be used.

use thiserror::Error;

/// Why an ACME server gave no answer that can be used.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// It is not there, or does not prove who it is.
    #[error("{origin}: {why}")]
    Unreachable {
        /// Its scheme, host and port.
        origin: String,
        /// Why, shortened.
        why: String,
    },
    /// It names a URL elsewhere.
    #[error("it names the URL {url}, which is not below {origin}: nothing else is asked")]
    Elsewhere {
        /// The URL, shortened.
        url: String,
        /// Its scheme, host and port.
        origin: String,
    },
    /// It redirects.
    #[error(
        "it redirects with {status}, which is not followed: write the final URL of the directory"
    )]
    Redirect {
        /// The status.
        status: u16,
    },
    /// Its directory lacks a URL.
    #[error("its directory has no usable `{0}`")]
    Incomplete(&'static str),
}

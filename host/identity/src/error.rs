//! Why a proxy has no new SVID.

use std::time::Duration;

use tamis_transport::TlsError;
use thiserror::Error;

/// Why a proxy has no new SVID. What it has stays in use.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The join file cannot be used.
    #[error("the join file cannot be used: {0}; ask for a new one at the registry")]
    File(String),
    /// No registry can be reached, or none proves its identity.
    #[error("no registry can be reached: {0}")]
    Unreachable(String),
    /// The registry refuses.
    #[error("the registry refuses ({status} {code}): {title}; {remedy}")]
    Refused {
        /// Status of the response.
        status: u16,
        /// Stable code of the rule.
        code: String,
        /// The rule.
        title: String,
        /// The way out.
        remedy: String,
        /// How long to wait, as the registry asks, for a minute at most; `None`: it does not say.
        retry_after: Option<Duration>,
    },
    /// Its answer does not follow the protocol.
    #[error("the answer of the registry cannot be used: {0}")]
    Answer(String),
    /// Peers would refuse the SVID in the registry's answer, or it belongs to another proxy.
    #[error("the SVID in the answer of the registry cannot be used")]
    Svid(#[source] TlsError),
    /// The installed cryptography makes no key.
    #[error("no key can be made")]
    Key(#[source] rcgen::Error),
}

impl IdentityError {
    /// How long the registry asks to wait before another attempt.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether asking again is useless until somebody acts.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Refused { status, .. } => matches!(status, 400..=499) && *status != 429,
            _ => false,
        }
    }
}

//! Why the certificate of a peer inside the mesh is refused.

use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};
use thiserror::Error as ThisError;

use super::spiffe::{SpiffeError, SpiffeId};

/// Why the certificate of a peer inside the mesh is refused.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum PeerRefusal {
    /// It has no SPIFFE id, several, an invalid one, or is the certificate of an authority.
    #[error(transparent)]
    Identity(#[from] SpiffeError),
    /// Its SPIFFE id names a trust domain, not a member of one.
    #[error("{id} is a trust domain: an identity inside the mesh has a path")]
    NoPath {
        /// The id.
        id: SpiffeId,
    },
    /// Its validity is over.
    #[error("the certificate expired at {at}: the peer must renew it")]
    Expired {
        /// The last second of its validity; RFC 3339.
        at: String,
    },
    /// Its validity has not begun.
    #[error("the certificate is not valid before {from}: check the clocks of both machines")]
    NotYetValid {
        /// The first second of its validity; RFC 3339.
        from: String,
    },
    /// It must not be used for this.
    #[error("the certificate must not be used for this: {rule}")]
    Usage {
        /// The broken rule.
        rule: &'static str,
    },
    /// Its trust domain is not accepted.
    #[error("the trust domain of {id} is not accepted here; accepted: {accepted}")]
    ForeignDomain {
        /// The id in the certificate.
        id: SpiffeId,
        /// The accepted trust domains, separated by commas.
        accepted: String,
    },
    /// No authority of its trust domain vouches for it.
    #[error("no authority of the trust domain of {id} vouches for the certificate: {why}")]
    Chain {
        /// The id in the certificate.
        id: SpiffeId,
        /// The TLS library's reason.
        why: String,
    },
    /// It belongs to another member than the expected one.
    #[error("the peer is {found}, but {expected} is expected")]
    OtherPeer {
        /// Who it is.
        found: SpiffeId,
        /// Who was called.
        expected: SpiffeId,
    },
}

impl PeerRefusal {
    /// The broken rule as one word, for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Identity(SpiffeError::Names { found: 0 }) => "no-id",
            Self::Identity(SpiffeError::Names { .. }) => "several-ids",
            Self::Identity(SpiffeError::Authority) => "authority",
            Self::Identity(_) => "invalid-id",
            Self::NoPath { .. } => "no-path",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::Usage { .. } => "usage",
            Self::ForeignDomain { .. } => "foreign-domain",
            Self::Chain { .. } => "chain",
            Self::OtherPeer { .. } => "other-peer",
        }
    }
}

/// The refusal as an error of the TLS library.
pub(super) fn refused(refusal: PeerRefusal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}

/// The refusal in an error of the TLS library.
pub(super) fn refusal_of(error: &Error) -> Option<&PeerRefusal> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => why.downcast_ref(),
        _ => None,
    }
}

//! Why TLS cannot be set up, or why a handshake failed.

use std::io;
use std::path::PathBuf;

use quinn::ConnectionError;
use rustls::{CertificateError, Error as TlsLibraryError};
use thiserror::Error;

use super::HANDSHAKE_TIMEOUT;
use super::refusal::{PeerRefusal, refusal_of};

/// The first of the codes of QUIC that are alerts of TLS (RFC 9001 §4.8).
const FIRST_ALERT: u64 = 0x100;

/// Why TLS cannot be set up, or why a handshake failed.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: check that it exists and that this user may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file does not contain what it should.
    #[error("{} contains no {wanted}: it must be PEM, beginning with `-----BEGIN`", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// The key does not belong to the certificate, or one of them is unusable.
    #[error("{} and {} cannot be used together: give the key the first certificate was made for", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The TLS library's error.
        source: rustls::Error,
    },
    /// The authorities cannot be used.
    #[error("{} contains a certificate that cannot be an authority: {rule}", path.display())]
    Authority {
        /// The authorities' file.
        path: PathBuf,
        /// The fault.
        rule: String,
    },
    /// The certificate has expired.
    #[error("{} expired at {at}: renew it (`tamis keys certificate --renew`, for an authority of your own)", path.display())]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// When; RFC 3339.
        at: String,
    },
    /// The certificate is not valid yet.
    #[error("{} is not valid before {from}: check the clock of this machine and of the machine that made it", path.display())]
    NotYet {
        /// The certificate's file.
        path: PathBuf,
        /// Start of its validity; RFC 3339.
        from: String,
    },
    /// The certificate is for another name.
    #[error("{} is for {names}, but must be for {wanted}: put the right certificate there", path.display())]
    OtherName {
        /// The certificate's file.
        path: PathBuf,
        /// The names it is for.
        names: String,
        /// The name it should be for.
        wanted: String,
    },
    /// Peers will not trust it.
    #[error("{} is not signed by an authority in {}: let that authority sign it, or add the new authority there first", path.display(), authority.display())]
    Issuer {
        /// The certificate's file.
        path: PathBuf,
        /// The authorities' file.
        authority: PathBuf,
        /// The TLS library's error.
        source: rustls::Error,
    },
    /// An SVID would be refused by its peers.
    #[error("the SVID cannot be used")]
    Svid(#[source] PeerRefusal),
    /// The authorities of a trust domain cannot be used.
    #[error("the trust bundle of {domain} cannot be used: {rule}")]
    Bundle {
        /// The trust domain.
        domain: String,
        /// The fault.
        rule: String,
    },
    /// The server name is invalid.
    #[error("`{name}` is not a server name: write a DNS name or an IP address")]
    ServerName {
        /// What was given.
        name: String,
    },
    /// The TLS library refuses the settings.
    #[error("TLS cannot be set up with the installed cryptography")]
    Setup(#[source] rustls::Error),
    /// The handshake failed: the peer left, does not use TLS, or does not have the expected identity.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The handshake of a connection of QUIC failed.
    #[error("the handshake of QUIC failed")]
    Quic(#[source] ConnectionError),
    /// The client asked for a server name that is not served here.
    #[error("the client asked for {}, which is not a host of this listener", asked.as_deref().unwrap_or("no server name"))]
    UnknownName {
        /// The server name; `None`: it named none.
        asked: Option<String>,
    },
    /// The client asked for an opaque port that is not served here.
    #[error("the client asked for {}, which is not a tcp port of this service", port.map_or_else(|| "something that is not a tcp port".to_owned(), |port| format!("port {port}")))]
    UnknownPort {
        /// The port; `None`: what it asked for is none.
        port: Option<u16>,
    },
    /// An ACME server asked for a challenge that no order awaits.
    #[error("an ACME server asked for the challenge of {}, for which no order is live", asked.as_deref().unwrap_or("no server name"))]
    NoChallenge {
        /// The server name; `None`: it named none.
        asked: Option<String>,
    },
    /// The listener has no certificate yet.
    #[error(
        "the certificate for {host} is ordered and not there yet; `/config` says how the order goes"
    )]
    NoCertificate {
        /// The host.
        host: String,
    },
    /// The handshake took too long.
    #[error("the TLS handshake took longer than {HANDSHAKE_TIMEOUT:?}")]
    Timeout,
}

impl TlsError {
    /// Why this side refused the certificate of a peer inside the mesh; `None` when that was not the reason.
    #[must_use]
    pub fn peer_refusal(&self) -> Option<&PeerRefusal> {
        match self {
            Self::Svid(refusal) => Some(refusal),
            Self::Handshake(_) => refusal_of(self.library()?),
            _ => None,
        }
    }

    /// Why a handshake failed, as one word of a short list, for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        if let Some(refusal) = self.peer_refusal() {
            return refusal.reason();
        }
        match self {
            Self::Timeout => "timeout",
            Self::UnknownName { .. } => "unknown-name",
            Self::UnknownPort { .. } => "unknown-port",
            Self::NoChallenge { .. } => "no-challenge",
            Self::NoCertificate { .. } => "awaits-certificate",
            Self::Handshake(_) => self.library().map_or("closed", reason_of),
            Self::Quic(error) => reason_of_quic(error),
            _ => "other",
        }
    }

    /// That of a connection that did not come about.
    pub(crate) fn of_quic(error: ConnectionError) -> Self {
        match error {
            ConnectionError::TimedOut => Self::Timeout,
            error => Self::Quic(error),
        }
    }

    /// The TLS library's error in a failed handshake; `None`: the connection ended.
    fn library(&self) -> Option<&TlsLibraryError> {
        match self {
            Self::Handshake(error) => error.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}

/// The reasons of connections over TCP, as far as an alert tells them apart (RFC 8446 §6.2, RFC 9001 §4.8).
fn reason_of_quic(error: &ConnectionError) -> &'static str {
    match error {
        ConnectionError::TransportError(error) => {
            match u64::from(error.code).checked_sub(FIRST_ALERT) {
                Some(40 | 70 | 71 | 120) => "incompatible",
                Some(45) => "expired",
                Some(48) => "chain",
                Some(42..=46 | 51) => "certificate",
                Some(112) => "unknown-name",
                Some(116) => "no-certificate",
                _ => "other",
            }
        }
        ConnectionError::ConnectionClosed(_) => "refused-by-peer",
        _ => "closed",
    }
}

fn reason_of(error: &TlsLibraryError) -> &'static str {
    match error {
        // The first bytes are no TLS record.
        TlsLibraryError::InvalidMessage(_) => "plaintext",
        TlsLibraryError::NoCertificatesPresented => "no-certificate",
        TlsLibraryError::AlertReceived(_) => "refused-by-peer",
        TlsLibraryError::PeerIncompatible(_) => "incompatible",
        // Of certificates that are verified with files.
        TlsLibraryError::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "not-yet-valid"
            }
            CertificateError::UnknownIssuer => "chain",
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "usage"
            }
            _ => "certificate",
        },
        _ => "other",
    }
}

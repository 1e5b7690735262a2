//! The ways in which a host is shown to be ours.

/// How a server is shown that a host is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// By the answer to a request (RFC 8555 §8.3).
    Http01,
    /// By the certificate of a handshake (RFC 8737).
    TlsAlpn01,
}

impl Challenge {
    /// Its name in the protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

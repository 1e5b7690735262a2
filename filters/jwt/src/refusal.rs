//! Why a request is refused: stable rule ids and the challenge that goes with them (RFC 6750 §3).

use tamis_jose::fault::TokenFault;
use thiserror::Error;

/// Why a request is refused. The text goes into the challenge: it never quotes the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No token, and one is required.
    #[error("a token is required")]
    Missing,
    /// More than one field carries a token, and they might differ.
    #[error("more than one field carries a token")]
    Ambiguous,
    /// Not a compact JWS that this filter accepts; the text names the rule.
    #[error("{0}")]
    Malformed(&'static str),
    /// `alg` is `none`.
    #[error("the token is not signed")]
    AlgNone,
    /// The algorithm is not allowed for the issuer or for the key.
    #[error("the algorithm is not allowed")]
    AlgNotAllowed,
    /// The signature is wrong.
    #[error("the signature does not verify")]
    BadSignature,
    /// Past `exp`.
    #[error("the token expired")]
    Expired,
    /// Before `nbf`, or issued in the future.
    #[error("the token is not valid yet")]
    NotYet,
    /// `iss` is not one of the configured issuers.
    #[error("the issuer is not trusted")]
    WrongIssuer,
    /// `aud` contains no configured audience.
    #[error("the token is for another audience")]
    WrongAudience,
    /// No key of the issuer fits the token.
    #[error("the key is unknown")]
    UnknownKey,
    /// The keys of the issuer are not fetched yet: the fault is the proxy's, not the client's.
    #[error("the keys of the issuer are not available")]
    NoKeys,
}

impl From<TokenFault> for Refusal {
    fn from(fault: TokenFault) -> Self {
        match fault {
            TokenFault::Malformed(rule) => Self::Malformed(rule),
            TokenFault::AlgNone => Self::AlgNone,
            TokenFault::AlgNotAllowed => Self::AlgNotAllowed,
            TokenFault::BadSignature => Self::BadSignature,
            TokenFault::UnknownKey => Self::UnknownKey,
        }
    }
}

impl Refusal {
    /// The rule id for the decision trail.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "jwt.missing",
            Self::Ambiguous => "jwt.ambiguous",
            Self::Malformed(_) => "jwt.malformed",
            Self::AlgNone => "jwt.alg-none",
            Self::AlgNotAllowed => "jwt.alg-not-allowed",
            Self::BadSignature => "jwt.bad-signature",
            Self::Expired => "jwt.expired",
            Self::NotYet => "jwt.not-yet",
            Self::WrongIssuer => "jwt.wrong-issuer",
            Self::WrongAudience => "jwt.wrong-audience",
            Self::UnknownKey => "jwt.unknown-key",
            Self::NoKeys => "jwt.no-keys",
        }
    }

    /// 401; 503 when a new token would not help because the proxy has no keys.
    #[must_use]
    pub fn status(self) -> u16 {
        if self == Self::NoKeys { 503 } else { 401 }
    }

    /// The header for the status: `www-authenticate`, or `retry-after` with a 503. A request without a
    /// token gets the bare challenge (RFC 6750 §3.1).
    #[must_use]
    pub fn header(self) -> (&'static str, String) {
        match self {
            Self::Missing => ("www-authenticate", "Bearer".to_owned()),
            Self::NoKeys => ("retry-after", "1".to_owned()),
            Self::Ambiguous
            | Self::Malformed(_)
            | Self::AlgNone
            | Self::AlgNotAllowed
            | Self::BadSignature
            | Self::Expired
            | Self::NotYet
            | Self::WrongIssuer
            | Self::WrongAudience
            | Self::UnknownKey => (
                "www-authenticate",
                format!("Bearer error=\"invalid_token\", error_description=\"{self}\""),
            ),
        }
    }
}

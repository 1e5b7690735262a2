//! Why a request is refused: stable rule ids and the challenge that goes with them (RFC 6750 §3).

use tamis_jose::fault::TokenFault;
use thiserror::Error;

/// Why a request is refused. The text goes into the challenge: it never quotes the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JwtRefusal {
    /// No token, and one is required.
    #[error("a token is required")]
    Missing,
    /// More than one field carries a token, and they might differ.
    #[error("more than one field carries a token")]
    Ambiguous,
    /// The token itself does not hold, whatever it says.
    #[error(transparent)]
    Token(#[from] TokenFault),
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
    /// The keys of the issuer are not fetched yet: the fault is the proxy's, not the client's.
    #[error("the keys of the issuer are not available")]
    NoKeys,
}

impl JwtRefusal {
    /// The rule id for the decision trail.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "jwt.missing",
            Self::Ambiguous => "jwt.ambiguous",
            Self::Token(TokenFault::Malformed(_)) => "jwt.malformed",
            Self::Token(TokenFault::AlgNone) => "jwt.alg-none",
            Self::Token(TokenFault::AlgNotAllowed) => "jwt.alg-not-allowed",
            Self::Token(TokenFault::BadSignature) => "jwt.bad-signature",
            Self::Token(TokenFault::UnknownKey) => "jwt.unknown-key",
            Self::Expired => "jwt.expired",
            Self::NotYet => "jwt.not-yet",
            Self::WrongIssuer => "jwt.wrong-issuer",
            Self::WrongAudience => "jwt.wrong-audience",
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
            | Self::Token(_)
            | Self::Expired
            | Self::NotYet
            | Self::WrongIssuer
            | Self::WrongAudience => (
                "www-authenticate",
                format!("Bearer error=\"invalid_token\", error_description=\"{self}\""),
            ),
        }
    }
}

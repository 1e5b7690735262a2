//! What is wrong with a token.

use thiserror::Error;

/// What is wrong with a token. The text never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenFault {
    /// Not a compact JWS that is accepted here; the text names the rule.
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
    /// No key of the issuer fits the token.
    #[error("the key is unknown")]
    UnknownKey,
}

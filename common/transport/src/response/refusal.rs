//! Why the rest of a response is not read.

use std::io;

/// An upstream's bytes that are not a response to the request, or that exceed a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResponseRefusal {
    /// Bytes that answer no request.
    #[error("the upstream sent bytes that belong to no request")]
    Unasked,
    /// The first line is not `HTTP/1.x SP status`.
    #[error("the status line is not that of HTTP/1 (RFC 9112 §4)")]
    StatusLine,
    /// A line does not end in CR LF.
    #[error("a line of the response does not end in CR LF (RFC 9112 §2.2)")]
    LineEnd,
    /// A field line is folded, has no name, has a space before its colon, or its name is not a token.
    #[error(
        "a field of the response has no name, is folded, or its name is not a token (RFC 9112 §5)"
    )]
    FieldName,
    /// A field value has control characters.
    #[error("a field value of the response has control characters (RFC 9110 §5.5)")]
    FieldValue,
    /// A name that some clients take for `content-length` or `transfer-encoding`.
    #[error("a field name of the response resembles one that frames it")]
    LookAlike,
    /// `content-length` is repeated, a list, or not a number.
    #[error("`content-length` is repeated or not a number (RFC 9110 §8.6)")]
    ContentLength,
    /// `transfer-encoding` other than one `chunked` in HTTP/1.1.
    #[error("`transfer-encoding` is not one `chunked` (RFC 9112 §6.1)")]
    TransferEncoding,
    /// Both `transfer-encoding` and `content-length`.
    #[error("the response has both `content-length` and `transfer-encoding` (RFC 9112 §6.3)")]
    BothLengths,
    /// The head, or the interim heads together, exceed the limit.
    #[error("the head of the response is longer than allowed")]
    HeadTooLarge,
    /// The head has more fields than allowed.
    #[error("the response has more fields than `maxResponseFields` allows")]
    TooManyFields,
    /// More interim responses (1xx) than allowed.
    #[error("the upstream sent too many interim responses")]
    TooManyInterim,
    /// A 101 although the request asked for no other protocol.
    #[error("the upstream changed the protocol without a request for it (RFC 9110 §15.2.2)")]
    Switched,
    /// A chunk size line, chunk end or chunk extension is malformed or too long.
    #[error("a chunk of the response is malformed or its size line too long (RFC 9112 §7.1)")]
    Chunk,
    /// A trailer is malformed, exceeds its budget, or must not be a trailer.
    #[error(
        "a trailer of the response is malformed, too long, or must not be a trailer (RFC 9110 §6.5.1)"
    )]
    Trailer,
}

impl From<ResponseRefusal> for io::Error {
    /// Has the kind [`io::ErrorKind::InvalidData`], by which callers know that the peer broke the protocol.
    fn from(refusal: ResponseRefusal) -> Self {
        Self::new(io::ErrorKind::InvalidData, refusal)
    }
}

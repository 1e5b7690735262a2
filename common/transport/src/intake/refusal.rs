//! Why the intake refused a request, and the reply to it.

use http::HeaderValue;

use super::IntakeReasons;

/// A request that the intake refused from its head, so that no handler saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRequest {
    /// The reason.
    pub refusal: IntakeRefusal,
    /// The received part of its first line, at most 1 KiB, unchecked.
    pub line: Vec<u8>,
}

/// A request, or the rest of one, that can be read in more than one way or exceeds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntakeRefusal {
    /// The bytes are not HTTP/1 at all; the connection closes without a reply.
    NotHttp,
    /// The request line is not `METHOD SP target SP HTTP/1.x`.
    RequestLine,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// The target contains bytes that are not allowed in a URI, or its form does not fit the method.
    Target,
    /// A line does not end in CR LF.
    LineEnd,
    /// A field line is folded, has no name, or its name is not a token.
    FieldName,
    /// A field value has control characters.
    FieldValue,
    /// A name that some servers take for `content-length` or `transfer-encoding`.
    LookAlike,
    /// `host` is missing in HTTP/1.1, repeated, or not a host.
    Host,
    /// The absolute target names another authority than `host`.
    HostMismatch,
    /// `content-length` is repeated, a list, or not a number.
    ContentLength,
    /// A malformed `transfer-encoding`, one whose last coding is not one plain `chunked`, or one before HTTP/1.1.
    TransferEncoding,
    /// Codings before `chunked` that are not understood: well formed, and not implemented (RFC 9112 §6.1).
    TransferCoding,
    /// Both `transfer-encoding` and `content-length`.
    BothLengths,
    /// A body where servers disagree whether there can be one.
    UnexpectedBody,
    /// `CONNECT` on a listener that opens no tunnels: well-formed, but not implemented there (RFC 9110
    /// §9.1).
    Connect,
    /// A chunk size line, chunk end or chunk extension is malformed.
    Chunk,
    /// A trailer is malformed, or is a field that must not be a trailer.
    Trailer,
    /// The head is too long or has too many fields.
    HeadTooLarge,
    /// The peer ended in the middle of a head.
    Incomplete,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The body stalled for too long.
    BodyTimeout,
}

impl IntakeRefusal {
    /// The stable code, as in `x-tamis-reason`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotHttp => "http.not-http",
            Self::RequestLine => "http.request-line",
            Self::Version => "http.version",
            Self::Target => "http.target",
            Self::LineEnd => "http.line-end",
            Self::FieldName => "http.field-name",
            Self::FieldValue => "http.field-value",
            Self::LookAlike => "http.look-alike",
            Self::Host => "http.host",
            Self::HostMismatch => "http.host-mismatch",
            Self::ContentLength => "http.content-length",
            Self::TransferEncoding => "http.transfer-encoding",
            Self::TransferCoding => "http.transfer-coding",
            Self::BothLengths => "http.both-lengths",
            Self::UnexpectedBody => "http.unexpected-body",
            Self::Connect => "http.connect",
            Self::Chunk => "http.chunk",
            Self::Trailer => "http.trailer",
            Self::HeadTooLarge => "http.head-too-large",
            Self::Incomplete => "http.incomplete",
            Self::HeadTimeout => "http.head-timeout",
            Self::BodyTimeout => "http.body-timeout",
        }
    }

    /// Code and phrase of the status line; `None` when the connection closes without a reply.
    #[must_use]
    pub fn status(self) -> Option<&'static str> {
        match self {
            Self::NotHttp => None,
            Self::HeadTooLarge => Some("431 Request Header Fields Too Large"),
            Self::HeadTimeout | Self::BodyTimeout => Some("408 Request Timeout"),
            Self::Version => Some("505 HTTP Version Not Supported"),
            Self::Connect | Self::TransferCoding => Some("501 Not Implemented"),
            Self::RequestLine
            | Self::Target
            | Self::LineEnd
            | Self::FieldName
            | Self::FieldValue
            | Self::LookAlike
            | Self::Host
            | Self::HostMismatch
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::BothLengths
            | Self::UnexpectedBody
            | Self::Chunk
            | Self::Trailer
            | Self::Incomplete => Some("400 Bad Request"),
        }
    }

    /// The whole reply, with the id of the request if it has one; empty when there is no reply.
    #[must_use]
    pub fn reply(self, reasons: IntakeReasons, request_id: Option<&HeaderValue>) -> String {
        let Some(status) = self.status() else { return String::new() };
        let id = request_id.and_then(|id| id.to_str().ok());
        let id = id.map(|id| format!("x-request-id: {id}\r\n")).unwrap_or_default();
        let reason = match reasons {
            IntakeReasons::Show => format!("x-tamis-reason: {}\r\n", self.code()),
            IntakeReasons::Hide => String::new(),
        };
        format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n{reason}{id}\r\n")
    }
}

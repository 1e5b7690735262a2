//! The head of a request in the bytes that arrived: found, judged and read in one pass; no I/O.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Uri, Version};

use crate::intake::head::{self, Framing};
use crate::intake::scan::HeadScan;
use crate::intake::{Body, IntakeLimits, IntakeRefusal, RefusedRequest};
use crate::message::content::Content;
use crate::message::field_names;
use crate::message::spare;

/// Room in a map for the fields that a proxy adds.
const FIELDS_ADDED: usize = 6;

/// The bytes kept of the first line of a refused request.
const REFUSED_LINE_MAX: usize = 1024;

/// A head, and what it means for its connection.
#[derive(Debug)]
pub(super) struct IncomingHead {
    pub(super) request: Request<()>,
    pub(super) content: Content,
    pub(super) facts: RequestFacts,
}

/// What the response to a request depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestFacts {
    pub(super) method: MethodKind,
    /// Whether it came in HTTP/1.0.
    pub(super) old: bool,
    /// Whether the client sends another request (RFC 9112 §9.3).
    pub(super) persistent: bool,
    /// Whether what follows is held until it is known whether the protocol changes.
    pub(super) held: bool,
    /// Whether the body waits for a `100 Continue`.
    pub(super) waits: bool,
    /// Whether the client reads trailers.
    pub(super) trailers: bool,
}

/// The methods whose responses are framed in a way of their own (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MethodKind {
    Head,
    Connect,
    Other,
}

/// Takes a head from the front of `buffer`; `None` when more bytes are needed.
pub(super) fn take_head(
    scan: &mut HeadScan,
    buffer: &mut BytesMut,
    limits: &IntakeLimits,
) -> Result<Option<IncomingHead>, RefusedRequest> {
    match scan.find(buffer, limits) {
        Ok(None) => Ok(None),
        Ok(Some(end)) => {
            let octets = buffer.split_to(end).freeze();
            read_head(&octets, limits).map(Some).map_err(|refusal| refused(refusal, &octets))
        }
        Err(refusal) => Err(refused(refusal, buffer)),
    }
}

/// The refusal of a request that begins with those octets.
pub(super) fn refused(refusal: IntakeRefusal, octets: &[u8]) -> RefusedRequest {
    let start = octets.get(..REFUSED_LINE_MAX).unwrap_or(octets);
    let end = memchr::memchr2(b'\r', b'\n', start).unwrap_or(start.len());
    RefusedRequest { refusal, line: start.get(..end).unwrap_or_default().to_vec() }
}

/// Judges and reads a complete head.
fn read_head(octets: &Bytes, limits: &IntakeLimits) -> Result<IncomingHead, IntakeRefusal> {
    let lines = memchr::memchr_iter(b'\n', octets).count();
    // Without the request line and the empty one.
    let fields = lines.saturating_sub(2).min(limits.max_fields);
    let mut headers = spare::map(fields.saturating_add(FIELDS_ADDED));
    let judged = head::read(octets, limits, |name, value| {
        let name = field_names::read(name).map_err(|_| IntakeRefusal::FieldName)?;
        let value = HeaderValue::from_maybe_shared(octets.slice_ref(value));
        let value = value.map_err(|_| IntakeRefusal::FieldValue)?;
        headers.try_append(name, value).map_err(|_| IntakeRefusal::HeadTooLarge)?;
        Ok(())
    })?;
    let method = Method::from_bytes(judged.method).map_err(|_| IntakeRefusal::RequestLine)?;
    let target = Uri::from_maybe_shared(octets.slice_ref(judged.target));
    let mut request = Request::new(());
    *request.uri_mut() = target.map_err(|_| IntakeRefusal::Target)?;
    *request.version_mut() = if judged.minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    *request.headers_mut() = headers;
    let facts = RequestFacts {
        method: match method {
            Method::HEAD => MethodKind::Head,
            Method::CONNECT => MethodKind::Connect,
            _ => MethodKind::Other,
        },
        old: judged.minor == 0,
        persistent: judged.persistent,
        held: judged.framing == Framing::Tunnel,
        waits: judged.waits,
        trailers: judged.trailers,
    };
    let content = match judged.framing {
        Framing::Empty | Framing::Tunnel => Content::Done,
        Framing::Length(length) => Content::Framed(Body::Length(length)),
        Framing::Chunked => Content::Framed(Body::ChunkSize),
    };
    *request.method_mut() = method;
    Ok(IncomingHead { request, content, facts })
}

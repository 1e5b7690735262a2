//! The head of a response as it is written (RFC 9112 §4, §6, §9.3, §9.6); no I/O.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::SizeHint;
use tamis_ambient::Clock;

use super::request::{MethodKind, RequestFacts};
use crate::message::field::list_contains;
use crate::message::outbox::{Outbox, OutgoingFraming};
use crate::serve::date;

/// What follows a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterResponse {
    /// The next request.
    Next,
    /// The end of the connection.
    End,
    /// Bytes of another protocol.
    Tunnel,
}

/// How the rest of a response is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResponsePlan {
    /// `None`: the response has no content, whatever its body holds.
    pub(super) framing: Option<OutgoingFraming>,
    pub(super) after: AfterResponse,
}

/// The framing that a response needs.
fn framing(
    facts: RequestFacts,
    status: StatusCode,
    headers: &HeaderMap,
    body: &SizeHint,
) -> Option<OutgoingFraming> {
    if ends_with_head(status) || facts.method == MethodKind::Head {
        return None;
    }
    Some(match stated(headers).or_else(|| body.exact()) {
        Some(length) => OutgoingFraming::Length(length),
        None if facts.old => OutgoingFraming::UntilClose,
        None => OutgoingFraming::Chunked,
    })
}

/// Whether a response of that status has no content (RFC 9110 §15.3.5, §15.4.5).
fn ends_with_head(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The stated length, if there is one that can be meant in one way only.
fn stated(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let digits = line.as_bytes().iter().all(u8::is_ascii_digit);
    digits.then(|| line.to_str().ok()?.parse().ok()).flatten()
}

/// Whether the response changes the protocol. Only one to a request that asked for it can.
fn opens_tunnel(facts: RequestFacts, status: StatusCode) -> bool {
    let connected = facts.method == MethodKind::Connect && status.is_success();
    facts.held && (status == StatusCode::SWITCHING_PROTOCOLS || connected)
}

/// Writes the head of a final response. `ends`: no other request follows on this connection.
pub(super) fn put_head(
    outbox: &mut Outbox,
    facts: RequestFacts,
    (status, headers): (StatusCode, &HeaderMap),
    body: &SizeHint,
    ends: bool,
    clock: Clock,
) -> ResponsePlan {
    if opens_tunnel(facts, status) {
        put_line(outbox, facts.old, status);
        put_fields(outbox, headers, |name| {
            *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING
        });
        put_end(outbox, headers, clock);
        return ResponsePlan { framing: None, after: AfterResponse::Tunnel };
    }
    if status.is_informational() || (facts.method == MethodKind::Connect && status.is_success()) {
        // It would not end the exchange, or would open a tunnel that nobody asked for.
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        put_line(outbox, facts.old, status);
        outbox.put(b"content-length: 0\r\nconnection: close\r\n");
        put_end(outbox, &HeaderMap::new(), clock);
        return ResponsePlan { framing: None, after: AfterResponse::End };
    }
    let framing = framing(facts, status, headers, body);
    let closes = headers.get_all(header::CONNECTION).iter();
    let closes = closes.map(HeaderValue::as_bytes).any(|list| list_contains(list, b"close"));
    let ends = ends || closes || !facts.persistent || framing == Some(OutgoingFraming::UntilClose);
    put_line(outbox, facts.old, status);
    put_fields(outbox, headers, |name| {
        let framed = *name == header::CONTENT_LENGTH && framing.is_some();
        let without = *name == header::CONTENT_LENGTH && status == StatusCode::NO_CONTENT;
        let replaced = *name == header::CONNECTION && (ends || facts.old);
        !framed && !without && !replaced && *name != header::TRANSFER_ENCODING
    });
    match framing {
        Some(OutgoingFraming::Length(length)) => outbox.put_number("content-length", length),
        Some(OutgoingFraming::Chunked) => outbox.put_field("transfer-encoding", b"chunked"),
        Some(OutgoingFraming::UntilClose) => {}
        None => {
            // What GET would get (RFC 9110 §8.6); an empty body says nothing about that.
            let length = body.exact().filter(|length| {
                let head = facts.method == MethodKind::Head && !ends_with_head(status);
                head && *length > 0 && !headers.contains_key(header::CONTENT_LENGTH)
            });
            length.into_iter().for_each(|length| outbox.put_number("content-length", length));
        }
    }
    if ends {
        outbox.put_field("connection", b"close");
    } else if facts.old {
        outbox.put_field("connection", b"keep-alive");
    }
    put_end(outbox, headers, clock);
    ResponsePlan { framing, after: if ends { AfterResponse::End } else { AfterResponse::Next } }
}

/// Writes an interim response.
pub(super) fn put_interim(outbox: &mut Outbox, status: StatusCode, headers: &HeaderMap) {
    put_line(outbox, false, status);
    // It has no content, and says nothing about the connection.
    put_fields(outbox, headers, |name| {
        ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION].contains(name)
    });
    outbox.put(b"\r\n");
}

/// A status without a known phrase gets an empty one (RFC 9112 §4).
fn put_line(outbox: &mut Outbox, old: bool, status: StatusCode) {
    outbox.put(if old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    outbox.put(status.as_str().as_bytes());
    outbox.put(b" ");
    outbox.put(status.canonical_reason().unwrap_or_default().as_bytes());
    outbox.put(b"\r\n");
}

fn put_fields(
    outbox: &mut Outbox,
    headers: &HeaderMap,
    takes: impl Fn(&header::HeaderName) -> bool,
) {
    for (name, value) in headers.iter().filter(|(name, _)| takes(name)) {
        outbox.put_field(name.as_str(), value.as_bytes());
    }
}

fn put_end(outbox: &mut Outbox, headers: &HeaderMap, clock: Clock) {
    if !headers.contains_key(header::DATE) {
        date::with(clock, |value| outbox.put_field("date", value.as_bytes()));
    }
    outbox.put(b"\r\n");
}

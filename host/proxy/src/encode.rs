//! Encodes the body of a response as a filter decided, and makes its head that of the encoded body.
//!
//! The last step before the response is sent: filters decide about the response as it is, and see its octets.

use crate::body::HookedBody;
use crate::encoding::{DIGESTS, Encoding};
use crate::exchange::ExchangeState;
use crate::heads::response::has_no_content;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Body as _;
use tamis_exchange::ContentCoding;

/// Encodes the body of a response if a filter chose a coding for it, it may be encoded, and there is memory for an encoder.
/// Otherwise it stays as it is.
pub(crate) fn encode(state: &mut ExchangeState, response: &mut Response<HookedBody>) {
    let Some(coding) = state.exchange.coding.take() else { return };
    if !may_be_encoded(response.status(), response.headers()) {
        return;
    }
    // The head is that of the response to GET (RFC 9110 §9.3.2).
    if state.exchange.method != Method::HEAD {
        if response.body().body.is_end_stream() {
            return;
        }
        let encodings = state.encodings();
        let Some(room) = encodings.take(coding, state.body_sender()) else { return };
        let turns = state.chain.long_calls.clone();
        let Ok(encoding) = Encoding::new(coding, room, encodings, turns) else { return };
        response.body_mut().encoding = Some(Box::new(encoding));
    }
    change_head(response.headers_mut(), coding);
}

/// Whether the body of such a response may be encoded on its way.
fn may_be_encoded(status: StatusCode, headers: &HeaderMap) -> bool {
    let has_own_end = status.is_informational()
        || has_no_content(status)
        || status == StatusCode::RESET_CONTENT
        || status == StatusCode::PARTIAL_CONTENT;
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    // Its messages have a coding of their own, and a proxy behind this one reads them.
    let is_grpc = kind.to_ascii_lowercase().starts_with(b"application/grpc");
    let is_empty = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
    !has_own_end
        && !is_grpc
        && !is_empty
        && !headers.contains_key(header::CONTENT_RANGE)
        && headers.get_all(header::CONTENT_ENCODING).iter().all(is_identity)
        // RFC 9111 §5.2.2.6.
        && !lists(headers, &header::CACHE_CONTROL, "no-transform")
}

fn is_identity(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")
}

/// Whether one of the comma-separated values of a field is that word.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter();
    let mut words = values.flat_map(|value| value.as_bytes().split(|octet| *octet == b','));
    words.any(|one| one.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// Makes the head of a response that of its encoded body.
fn change_head(headers: &mut HeaderMap, coding: ContentCoding) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    headers.remove(header::CONTENT_LENGTH);
    // What a client asks for by its octets is of another body (RFC 9110 §14).
    headers.remove(header::ACCEPT_RANGES);
    for name in &DIGESTS {
        headers.remove(name);
    }
    if !lists(headers, &header::VARY, "*") && !lists(headers, &header::VARY, "accept-encoding") {
        // A head that is full of fields takes no more: its size was checked far below that.
        drop(headers.try_append(header::VARY, HeaderValue::from_static("accept-encoding")));
    }
    weaken(headers);
}

/// Makes a strong validator weak: the octets are others than those that it names (RFC 9110 §8.8.1). What is no validator is
/// removed.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG).map(HeaderValue::as_bytes) else { return };
    if tag.starts_with(b"W/\"") {
        return;
    }
    let is_strong = tag.len() > 1 && tag.starts_with(b"\"") && tag.ends_with(b"\"");
    match HeaderValue::from_bytes(&[b"W/", tag].concat()) {
        Ok(weak) if is_strong => drop(headers.insert(header::ETAG, weak)),
        _ => drop(headers.remove(header::ETAG)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn what_must_stay_as_it_is_stays() {
        for (status, pairs, fine) in [
            (200, &[][..], true),
            (200, &[("content-encoding", "identity")], true),
            (404, &[("content-length", "10")], true),
            (200, &[("content-encoding", "gzip")], false),
            (200, &[("content-encoding", "identity"), ("content-encoding", "br")], false),
            (200, &[("cache-control", "max-age=1, No-Transform")], false),
            (200, &[("cache-control", "max-age=1"), ("cache-control", "no-transform")], false),
            (200, &[("cache-control", "x=no-transform-at-all")], true),
            (200, &[("content-length", "0")], false),
            (200, &[("content-type", "application/grpc")], false),
            (200, &[("content-type", "Application/gRPC-Web+proto")], false),
            (200, &[("content-range", "bytes 0-1/10")], false),
            (206, &[], false),
            (204, &[], false),
            (205, &[], false),
            (304, &[], false),
            (101, &[], false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(may_be_encoded(status, &head(pairs)), fine, "{status} {pairs:?}");
        }
    }

    #[test]
    fn the_head_is_that_of_the_encoded_body() {
        let mut headers = head(&[
            ("content-encoding", "identity"),
            ("content-length", "10"),
            ("accept-ranges", "bytes"),
            ("content-md5", "x"),
            ("content-digest", "sha-256=:x:"),
            ("repr-digest", "sha-256=:x:"),
            ("digest", "x"),
            ("etag", "\"a\""),
            ("vary", "origin"),
            ("x-a", "stays"),
        ]);
        change_head(&mut headers, ContentCoding::Brotli);
        let wanted = head(&[
            ("content-encoding", "br"),
            ("etag", "W/\"a\""),
            ("vary", "origin"),
            ("vary", "accept-encoding"),
            ("x-a", "stays"),
        ]);
        assert_eq!(headers, wanted);
    }

    #[test]
    fn a_validator_becomes_weak_and_a_field_is_named_once() {
        for (tag, then) in [
            ("\"a\"", Some("W/\"a\"")),
            ("W/\"a\"", Some("W/\"a\"")),
            ("\"\"", Some("W/\"\"")),
            ("a", None),
            ("\"", None),
            ("", None),
        ] {
            let mut headers = head(&[("etag", tag)]);
            weaken(&mut headers);
            assert_eq!(headers.get("etag").map(|tag| tag.to_str().unwrap()), then, "{tag}");
        }
        for vary in ["*", "Accept-Encoding", "origin, accept-encoding"] {
            let mut headers = head(&[("vary", vary)]);
            change_head(&mut headers, ContentCoding::Gzip);
            assert_eq!(headers.get_all("vary").iter().collect::<Vec<_>>(), [vary]);
        }
    }
}

//! Bodies that this proxy makes of what was read whole.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use tamis_exchange::Body;

/// A body that was read whole, with its trailers. The head names them, since HTTP/1.1 sends no others, unless it has a
/// length: then HTTP/1.1 sends none at all (RFC 9112 §7.1.2).
pub(crate) fn buffered_body(
    octets: Bytes,
    trailers: Option<HeaderMap>,
    head: &mut HeaderMap,
) -> Body {
    let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) else {
        return Body::full(octets);
    };
    let names: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
    if !head.contains_key(header::CONTENT_LENGTH)
        && let Ok(names) = HeaderValue::try_from(names.join(", "))
    {
        head.insert(header::TRAILER, names);
    }
    let (send, body) = Body::channel(2);
    // Two frames in a channel of two: neither waits nor fails.
    if !octets.is_empty() {
        drop(send.try_send(Ok(Frame::data(octets))));
    }
    drop(send.try_send(Ok(Frame::trailers(trailers))));
    body
}

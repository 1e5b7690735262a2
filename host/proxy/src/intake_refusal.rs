//! The record of a request that the intake refused, which no other part of the proxy saw.

use crate::arrival::Arrival;
use crate::decode::attributes;
use crate::exchange::ExchangeState;
use crate::request_id;
use http::{HeaderMap, HeaderValue, Method};
use std::sync::atomic::Ordering;
use tamis_exchange::{Exchange, HeadBounds, Outcome};
use tamis_transport::RefusedRequest;

/// Records the refusal and returns the id that its client receives. A connection that is closed without a
/// reply is not a request and has neither.
pub(crate) fn record(arrival: &Arrival<'_>, refused: &RefusedRequest) -> Option<HeaderValue> {
    let Arrival { chain, shared, connection, id, .. } = *arrival;
    let status = refused.refusal.status()?.split(' ').next()?.parse().ok()?;
    shared.exchanges.fetch_add(1, Ordering::Relaxed);
    let (method, path) = target(&refused.line);
    let exchange = Exchange {
        id,
        method,
        scheme: connection.scheme,
        authority: String::new(),
        path,
        headers: HeaderMap::new(),
        status: None,
        response_headers: HeaderMap::new(),
        attributes: attributes(connection),
        bounds: HeadBounds::default(),
        coding: None,
    };
    let request_id = request_id::ensure(&mut HeaderMap::new(), shared.random);
    let mut state = ExchangeState::new(exchange, chain, shared, Some(connection));
    state.request_id = Some(request_id.clone());
    state.reason = Some(refused.refusal.code().into());
    state.detail = Some("refused before it was decoded".to_owned());
    state.note_head(status, &HeaderMap::new());
    state.end(Outcome::default());
    Some(request_id)
}

/// Method and target of a first line, as far as it has them; bytes that are not text are escaped.
fn target(line: &[u8]) -> (Method, String) {
    let mut words = line.split(|octet| *octet == b' ');
    let method = words.next().and_then(|word| Method::from_bytes(word).ok());
    // A line without a method is recorded with `-`, which no client uses.
    let method = method.or_else(|| Method::from_bytes(b"-").ok()).unwrap_or_default();
    let target = words.next().unwrap_or_default();
    (method, String::from_utf8_lossy(target).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_recorded_as_far_as_it_is_one() {
        for (line, method, path) in [
            (&b"GET /a HTTP/1.1"[..], "GET", "/a"),
            (b"GET /a b HTTP/1.1", "GET", "/a"),
            (b"GET", "GET", ""),
            (b"", "-", ""),
            (b" GET /", "-", "GET"),
            (b"G(T /\xff\0 HTTP/1.1", "-", "/\u{fffd}\0"),
            (b"CONNECT a:1 HTTP/1.1", "CONNECT", "a:1"),
        ] {
            let (found, target) = target(line);
            assert_eq!((found.as_str(), target.as_str()), (method, path), "{line:?}");
        }
    }
}

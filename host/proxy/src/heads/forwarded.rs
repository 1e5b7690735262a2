//! Where a request came from, in the words of the fields that every hop adds to.

use super::fields::append;
use crate::connection::Connection;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tamis_exchange::{ClientChain, is_origin_field};
use tamis_resources::plan::TrafficDirection;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Sets `X-Forwarded-*` and `Forwarded` (RFC 7239). A gateway ignores the values that a client sends, and
/// keeps the chain of trusted proxies from the client on; inside the mesh a sidecar adds the peer that
/// called it, and ignores those of a caller in plain text.
pub(super) fn forwarded(
    headers: &mut HeaderMap,
    connection: &Connection,
    direction: TrafficDirection,
    host: Option<HeaderValue>,
    chain: Option<&ClientChain>,
) {
    match direction {
        TrafficDirection::Gateway => of_stranger(headers, connection, host, chain),
        // In plain text, or of another trust domain: whoever is no hop of this mesh is believed nothing.
        TrafficDirection::Inbound if !connection.is_of_mesh() => {
            of_stranger(headers, connection, host, None);
        }
        TrafficDirection::Inbound => {
            append(headers, X_FORWARDED_FOR, connection.sender_value.as_bytes());
            if headers.contains_key(header::FORWARDED) {
                let element = format!("for={}", connection.forwarded_for);
                append(headers, header::FORWARDED, element.as_bytes());
            }
        }
        TrafficDirection::Outbound => {}
    }
}

/// The same for a client from outside of the mesh.
fn of_stranger(
    headers: &mut HeaderMap,
    connection: &Connection,
    host: Option<HeaderValue>,
    chain: Option<&ClientChain>,
) {
    remove_claims(headers, chain.is_some());
    let addresses = chain.map(ClientChain::x_forwarded_for);
    headers.insert(X_FORWARDED_FOR, continued(addresses, &connection.sender_value));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(connection.scheme.as_str()));
    match host {
        Some(host) => headers.insert(X_FORWARDED_HOST, host),
        None => headers.remove(X_FORWARDED_HOST),
    };
    let elements = chain.map(ClientChain::forwarded);
    headers.insert(header::FORWARDED, continued(elements, &connection.forwarded));
}

/// A list that continues with an element of ours; the element alone where there is no list.
fn continued(list: Option<String>, own: &HeaderValue) -> HeaderValue {
    let Some(list) = list else { return own.clone() };
    let joined = [list.as_bytes(), b", ", own.as_bytes()].concat();
    HeaderValue::from_bytes(&joined).unwrap_or_else(|_| own.clone())
}

/// Removes fields that only hops of the mesh may set: the origin of a request, and its original path. Those of other
/// gateways stay when a trusted proxy sent them.
fn remove_claims(headers: &mut HeaderMap, trusted: bool) {
    let claim = |name: &HeaderName| {
        let name = name.as_str();
        let hop = name.starts_with("x-forwarded-") || name.starts_with("x-tamis-");
        hop || matches!(name, "x-original-url" | "x-rewrite-url")
            || (!trusted && is_origin_field(name))
    };
    while let Some(name) = headers.keys().find(|name| claim(name)).cloned() {
        headers.remove(name);
    }
}

//! What heads of requests and of responses have in common: fields that end at each hop, lists, `via`, and the length of a body.

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tamis_exchange::is_host_field;

/// Tells the next proxy of the mesh that this one retries what fails, so that retries do not multiply along
/// the path. Accepted only from a peer with an identity of the mesh, never sent to others.
pub(crate) const RETRIES: HeaderName = HeaderName::from_static("x-tamis-retries");

/// The names listed in `connection`.
fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Removes hop-by-hop fields, including those that `connection` lists (RFC 9110 §7.6.1).
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Looking at each name once is cheaper than searching for each of the names, and most messages contain
    // none of them.
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = connection_options(headers)
            // The usual one; that field goes anyway.
            .filter(|name| !name.eq_ignore_ascii_case("keep-alive"))
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
            // A client must not be able to remove a field that states who it is.
            .filter(|name| !is_protected(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
    )
}

fn is_protected(name: &HeaderName) -> bool {
    let hop_by_hop = is_hop_by_hop(name) || *name == header::TRAILER;
    matches!(name.as_str(), "authorization" | "cookie")
        || (is_host_field(name.as_str()) && !hop_by_hop)
}

/// `content-length` is not a number, or has two different values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoLength;

/// The declared length of a body. A length that is repeated with the same value is reduced to one field
/// (RFC 9110 §8.6), in one spelling.
pub(super) fn one_length(headers: &mut HeaderMap) -> Result<Option<u64>, NoLength> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else { return Ok(None) };
    let repeated = lines.next().is_some();
    let text = first.to_str().map_err(|_| NoLength)?;
    if text.is_empty() || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(NoLength);
    }
    let length: u64 = text.parse().map_err(|_| NoLength)?;
    if repeated && headers.get_all(header::CONTENT_LENGTH).iter().any(|other| other != text) {
        return Err(NoLength);
    }
    if repeated || (text.len() > 1 && text.starts_with('0')) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

/// Adds to a comma-separated field.
pub(super) fn append(headers: &mut HeaderMap, name: HeaderName, element: &[u8]) {
    let mut joined = Vec::with_capacity(64);
    for value in headers.get_all(&name) {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(element);
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(name, value);
    }
}

/// Adds this proxy to those that a message passed (`via`, RFC 9110 §7.6.3).
pub(super) fn add_via(headers: &mut HeaderMap, version: Version) {
    let element: &'static str = match version {
        Version::HTTP_10 => "1.0 tamis",
        Version::HTTP_2 => "2 tamis",
        Version::HTTP_3 => "3 tamis",
        _ => "1.1 tamis",
    };
    if headers.contains_key(header::VIA) {
        append(headers, header::VIA, element.as_bytes());
    } else {
        headers.insert(header::VIA, HeaderValue::from_static(element));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn via_grows_by_one_element() {
        let mut map = HeaderMap::from_iter([(header::VIA, HeaderValue::from_static("1.1 a"))]);
        add_via(&mut map, Version::HTTP_2);
        assert_eq!(map["via"], "1.1 a, 2 tamis");
    }
}

//! The proxies that a message passed (`via`, RFC 9110 §7.6.3): each adds itself, to requests and to responses.

use super::fields::append;
use http::Version;
use http::header::{self, HeaderMap, HeaderValue};

/// Adds this proxy.
pub(super) fn add(headers: &mut HeaderMap, version: Version) {
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
        add(&mut map, Version::HTTP_2);
        assert_eq!(map["via"], "1.1 a, 2 tamis");
    }
}

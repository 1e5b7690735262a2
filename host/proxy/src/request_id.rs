//! `x-request-id`: one for each request, the same at every hop, in the response and in the access record.

use http::{HeaderMap, HeaderName, HeaderValue};
use tamis_ambient::{Random, hex_digits};
use tamis_exchange::header_value;

/// Identifies a request from the first hop to the last, and back.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is kept.
const OCTETS_MAX: usize = 128;

/// Keeps a well-formed id of the request, otherwise makes one.
pub(crate) fn ensure(headers: &mut HeaderMap, random: Random) -> HeaderValue {
    let mut sent = headers.get_all(&REQUEST_ID).iter();
    if let (Some(id), None) = (sent.next(), sent.next())
        && is_well_formed(id.as_bytes())
    {
        return id.clone();
    }
    let id = [random.number(), random.number()].map(hex_digits);
    let id = header_value(id.as_flattened()).unwrap_or(HeaderValue::from_static("0"));
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// Characters that are safe in logs and URLs: letters, digits and `-._~:+/=`.
fn is_well_formed(id: &[u8]) -> bool {
    let plain = |octet: &u8| {
        octet.is_ascii_alphanumeric()
            || matches!(octet, b'-' | b'.' | b'_' | b'~' | b':' | b'+' | b'/' | b'=')
    };
    (1..=OCTETS_MAX).contains(&id.len()) && id.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_id_is_kept_and_any_other_is_replaced_by_one_of_our_own() {
        let ensured = |sent: &[&str]| {
            let mut headers = HeaderMap::new();
            for id in sent {
                headers.append(REQUEST_ID, HeaderValue::from_str(id).unwrap());
            }
            let id = ensure(&mut headers, Random::system());
            let left: Vec<_> = headers.get_all(&REQUEST_ID).iter().collect();
            assert_eq!(left, [&id], "{sent:?}");
            id.to_str().unwrap().to_owned()
        };
        let kept = "b7b0a2e6-8a9e-4d5c-9d0a-1d0c8a0e7f11";
        assert_eq!(ensured(&[kept]), kept);
        let long = "x".repeat(129);
        for sent in [&[][..], &["a", "b"], &[""], &["a b"], &["a\"b"], &["<script>"], &[&long]] {
            let made = ensured(sent);
            assert!(made.len() == 32 && made.bytes().all(|o| o.is_ascii_hexdigit()), "{made}");
        }
        assert_ne!(ensured(&[]), ensured(&[]));
    }
}

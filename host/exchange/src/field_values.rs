//! Values of fields that came over HTTP/2, in the form that HTTP/1 gives them.

use http::{HeaderMap, HeaderValue};

/// Removes blanks at the ends of values. They are no part of a value (RFC 9110 §5.5): a receiver of HTTP/1 does not
/// read them, and one of HTTP/2 has to treat them as malformed (RFC 9113 §8.2.1), so filters would see another value
/// than the next hop.
pub fn trim_values(fields: &mut HeaderMap) {
    for value in fields.values_mut() {
        let octets = value.as_bytes();
        let trimmed = octets.trim_ascii();
        if trimmed.len() < octets.len()
            && let Ok(mut shorter) = HeaderValue::from_bytes(trimmed)
        {
            shorter.set_sensitive(value.is_sensitive());
            *value = shorter;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;

    #[test]
    fn a_value_loses_the_blanks_at_its_ends_and_nothing_else() {
        for (value, kept) in [
            ("a", "a"),
            ("", ""),
            (" ", ""),
            ("\t \t", ""),
            (" a", "a"),
            ("a\t", "a"),
            (" a \t b ", "a \t b"),
        ] {
            let mut fields = HeaderMap::new();
            for _ in 0..2 {
                fields.append(header::ACCEPT, value.parse().unwrap());
            }
            trim_values(&mut fields);
            let found: Vec<_> = fields.get_all(header::ACCEPT).iter().collect();
            assert_eq!(found, [kept, kept], "{value:?}");
        }
    }
}

//! Credentials in a field, behind the name of their scheme (RFC 9110 §11.4).
//!
//! ```
//! use tamis_sdk::credentials::{SchemeCredentials, behind_scheme};
//!
//! let found = |field| behind_scheme(b"Bearer", field);
//! assert_eq!(found(b"bearer abc"), SchemeCredentials::Found(b"abc"));
//! assert_eq!(found(b"Basic abc"), SchemeCredentials::OtherScheme);
//! assert_eq!(found(b"Bearer\tabc"), SchemeCredentials::Ambiguous);
//! ```

/// What a field holds of one scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemeCredentials<'a> {
    /// The field has another scheme.
    OtherScheme,
    /// What stands behind the scheme, without blanks around it; RFC 6750 §2.1 allows more than one space before it.
    Found(&'a [u8]),
    /// Servers that split a field at any blank or comma may take it for this scheme, and RFC 9110 gives it none: nobody's
    /// credentials, and no other scheme. Two fields that were joined by a comma (RFC 9110 §5.3) are this too.
    Ambiguous,
}

/// The credentials of a scheme, in any case, in the value of a field such as `authorization`.
#[must_use]
pub fn behind_scheme<'a>(scheme: &[u8], field: &'a [u8]) -> SchemeCredentials<'a> {
    let start = field.iter().position(is_token_octet).unwrap_or(field.len());
    let (before, named) = field.split_at_checked(start).unwrap_or((field, &[]));
    let end = named.iter().position(|octet| !is_token_octet(octet)).unwrap_or(named.len());
    let (named, rest) = named.split_at_checked(end).unwrap_or((named, &[]));
    if !named.eq_ignore_ascii_case(scheme) {
        return match names_later(scheme, rest) {
            true => SchemeCredentials::Ambiguous,
            false => SchemeCredentials::OtherScheme,
        };
    }
    match rest {
        [b' ', rest @ ..] if before.is_empty() => SchemeCredentials::Found(rest.trim_ascii()),
        _ => SchemeCredentials::Ambiguous,
    }
}

/// Whether a scheme is named behind a blank or a comma, as a word of its own. Quotes are not honoured: a server that splits at
/// commas does not honour them either.
fn names_later(scheme: &[u8], field: &[u8]) -> bool {
    let is_border = |octet: &u8| !octet.is_ascii_graphic() || b",;".contains(octet);
    field.split(is_border).filter_map(|word| word.split_at_checked(scheme.len())).any(
        |(named, rest)| {
            named.eq_ignore_ascii_case(scheme) && !rest.first().is_some_and(is_token_octet)
        },
    )
}

/// Whether an octet may stand in a token (RFC 9110 §5.6.2), such as the name of a scheme.
#[must_use]
pub fn is_token_octet(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet)
}

/// Whether a text is a token (RFC 9110 §5.6.2), such as the name of a field.
#[must_use]
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(is_token_octet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_may_take_for_a_scheme_is_no_other_scheme() {
        for (field, found) in [
            (&b"Basic x"[..], SchemeCredentials::Found(b"x")),
            (b"BASIC   x ", SchemeCredentials::Found(b"x")),
            (b"Basic ", SchemeCredentials::Found(b"")),
            (b"Basic", SchemeCredentials::Ambiguous),
            (b" Basic x", SchemeCredentials::Ambiguous),
            (b"\x0bBasic x", SchemeCredentials::Ambiguous),
            (b"Basic\x0cx", SchemeCredentials::Ambiguous),
            (b"Basic,x", SchemeCredentials::Ambiguous),
            (b"Basically x", SchemeCredentials::OtherScheme),
            (b"Bearer x, Basic x", SchemeCredentials::Ambiguous),
            (b"Bearer x,basic x", SchemeCredentials::Ambiguous),
            (b"Bearer x,\tBASIC\tx", SchemeCredentials::Ambiguous),
            (b"Bearer a=\"b, Basic x", SchemeCredentials::Ambiguous),
            (b"Bearer Basic x", SchemeCredentials::Ambiguous),
            (b"Bearer x\xa0Basic x", SchemeCredentials::Ambiguous),
            (b"Bearer x, Basic", SchemeCredentials::Ambiguous),
            (b"Digest username=\"basic\", realm=\"Basic\"", SchemeCredentials::OtherScheme),
            (b"Bearer x, Basically x", SchemeCredentials::OtherScheme),
            (b"Bearer not-basic x", SchemeCredentials::OtherScheme),
            (b"Bearer x/Basic/x", SchemeCredentials::OtherScheme),
            (b"", SchemeCredentials::OtherScheme),
        ] {
            assert_eq!(behind_scheme(b"basic", field), found, "{field:?}");
        }
    }
}

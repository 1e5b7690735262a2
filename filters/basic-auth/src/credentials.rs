//! The user and the password that a request shows (RFC 7617 §2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tamis_sdk::View;

use crate::CREDENTIALS;

/// Bytes of the encoded credentials; longer ones are nobody's.
const MAX_ENCODED: usize = 1024;

/// Credentials in a request.
#[derive(Clone, PartialEq, Eq)]
pub enum PresentedCredentials {
    /// The request has none of this scheme.
    None,
    /// The request has one user and one password.
    One {
        /// Name of the user, as it was sent.
        user: String,
        /// The password, as it was sent.
        password: Vec<u8>,
    },
    /// The credentials have another form than RFC 7617 gives them.
    Malformed,
    /// There are several, of which an upstream might believe another one.
    Many,
}

/// Finds the credentials of a request.
#[must_use]
pub fn find(seen: View<'_>) -> PresentedCredentials {
    let mut fields = seen.headers(CREDENTIALS);
    let Some(field) = fields.next() else { return PresentedCredentials::None };
    if fields.next().is_some() {
        return PresentedCredentials::Many;
    }
    let start = field.iter().position(is_token_octet).unwrap_or(field.len());
    let (before, named) = field.split_at_checked(start).unwrap_or((field, &[]));
    let end = named.iter().position(|octet| !is_token_octet(octet)).unwrap_or(named.len());
    let (scheme, rest) = named.split_at_checked(end).unwrap_or((named, &[]));
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return PresentedCredentials::None;
    }
    // Servers that split a field at any blank read credentials where RFC 9110 §11.4 gives none: those are of this scheme too.
    match rest {
        [b' ', rest @ ..] if before.is_empty() => {
            decoded(rest.trim_ascii()).unwrap_or(PresentedCredentials::Malformed)
        }
        _ => PresentedCredentials::Malformed,
    }
}

/// Whether an octet may stand in a token (RFC 9110 §5.6.2), such as the name of a scheme.
fn is_token_octet(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet)
}

/// `None` for what is not `user:password` in Base64, or has a control character in it.
fn decoded(encoded: &[u8]) -> Option<PresentedCredentials> {
    if encoded.len() > MAX_ENCODED {
        return None;
    }
    let octets = STANDARD.decode(encoded).ok()?;
    let colon = octets.iter().position(|octet| *octet == b':')?;
    let (user, password) = octets.split_at_checked(colon)?;
    let password = password.get(1..)?.to_vec();
    if octets.iter().any(u8::is_ascii_control) {
        return None;
    }
    let user = String::from_utf8(user.to_vec()).ok()?;
    Some(PresentedCredentials::One { user, password })
}

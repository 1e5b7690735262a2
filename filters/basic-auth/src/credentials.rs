//! The user and the password that a request shows (RFC 7617 §2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tamis_sdk::View;
use tamis_sdk::credentials::{SchemeCredentials, behind_scheme};

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
    match behind_scheme(b"basic", field) {
        SchemeCredentials::OtherScheme => PresentedCredentials::None,
        SchemeCredentials::Found(encoded) => {
            decoded(encoded).unwrap_or(PresentedCredentials::Malformed)
        }
        SchemeCredentials::Ambiguous => PresentedCredentials::Malformed,
    }
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

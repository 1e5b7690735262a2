//! Interim responses of an upstream (1xx, RFC 9110 §15.2) on their way to the client.
//!
//! No hook sees them: so only the fields pass that early hints are made of, and of them none that has an owner.

use super::fields::remove_hop_by_hop;
use super::owners::Owners;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use tamis_transport::InterimSender;

/// What a client can use before the response (RFC 8297 §2): what to load, and what it may load.
const HINTS: [HeaderName; 2] = [header::LINK, header::CONTENT_SECURITY_POLICY];

/// Passes one on. `100 Continue` is the host's own matter.
pub(crate) fn pass(to: &InterimSender, owners: &Owners, status: StatusCode, headers: HeaderMap) {
    if status == StatusCode::CONTINUE || !to.is_open() {
        return;
    }
    to.send(status, &hints(owners, headers));
}

/// The fields that pass.
fn hints(owners: &Owners, mut headers: HeaderMap) -> HeaderMap {
    remove_hop_by_hop(&mut headers);
    let mut hints = HeaderMap::new();
    for name in HINTS {
        for value in headers.get_all(&name) {
            hints.append(name.clone(), value.clone());
        }
    }
    owners.clean_interim(&mut hints);
    hints
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_exchange::WritableFields;

    #[test]
    fn hints_pass_and_nothing_that_a_hook_would_have_removed() {
        let headers: HeaderMap = [
            (header::LINK, "</a.css>; rel=preload"),
            (header::LINK, "</b.js>; rel=preload"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'self'"),
            (header::SET_COOKIE, "a=b"),
            (header::SERVER, "secret/1.0"),
            (header::CONNECTION, "x"),
        ]
        .into_iter()
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect();
        let rows: [(&[&str], &[&str]); 4] = [
            (&[], &["link", "link", "content-security-policy"]),
            (&["link"], &["content-security-policy"]),
            (&["Content_Security_Policy"], &["link", "link"]),
            (&["*"], &[]),
        ];
        for (written, expected) in rows {
            let owners = Owners::of(&[WritableFields::new(written.iter().copied())]);
            let passed = hints(&owners, headers.clone());
            let passed: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(passed, expected, "{written:?}");
        }
    }
}

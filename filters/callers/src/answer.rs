//! The answer to a request that is refused.

use std::fmt::Display;

use tamis_sdk::{reply, request};

/// Refuses with a status. Its text is the body and quotes nothing of the request; `reason` is the rule behind it.
///
/// 401 has the `challenge`, which RFC 9110 §11.6.1 demands. 503 is no fault of the caller and may be over in a second.
#[must_use]
pub fn refused(
    status: u16,
    text: &impl Display,
    reason: &str,
    challenge: &str,
) -> request::Decision {
    let answer = match status {
        401 => reply(status).header("www-authenticate", challenge),
        503 => reply(status).header("retry-after", "1"),
        _ => reply(status),
    };
    request::Decision::answer(answer.text(format!("{text}\n"))).because(reason)
}

//! A reply of a filter, and the bounds of what it states: its body and its reason.

use super::edit::Field;
use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift};

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<Field>,
    body: Vec<u8>,
}

impl From<Reply> for x::Reply {
    fn from(reply: Reply) -> Self {
        let headers = reply.headers.into_iter().map(Into::into).collect();
        Self { status: reply.status, headers, body: reply.body }
    }
}

/// A reply that can be sent as it is.
pub(super) fn reply(reply: Reply, body_bytes: u64) -> Result<x::Reply, String> {
    sendable(x::Reply::from(reply), body_bytes)
}

pub(super) fn sendable(reply: x::Reply, body_bytes: u64) -> Result<x::Reply, String> {
    x::check_reply(&reply)?;
    within("the body of its reply", reply.body.len(), body_bytes)?;
    Ok(reply)
}

pub(super) fn within(what: &str, octets: usize, most: u64) -> Result<(), String> {
    if u64::try_from(octets).unwrap_or(u64::MAX) <= most {
        return Ok(());
    }
    Err(format!(
        "{what} has {octets} bytes, and its Grant allows {most}: return fewer, or raise `limits.body` of the Grant"
    ))
}

/// A reason that follows the contract: it is written to logs, metrics and headers.
pub(super) fn reason(reason: Option<String>) -> Result<Option<String>, String> {
    let fine = |r: &str| {
        (1..=64).contains(&r.len())
            && r.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b))
    };
    match reason {
        Some(text) if !fine(&text) => {
            let shown = crate::error::short(&text, 80).escape_debug().to_string();
            Err(format!(
                "the reason `{shown}` is not 1 to 64 characters of `a-z`, `0-9`, `.` and `-`: write it like `{}`",
                allowed_reason(&text)
            ))
        }
        reason => Ok(reason),
    }
}

/// A reason that the contract allows and that reads like this text.
fn allowed_reason(text: &str) -> String {
    let lower = crate::error::short(text, 64).to_ascii_lowercase();
    let parts = lower.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.'));
    let words: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    if words.is_empty() { "no-token".to_owned() } else { words.join("-") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_is_refused_is_shown_as_it_could_be_written() {
        for (text, like) in [
            ("Something Went Wrong!", "something-went-wrong"),
            ("acme.No_Token", "acme.no-token"),
            ("", "no-token"),
            ("漢", "no-token"),
        ] {
            let said = reason(Some(text.to_owned())).unwrap_err();
            assert!(said.ends_with(&format!("write it like `{like}`")), "{said}");
            assert!(reason(Some(like.to_owned())).is_ok(), "{like}");
        }
        let said = reason(Some("x".repeat(65))).unwrap_err();
        assert!(said.ends_with(&format!("`{}`", "x".repeat(64))), "{said}");
    }
}

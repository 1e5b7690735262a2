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
    within("the body of a reply", reply.body.len(), body_bytes)?;
    Ok(reply)
}

pub(super) fn within(what: &str, octets: usize, most: u64) -> Result<(), String> {
    if u64::try_from(octets).unwrap_or(u64::MAX) <= most {
        return Ok(());
    }
    Err(format!("{what} has {octets} bytes, its grant allows {most} (`limits.body`)"))
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
                "the reason `{shown}` is not 1 to 64 characters of `a-z`, `0-9`, `.` and `-`"
            ))
        }
        reason => Ok(reason),
    }
}

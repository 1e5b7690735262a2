//! The hook `router`.

use super::edit::{Edit, edits};
use super::reply::{Reply, reason, sendable};
use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift};

/// A router's reply. The choice of a router has no place for a reason, so the reply states it in one header
/// [`x::ROUTER_REASON`]. It is no header of the response: the host takes it out and decides whether clients see a reason.
pub(super) fn routed(reply: Reply, body_bytes: u64) -> Result<x::Reply, String> {
    let mut reply = x::Reply::from(reply);
    let stated = reply.headers.iter().position(|field| field.name == x::ROUTER_REASON);
    let stated = stated.map(|at| reply.headers.swap_remove(at));
    if let Some(stated) = &stated {
        reason(Some(String::from_utf8_lossy(&stated.value).into_owned()))?;
    }
    let mut reply = sendable(reply, body_bytes)?;
    reply.headers.extend(stated);
    Ok(reply)
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Mirror {
    backend: u32,
    #[component(name = "share-permille")]
    share_permille: u32,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Selection<E> {
    rule: u32,
    backend: u32,
    #[component(name = "request-timeout-ms")]
    request_timeout_ms: u32,
    #[component(name = "attempt-timeout-ms")]
    attempt_timeout_ms: u32,
    hash: Option<u64>,
    #[component(name = "request-edits")]
    request_edits: Vec<E>,
    #[component(name = "response-edits")]
    response_edits: Vec<E>,
    mirrors: Vec<Mirror>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Choice {
    #[component(name = "forward")]
    Forward(Selection<Edit>),
    #[component(name = "answer")]
    Answer(Reply),
    #[component(name = "unmatched")]
    Unmatched,
    #[component(name = "extend")]
    Extend,
}

/// Mirrors that a router may ask for, per request.
const MAX_MIRRORS: usize = 8;

impl Choice {
    /// The choice, or the rule of the contract that it breaks.
    pub(crate) fn checked(self, body_bytes: u64) -> Result<x::Choice, String> {
        match self {
            Self::Forward(selection) => selection.checked(),
            Self::Answer(it) => routed(it, body_bytes).map(x::Choice::Answer),
            Self::Unmatched => Ok(x::Choice::Unmatched),
            Self::Extend => Ok(x::Choice::Extend),
        }
    }
}

impl<E: Into<x::Edit>> Selection<E> {
    /// The selection, or the rule of the contract that it breaks.
    pub(super) fn checked(self) -> Result<x::Choice, String> {
        if self.mirrors.len() > MAX_MIRRORS {
            let count = self.mirrors.len();
            return Err(format!("{count} mirrors; a request may have at most {MAX_MIRRORS}"));
        }
        let mirrors = self.mirrors.iter();
        let mirrors =
            mirrors.map(|m| x::Mirror { backend: m.backend, share_permille: m.share_permille });
        Ok(x::Choice::Forward(x::Selection {
            rule: self.rule,
            backend: self.backend,
            request_timeout_ms: self.request_timeout_ms,
            attempt_timeout_ms: self.attempt_timeout_ms,
            hash: self.hash,
            request_edits: edits(self.request_edits),
            response_edits: edits(self.response_edits),
            mirrors: mirrors.collect(),
        }))
    }
}

//! The hook `router`.

use super::edit::edits;
use super::reply::{Reply, reason, sendable};
use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift};

/// A router's reply. The choice of a router has no place for a reason, so the reply states it in one header
/// [`x::ROUTER_REASON`]. It is no header of the response: the host takes it out and decides whether clients see a reason.
fn routed(reply: Reply, body_bytes: u64) -> Result<x::Reply, String> {
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
pub(crate) enum Choice<E> {
    #[component(name = "forward")]
    Forward(Selection<E>),
    #[component(name = "answer")]
    Answer(Reply),
    #[component(name = "unmatched")]
    Unmatched,
}

/// Mirrors that a router may ask for, per request.
const MAX_MIRRORS: usize = 8;

impl<E: Into<x::Edit>> Choice<E> {
    /// The choice, or the rule of the contract that it breaks.
    pub(crate) fn checked(self, body_bytes: u64) -> Result<x::Choice, String> {
        Ok(match self {
            Self::Forward(s) if s.mirrors.len() > MAX_MIRRORS => {
                return Err(format!(
                    "{} mirrors; a request may have at most {MAX_MIRRORS}",
                    s.mirrors.len()
                ));
            }
            Self::Forward(s) => x::Choice::Forward(Box::new(x::Selection {
                rule: s.rule,
                backend: s.backend,
                request_timeout_ms: s.request_timeout_ms,
                attempt_timeout_ms: s.attempt_timeout_ms,
                hash: s.hash,
                request_edits: edits(s.request_edits),
                response_edits: edits(s.response_edits),
                mirrors: s
                    .mirrors
                    .iter()
                    .map(|m| x::Mirror { backend: m.backend, share_permille: m.share_permille })
                    .collect(),
            })),
            Self::Answer(it) => x::Choice::Answer(routed(it, body_bytes)?),
            Self::Unmatched => x::Choice::Unmatched,
        })
    }
}

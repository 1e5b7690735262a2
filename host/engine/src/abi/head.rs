//! The hooks `request` and `response`: what a filter decides from a head.

use super::edit::edits;
use super::reply::{Reply, reason, reply};
use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift};

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum HeadVerdict<E> {
    #[component(name = "pass")]
    Pass,
    #[component(name = "change")]
    Change(Vec<E>),
    #[component(name = "answer")]
    Answer(Reply),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct HeadDecision<E> {
    verdict: HeadVerdict<E>,
    reason: Option<String>,
}

impl<E: Into<x::Edit>> HeadDecision<E> {
    /// The decision, or the rule of the contract that it breaks. `body_bytes` bounds the body of a reply.
    pub(crate) fn checked(self, body_bytes: u64) -> Result<x::Decision, String> {
        let verdict = match self.verdict {
            HeadVerdict::Pass => x::Verdict::Pass,
            HeadVerdict::Change(list) => x::Verdict::Change(edits(list)),
            HeadVerdict::Answer(it) => x::Verdict::Answer(reply(it, body_bytes)?),
        };
        Ok(x::Decision { verdict, reason: reason(self.reason)? })
    }
}

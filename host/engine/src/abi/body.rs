//! The hooks `request-body` and `response-body`.

use super::edit::{Edit, edits};
use super::reply::{Reply, reason, reply, within};
use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift};

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct BodyChange {
    octets: Option<Vec<u8>>,
    edits: Vec<Edit>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum BodyVerdict {
    #[component(name = "pass")]
    Pass,
    #[component(name = "replace")]
    Replace(Vec<u8>),
    #[component(name = "change")]
    Change(BodyChange),
    #[component(name = "answer")]
    Answer(Reply),
    #[component(name = "hold")]
    Hold,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct BodyDecision {
    verdict: BodyVerdict,
    reason: Option<String>,
}

impl BodyDecision {
    /// The decision, or the rule of the contract that it breaks. A replacement may be at most `body_bytes`
    /// longer than the `shown` bytes it replaces.
    pub(crate) fn checked(self, shown: usize, body_bytes: u64) -> Result<x::Decision, String> {
        let verdict = match self.verdict {
            BodyVerdict::Pass => x::Verdict::Pass,
            BodyVerdict::Replace(octets) => {
                x::Verdict::Replace(replacement(octets, shown, body_bytes)?)
            }
            BodyVerdict::Change(BodyChange { octets, edits: list }) => {
                let octets = octets.map(|octets| replacement(octets, shown, body_bytes));
                x::Verdict::Rewrite { octets: octets.transpose()?, edits: edits(list) }
            }
            BodyVerdict::Answer(it) => x::Verdict::Answer(reply(it, body_bytes)?),
            BodyVerdict::Hold => x::Verdict::Hold,
        };
        Ok(x::Decision { verdict, reason: reason(self.reason)? })
    }
}

/// Bytes that replace a body of `shown` bytes, or a chunk.
pub(super) fn replacement(
    octets: Vec<u8>,
    shown: usize,
    body_bytes: u64,
) -> Result<Vec<u8>, String> {
    let more = octets.len().saturating_sub(shown);
    within("the replacement of a body", more, body_bytes)?;
    Ok(octets)
}

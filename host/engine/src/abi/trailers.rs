//! The hook `trailers`.

use super::edit::{Edit, edits};
use super::reply::reason;
use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift};

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum TrailersVerdict {
    #[component(name = "pass")]
    Pass,
    #[component(name = "change")]
    Change(Vec<Edit>),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct TrailersDecision {
    verdict: TrailersVerdict,
    reason: Option<String>,
}

impl TrailersDecision {
    /// The decision, or the rule of the contract that it breaks.
    pub(crate) fn checked(self) -> Result<x::Decision, String> {
        let verdict = match self.verdict {
            TrailersVerdict::Pass => x::Verdict::Pass,
            TrailersVerdict::Change(list) => x::Verdict::Change(edits(list)),
        };
        Ok(x::Decision { verdict, reason: reason(self.reason)? })
    }
}

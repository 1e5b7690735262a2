//! The types of contract 0.1 that 0.2 defines in another way. Both become the same values of this host.

use super::body::replacement;
use super::edit::{Attribute, Field};
use super::lifecycle::{BodyMode, Responses};
use super::reply::{Reply, reason, reply};
use super::router::{Selection, routed};
use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift};

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Edit {
    #[component(name = "set-header")]
    SetHeader(Field),
    #[component(name = "add-header")]
    AddHeader(Field),
    #[component(name = "remove-header")]
    RemoveHeader(String),
    #[component(name = "set-path")]
    SetPath(String),
    #[component(name = "set-authority")]
    SetAuthority(String),
    #[component(name = "set-attribute")]
    SetAttribute(Attribute),
}

impl From<Edit> for x::Edit {
    fn from(edit: Edit) -> Self {
        match edit {
            Edit::SetHeader(field) => Self::SetHeader(field.into()),
            Edit::AddHeader(field) => Self::AddHeader(field.into()),
            Edit::RemoveHeader(name) => Self::RemoveHeader(name),
            Edit::SetPath(path) => Self::SetPath(path),
            Edit::SetAuthority(authority) => Self::SetAuthority(authority),
            Edit::SetAttribute(attribute) => attribute.into(),
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Interest {
    reads: Vec<String>,
    writes: Vec<String>,
    #[component(name = "request-body")]
    request_body: BodyMode,
    #[component(name = "response-body")]
    response_body: BodyMode,
    #[component(name = "body-limit-bytes")]
    body_limit_bytes: u32,
    extra: Vec<Attribute>,
}

impl From<Interest> for super::Interest {
    fn from(interest: Interest) -> Self {
        Self {
            reads: interest.reads,
            writes: interest.writes,
            request_body: interest.request_body,
            response_body: interest.response_body,
            body_limit_bytes: interest.body_limit_bytes,
            responses: Responses::Upstream,
            extra: interest.extra,
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum BodyVerdict {
    #[component(name = "pass")]
    Pass,
    #[component(name = "replace")]
    Replace(Vec<u8>),
    #[component(name = "answer")]
    Answer(Reply),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct BodyDecision {
    verdict: BodyVerdict,
    reason: Option<String>,
}

impl BodyDecision {
    /// As [`super::BodyDecision::checked`].
    pub(crate) fn checked(self, shown: usize, body_bytes: u64) -> Result<x::Decision, String> {
        let verdict = match self.verdict {
            BodyVerdict::Pass => x::Verdict::Pass,
            BodyVerdict::Replace(octets) => {
                x::Verdict::Replace(replacement(octets, shown, body_bytes)?)
            }
            BodyVerdict::Answer(it) => x::Verdict::Answer(reply(it, body_bytes)?),
        };
        Ok(x::Decision { verdict, reason: reason(self.reason)? })
    }
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
}

impl Choice {
    /// As [`super::Choice::checked`].
    pub(crate) fn checked(self, body_bytes: u64) -> Result<x::Choice, String> {
        match self {
            Self::Forward(selection) => selection.checked(),
            Self::Answer(it) => routed(it, body_bytes).map(x::Choice::Answer),
            Self::Unmatched => Ok(x::Choice::Unmatched),
        }
    }
}

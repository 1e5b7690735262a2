//! What a filter did in a step.

use tamis_engine::{CallFault, FetchRequest, Hook};
use tamis_exchange as x;

/// What a filter did in a step.
#[derive(Default)]
pub(crate) struct StepObservation {
    pub(crate) exchange: Option<x::Exchange>,
    pub(crate) reason: Option<String>,
    pub(crate) answer: Option<x::Reply>,
    pub(crate) choice: Option<x::Choice>,
    /// What the filter changed, in words.
    pub(crate) changes: Vec<String>,
    pub(crate) fault: Option<(&'static str, String)>,
    pub(crate) request_body: Vec<u8>,
    pub(crate) response_body: Vec<u8>,
    pub(crate) request_trailers: http::HeaderMap,
    pub(crate) response_trailers: http::HeaderMap,
    pub(crate) retry: Option<RetryObservation>,
    /// The outer one: the hook was called.
    pub(crate) hedge: Option<Option<u32>>,
    pub(crate) circuit: Option<x::Circuit>,
    pub(crate) weights: Option<Vec<u32>>,
    pub(crate) connection: Option<x::ConnectionVerdict>,
    /// The outer one: the hook was called.
    pub(crate) tick: Option<Option<u32>>,
    pub(crate) http: Vec<FetchRequest>,
    pub(crate) records: Vec<String>,
    pub(crate) spans: Vec<String>,
}

/// What became of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryObservation {
    /// The filter does not name the status.
    NotCalled,
    /// Its verdict.
    Called(x::RetryVerdict),
}

/// Why a step ends before all its hooks were called.
pub(crate) enum StepEnd {
    Answer(x::Reply),
    Fault(&'static str, String),
    /// The case itself is invalid.
    Case(String),
}

impl StepEnd {
    /// A call of that hook that failed.
    pub(crate) fn failed(hook: Hook) -> impl Fn(CallFault) -> Self {
        move |fault| Self::Fault(fault.kind(), fault.of(&format!("`{}`", hook.function())))
    }

    /// An answer of that hook that breaks a rule of the contract.
    pub(crate) fn breaks<R: ToString>(hook: Hook) -> impl Fn(R) -> Self {
        move |rule| Self::failed(hook)(CallFault::BadAnswer(rule.to_string()))
    }
}

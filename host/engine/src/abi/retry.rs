//! The hook `retry`.

use super::reply::reason;
use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift, Lower};

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Cause {
    #[component(name = "connect-failure")]
    ConnectFailure,
    #[component(name = "refused-stream")]
    RefusedStream,
    #[component(name = "reset")]
    Reset,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "status")]
    Status,
    #[component(name = "other")]
    Other,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct Failure {
    rule: u32,
    attempt: u32,
    cause: Cause,
    status: u16,
    #[component(name = "grpc-status")]
    grpc_status: Option<u32>,
    #[component(name = "elapsed-ms")]
    elapsed_ms: u32,
    #[component(name = "remaining-ms")]
    remaining_ms: u32,
    idempotent: bool,
    replayable: bool,
    #[component(name = "retry-after-ms")]
    retry_after_ms: Option<u32>,
    #[component(name = "budget-left")]
    budget_left: u32,
}

impl From<&x::Failure> for Failure {
    fn from(f: &x::Failure) -> Self {
        Self {
            rule: f.rule,
            attempt: f.attempt,
            cause: match f.cause {
                x::Cause::ConnectFailure => Cause::ConnectFailure,
                x::Cause::RefusedStream => Cause::RefusedStream,
                x::Cause::Reset => Cause::Reset,
                x::Cause::Timeout => Cause::Timeout,
                x::Cause::Status => Cause::Status,
                x::Cause::Other => Cause::Other,
            },
            status: f.status,
            grpc_status: f.grpc_status,
            elapsed_ms: f.elapsed_ms,
            remaining_ms: f.remaining_ms,
            idempotent: f.idempotent,
            replayable: f.replayable,
            retry_after_ms: f.retry_after_ms,
            budget_left: f.budget_left,
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum RetryVerdict {
    #[component(name = "give-up")]
    GiveUp,
    #[component(name = "again")]
    Again(u32),
    #[component(name = "elsewhere")]
    Elsewhere(u32),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RetryDecision {
    verdict: RetryVerdict,
    reason: Option<String>,
}

impl RetryDecision {
    /// The decision, or the rule of the contract that it breaks.
    pub(crate) fn checked(self) -> Result<x::RetryDecision, String> {
        let verdict = match self.verdict {
            RetryVerdict::GiveUp => x::RetryVerdict::GiveUp,
            RetryVerdict::Again(ms) => x::RetryVerdict::Again(ms),
            RetryVerdict::Elsewhere(ms) => x::RetryVerdict::Elsewhere(ms),
        };
        Ok(x::RetryDecision { verdict, reason: reason(self.reason)? })
    }
}

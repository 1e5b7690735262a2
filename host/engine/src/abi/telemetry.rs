//! The hooks `finished` and `telemetry`, and the records and spans they take.

use super::edit::Attribute;
use tamis_exchange as x;
use wasmtime::component::{ComponentType, Lift, Lower, flags};

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum NameKind {
    #[component(name = "rule")]
    Rule,
    #[component(name = "upstream")]
    Upstream,
    #[component(name = "endpoint")]
    Endpoint,
    #[component(name = "identity")]
    Identity,
    #[component(name = "reason")]
    Reason,
    #[component(name = "filter")]
    Filter,
}

impl From<x::NameKind> for NameKind {
    fn from(kind: x::NameKind) -> Self {
        match kind {
            x::NameKind::Rule => Self::Rule,
            x::NameKind::Upstream => Self::Upstream,
            x::NameKind::Endpoint => Self::Endpoint,
            x::NameKind::Identity => Self::Identity,
            x::NameKind::Reason => Self::Reason,
            x::NameKind::Filter => Self::Filter,
        }
    }
}

flags! {
    Outcome {
        #[component(name = "client-gone")]
        const CLIENT_GONE;
        #[component(name = "upstream-failed")]
        const UPSTREAM_FAILED;
        #[component(name = "timed-out")]
        const TIMED_OUT;
        #[component(name = "refused-by-filter")]
        const REFUSED_BY_FILTER;
        #[component(name = "retried")]
        const RETRIED;
        #[component(name = "hedged")]
        const HEDGED;
        #[component(name = "reset")]
        const RESET;
    }
}

impl From<x::Outcome> for Outcome {
    fn from(outcome: x::Outcome) -> Self {
        let mut flags = Self::empty();
        for (from, to) in [
            (x::Outcome::CLIENT_GONE, Self::CLIENT_GONE),
            (x::Outcome::UPSTREAM_FAILED, Self::UPSTREAM_FAILED),
            (x::Outcome::TIMED_OUT, Self::TIMED_OUT),
            (x::Outcome::REFUSED_BY_FILTER, Self::REFUSED_BY_FILTER),
            (x::Outcome::RETRIED, Self::RETRIED),
            (x::Outcome::HEDGED, Self::HEDGED),
            (x::Outcome::RESET, Self::RESET),
        ] {
            if outcome.contains(from) {
                flags |= to;
            }
        }
        flags
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct ExchangeEnding<'a> {
    outcome: Outcome,
    status: u16,
    #[component(name = "grpc-status")]
    grpc_status: Option<u16>,
    #[component(name = "duration-us")]
    duration_us: u64,
    #[component(name = "upstream-us")]
    upstream_us: u64,
    attempts: u32,
    #[component(name = "bytes-in")]
    bytes_in: u64,
    #[component(name = "bytes-out")]
    bytes_out: u64,
    reason: Option<&'a str>,
}

impl<'a> From<&'a x::ExchangeEnding> for ExchangeEnding<'a> {
    fn from(ending: &'a x::ExchangeEnding) -> Self {
        Self {
            outcome: ending.outcome.into(),
            status: ending.status,
            grpc_status: ending.grpc_status,
            duration_us: ending.duration_us,
            upstream_us: ending.upstream_us,
            attempts: ending.attempts,
            bytes_in: ending.bytes_in,
            bytes_out: ending.bytes_out,
            reason: ending.reason.as_deref(),
        }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct Summary {
    exchange: u64,
    #[component(name = "start-unix-us")]
    start_unix_us: u64,
    #[component(name = "duration-us")]
    duration_us: u32,
    #[component(name = "upstream-us")]
    upstream_us: u32,
    status: u16,
    #[component(name = "grpc-status")]
    grpc_status: u16,
    outcome: Outcome,
    attempts: u32,
    #[component(name = "bytes-in")]
    bytes_in: u64,
    #[component(name = "bytes-out")]
    bytes_out: u64,
    rule: u32,
    upstream: u32,
    endpoint: u32,
    peer: u32,
    reason: u32,
}

impl From<&x::Summary> for Summary {
    fn from(s: &x::Summary) -> Self {
        Self {
            exchange: s.exchange,
            start_unix_us: s.start_unix_us,
            duration_us: s.duration_us,
            upstream_us: s.upstream_us,
            status: s.status,
            grpc_status: s.grpc_status,
            outcome: s.outcome.into(),
            attempts: s.attempts,
            bytes_in: s.bytes_in,
            bytes_out: s.bytes_out,
            rule: s.rule,
            upstream: s.upstream,
            endpoint: s.endpoint,
            peer: s.peer,
            reason: s.reason,
        }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct KeptFieldSpan {
    exchange: u32,
    field: u32,
    start: u32,
    #[component(name = "name-length")]
    name_length: u32,
    length: u32,
}

impl From<&x::KeptFieldSpan> for KeptFieldSpan {
    fn from(span: &x::KeptFieldSpan) -> Self {
        Self {
            exchange: span.exchange,
            field: span.field,
            start: span.start,
            name_length: span.name_length,
            length: span.length,
        }
    }
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(crate) struct KeptBatch<'a> {
    pub(crate) octets: &'a [u8],
    pub(crate) spans: &'a [KeptFieldSpan],
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct FinishedSpan {
    pub(crate) exchange: u64,
    pub(crate) name: String,
    #[component(name = "start-unix-us")]
    pub(crate) start_unix_us: u64,
    #[component(name = "duration-us")]
    pub(crate) duration_us: u32,
    pub(crate) attributes: Vec<Attribute>,
}

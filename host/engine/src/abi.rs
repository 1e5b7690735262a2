//! How values cross into and out of a component: one type per WIT type, lowered by borrow, lifted by value.
//!
//! This module decides nothing. Values that go in are borrowed (`&[u8]`, `&[…]`), so that no `String` is
//! allocated per header; values that come out become `tamis_exchange` values at once. The derives write the
//! unsafe trait implementations of the canonical ABI; these files contain no handwritten one. A file for each hook,
//! and for what several of them share.
mod balancer;
mod body;
mod capability;
mod circuit_breaker;
mod connection;
mod edit;
mod head;
mod hedge;
mod lifecycle;
mod reply;
mod retry;
mod router;
mod telemetry;
mod trailers;
pub(crate) mod v0_1;
mod view;

pub(crate) use balancer::EndpointState;
pub(crate) use body::BodyDecision;
pub(crate) use capability::{
    Algorithm, Digest, HttpFailure, KvEntry, LogLevel, MetricKind, PasswordFailure, RequestRecord,
    ResponseRecord, Scope,
};
pub(crate) use circuit_breaker::{Circuit, Window};
pub(crate) use connection::ConnectionDecision;
pub(crate) use edit::{Attribute, Edit, Field};
pub(crate) use head::HeadDecision;
pub(crate) use hedge::Latencies;
pub(crate) use lifecycle::{BodyMode, ConfigError, Interest};
pub(crate) use retry::{Failure, RetryDecision};
pub(crate) use router::Choice;
pub(crate) use telemetry::{
    ExchangeEnding, FinishedSpan, KeptBatch, KeptFieldSpan, NameKind, Summary,
};
pub(crate) use trailers::TrailersDecision;
pub(crate) use view::{Span, View};

//! What happens in a step of a case: a request with its response, or one of the other events that a proxy
//! shows to filters.

use crate::text::{Body, Lines};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use tamis_exchange as x;
use tamis_resources::Millis;

/// A request of a client.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Request {
    /// Default: `GET`.
    pub(crate) method: Option<String>,
    /// Default: `https`.
    pub(crate) scheme: Option<Scheme>,
    /// Host and port. Default: `test.example`.
    pub(crate) authority: Option<String>,
    /// Path and query. Default: `/`.
    pub(crate) path: Option<String>,
    /// One value each, or a list of values for several fields of a name.
    pub(crate) headers: BTreeMap<String, Lines>,
    /// Attributes that the proxy (`peer.spiffe-id`) or an earlier filter sets.
    pub(crate) attributes: BTreeMap<String, String>,
    /// The complete body, or a list of chunks as they arrive.
    pub(crate) body: Option<Body>,
    /// Fields after the body: one value each, or a list of values. Default: none.
    pub(crate) trailers: BTreeMap<String, Lines>,
}

/// A response to the request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Response {
    /// Who wrote it: the upstream, or in this proxy another filter or the host. Default: `upstream`.
    pub(crate) by: Option<Author>,
    /// Default: 200.
    #[schemars(range(min = 200, max = 599))]
    pub(crate) status: Option<u16>,
    /// One value each, or a list of values for several fields of a name.
    pub(crate) headers: BTreeMap<String, Lines>,
    /// The complete body, or a list of chunks as they arrive.
    pub(crate) body: Option<Body>,
    /// Fields after the body: one value each, or a list of values. Default: none.
    pub(crate) trailers: BTreeMap<String, Lines>,
}

/// Who wrote a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Author {
    Upstream,
    Filter,
    Host,
}

/// Scheme of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// How an exchange ends.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ExchangeEnding {
    /// What happened; default: nothing unusual.
    pub(crate) outcome: Vec<Outcome>,
    /// Status as sent to the client; default: that of the answer or of the response, else 200; 0: none was sent.
    pub(crate) status: Option<u16>,
    /// Default: no gRPC.
    pub(crate) grpc_status: Option<u16>,
    /// Default: 1ms.
    pub(crate) duration: Option<Millis>,
    /// The part of it that was spent in attempts. Default: 1ms.
    pub(crate) upstream: Option<Millis>,
    /// Default: 1.
    pub(crate) attempts: Option<u32>,
    /// Bytes of the request body; default: those of the case.
    pub(crate) bytes_in: Option<u64>,
    /// Bytes of the response body; default: those of the case.
    pub(crate) bytes_out: Option<u64>,
}

/// What happened to an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    ClientGone,
    UpstreamFailed,
    TimedOut,
    RefusedByFilter,
    Retried,
    Hedged,
    Reset,
}

/// All of them together.
pub(crate) fn outcome(all: &[Outcome]) -> x::Outcome {
    let mut set = x::Outcome::default();
    for one in all {
        set.insert(match one {
            Outcome::ClientGone => x::Outcome::CLIENT_GONE,
            Outcome::UpstreamFailed => x::Outcome::UPSTREAM_FAILED,
            Outcome::TimedOut => x::Outcome::TIMED_OUT,
            Outcome::RefusedByFilter => x::Outcome::REFUSED_BY_FILTER,
            Outcome::Retried => x::Outcome::RETRIED,
            Outcome::Hedged => x::Outcome::HEDGED,
            Outcome::Reset => x::Outcome::RESET,
        });
    }
    set
}

/// An attempt that did not succeed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Attempt {
    /// Index of the router's rule. Default: 0.
    pub(crate) rule: Option<u32>,
    /// 1 for the first. Default: 1.
    #[schemars(range(min = 1))]
    pub(crate) attempt: Option<u32>,
    /// Default: `status` where there is one, else `connect-failure`.
    pub(crate) cause: Option<AttemptCause>,
    /// Status of the response; the filter is called only for those that it names. Default: no response.
    pub(crate) status: Option<u16>,
    /// `grpc-status` of a trailers-only response. Default: no gRPC.
    pub(crate) grpc_status: Option<u32>,
    /// Since the exchange began. Default: 1ms.
    pub(crate) elapsed: Option<Millis>,
    /// Time to the deadline. Default: no deadline.
    pub(crate) remaining: Option<Millis>,
    /// Default: by the method of the request (RFC 9110 §9.2).
    pub(crate) idempotent: Option<bool>,
    /// The proxy still has the complete body. Default: true.
    pub(crate) replayable: Option<bool>,
    /// The upstream's `retry-after`. Default: none.
    pub(crate) retry_after: Option<Millis>,
    /// Retries that the budget still allows. Default: 10.
    pub(crate) budget_left: Option<u32>,
}

/// Why an attempt did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AttemptCause {
    ConnectFailure,
    RefusedStream,
    Reset,
    Timeout,
    Status,
    Other,
}

/// Latencies of a rule.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Quantiles {
    /// Index of the router's rule. Default: 0.
    pub(crate) rule: u32,
    /// Number of exchanges behind the quantiles. Default: 0.
    pub(crate) samples: u32,
    /// Median.
    pub(crate) p50: Option<Millis>,
    /// 90 %.
    pub(crate) p90: Option<Millis>,
    /// 95 %.
    pub(crate) p95: Option<Millis>,
    /// 99 %.
    pub(crate) p99: Option<Millis>,
}

/// Recent results of an upstream, and its circuit.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct CircuitEvent {
    /// Length of the window. Default: 10s.
    pub(crate) span: Option<Millis>,
    /// Attempts that succeeded. Default: 0.
    pub(crate) successes: u32,
    /// Attempts that failed, timeouts included. Default: 0.
    pub(crate) failures: u32,
    /// Failures by timeout. Default: 0.
    pub(crate) timeouts: u32,
    /// Attempts slower than the policy's threshold. Default: 0.
    pub(crate) slow: u32,
    /// Failures since the last success. Default: 0.
    pub(crate) consecutive_failures: u32,
    /// Attempts in progress. Default: 0.
    pub(crate) in_flight: u32,
    /// Moving average of the latency. Default: 0.
    pub(crate) latency: Option<Millis>,
    /// Its circuit before. Default: closed.
    pub(crate) circuit: Option<CircuitText>,
}

/// State of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CircuitText {
    /// Which attempts pass: all, none, or some probes.
    pub(crate) state: CircuitState,
    /// Of an open circuit: for how long.
    #[serde(default, rename = "for")]
    pub(crate) time: Option<Millis>,
    /// Of a half-open circuit: how many attempts pass.
    #[serde(default)]
    pub(crate) probes: Option<u32>,
}

/// Which attempts pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CircuitState {
    Closed,
    Open,
    HalfOpen,
}

/// Endpoints of an upstream.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BalancerEvent {
    /// In order.
    pub(crate) endpoints: Vec<EndpointText>,
}

/// An endpoint.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct EndpointText {
    /// As configured. Default: 1.
    pub(crate) weight: Option<u32>,
    /// Attempts in progress. Default: 0.
    pub(crate) in_flight: u32,
    /// Moving average of the latency. Default: 0.
    pub(crate) latency: Option<Millis>,
    /// Successes in a thousand. Default: 1000.
    #[schemars(range(max = 1000))]
    pub(crate) success_permille: Option<u32>,
    /// Time since it was first seen. Default: 1h.
    pub(crate) age: Option<Millis>,
}

/// Finished exchanges.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct TelemetryEvent {
    /// In the order of the batch.
    pub(crate) exchanges: Vec<SummaryText>,
}

/// A finished exchange.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct SummaryText {
    /// Its request: what the filter declares to read of it is kept.
    pub(crate) request: Option<Request>,
    /// Status as sent. Default: 200.
    pub(crate) status: Option<u16>,
    /// Default: no gRPC.
    pub(crate) grpc_status: Option<u16>,
    /// Time to the last byte sent. Default: 1ms.
    pub(crate) duration: Option<Millis>,
    /// Time of it spent in attempts. Default: 1ms.
    pub(crate) upstream_time: Option<Millis>,
    /// What happened; default: nothing unusual.
    pub(crate) outcome: Vec<Outcome>,
    /// Default: 1.
    pub(crate) attempts: Option<u32>,
    /// Request body bytes. Default: 0.
    pub(crate) bytes_in: u64,
    /// Response body bytes. Default: 0.
    pub(crate) bytes_out: u64,
    /// Name of the rule. Default: none.
    pub(crate) rule: Option<String>,
    /// The service, `namespace/name:port`. Default: none.
    pub(crate) upstream: Option<String>,
    /// Its endpoint. Default: none.
    pub(crate) endpoint: Option<String>,
    /// The peer's SPIFFE id. Default: none.
    pub(crate) peer: Option<String>,
    /// Reason of the last decision. Default: none.
    pub(crate) reason: Option<String>,
}

/// A new connection.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ConnectionEvent {
    /// What the proxy knows of it, such as `source.address`.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// The timer.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TickEvent {}

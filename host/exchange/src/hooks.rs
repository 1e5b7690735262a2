//! The values of the contract in Rust: the questions that filters are asked, and their answers.

use crate::edit::Edit;
use crate::reply::Reply;

/// The absent value in the numbers of a [`Summary`].
pub const NONE: u32 = u32::MAX;

/// What a request or response hook decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Continue, nothing to change.
    Pass,
    /// Continue with these changes.
    Change(Vec<Edit>),
    /// Replace the bytes of the body just shown (body hooks only).
    Replace(Vec<u8>),
    /// Other bytes, other fields of the head, or both (hooks of whole bodies only).
    Rewrite {
        /// In place of the body; `None`: it stays.
        octets: Option<Vec<u8>>,
        /// Changes of the head.
        edits: Vec<Edit>,
    },
    /// Keep the chunk just shown, and show it again in front of the next one (hooks of chunks only).
    Hold,
    /// Answer now with this reply.
    Answer(Reply),
}

/// A verdict and the rule id behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// Short rule id, such as `jwt.expired`.
    pub reason: Option<String>,
}

/// A backend that receives a copy of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror {
    /// Index into the router's backends.
    pub backend: u32,
    /// Share of requests, in thousandths.
    pub share_permille: u32,
}

/// The route of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Index into the router's rules.
    pub rule: u32,
    /// Index into the router's backends.
    pub backend: u32,
    /// Of the whole exchange; 0: no timeout.
    pub request_timeout_ms: u32,
    /// Of each attempt; 0: no timeout.
    pub attempt_timeout_ms: u32,
    /// Requests with the same hash go to the same endpoint; `None`: the service's policy decides.
    pub hash: Option<u64>,
    /// Applied before the request is sent.
    pub request_edits: Vec<Edit>,
    /// Applied before the response is sent.
    pub response_edits: Vec<Edit>,
    /// Copies to send.
    pub mirrors: Vec<Mirror>,
}

/// What a router decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// To a backend.
    Forward(Selection),
    /// Answer without an upstream, such as a redirect.
    Answer(Reply),
    /// No rule matched.
    Unmatched,
    /// The other router of the chain decides.
    Extend,
}

/// Why an attempt did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No connection.
    ConnectFailure,
    /// HTTP/2 REFUSED_STREAM or GOAWAY before the stream was processed.
    RefusedStream,
    /// The upstream broke it off after it was sent.
    Reset,
    /// The attempt's timeout passed.
    Timeout,
    /// A status that counts as failure.
    Status,
    /// Anything else.
    Other,
}

impl Cause {
    /// The name used in metrics and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect-failure",
            Self::RefusedStream => "refused-stream",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Other => "other",
        }
    }
}

/// An attempt that did not succeed, as a retry filter sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Index into the router's rules.
    pub rule: u32,
    /// 1 for the first.
    pub attempt: u32,
    /// Why.
    pub cause: Cause,
    /// 0 when no response head arrived.
    pub status: u16,
    /// `grpc-status` of a trailers-only response.
    pub grpc_status: Option<u32>,
    /// Since the exchange began.
    pub elapsed_ms: u32,
    /// Time to the deadline; 0: no deadline.
    pub remaining_ms: u32,
    /// By method (RFC 9110 §9.2).
    pub idempotent: bool,
    /// The host still has the complete body.
    pub replayable: bool,
    /// The upstream's `retry-after` (RFC 9110 §10.2.3).
    pub retry_after_ms: Option<u32>,
    /// Retries the budget still allows.
    pub budget_left: u32,
}

/// Whether and where to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryVerdict {
    /// The failure is final.
    GiveUp,
    /// After this many milliseconds, any endpoint.
    Again(u32),
    /// After this many milliseconds, an endpoint not tried yet.
    Elsewhere(u32),
}

/// A retry verdict and the rule id behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryDecision {
    /// What to do.
    pub verdict: RetryVerdict,
    /// Short rule id.
    pub reason: Option<String>,
}

/// Recent results of an upstream or endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// Length of the window.
    pub span_ms: u32,
    /// Attempts that succeeded.
    pub successes: u32,
    /// Attempts that failed, timeouts included.
    pub failures: u32,
    /// Failures by timeout.
    pub timeouts: u32,
    /// Attempts slower than the policy's threshold, failed or not.
    pub slow: u32,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Attempts in progress.
    pub in_flight: u32,
    /// Exponentially weighted moving average.
    pub ewma_latency_us: u32,
}

/// The state of a circuit; the host enforces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Circuit {
    /// All attempts pass.
    #[default]
    Closed,
    /// No attempt passes for this many milliseconds.
    Open(u32),
    /// This many probes pass.
    HalfOpen(u32),
}

/// What interned names denote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// A routing rule.
    Rule,
    /// A service.
    Upstream,
    /// One of its endpoints.
    Endpoint,
    /// A peer's SPIFFE id.
    Identity,
    /// A reason id.
    Reason,
    /// A filter attachment.
    Filter,
}

/// How an exchange ended: the bits of the contract's `outcome` flags, in the order of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome(pub u8);

impl Outcome {
    /// The client went away.
    pub const CLIENT_GONE: Self = Self(1);
    /// The last attempt failed.
    pub const UPSTREAM_FAILED: Self = Self(1 << 1);
    /// A deadline passed.
    pub const TIMED_OUT: Self = Self(1 << 2);
    /// A filter answered with a status of 400 or more, or failed.
    pub const REFUSED_BY_FILTER: Self = Self(1 << 3);
    /// There was more than one attempt.
    pub const RETRIED: Self = Self(1 << 4);
    /// A second attempt was started in parallel.
    pub const HEDGED: Self = Self(1 << 5);
    /// The exchange was reset midway.
    pub const RESET: Self = Self(1 << 6);

    /// Adds `other`'s bits.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all of `other`'s bits are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// How one exchange ended, for the filters that see its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExchangeEnding {
    /// How it ended.
    pub outcome: Outcome,
    /// As sent to the client; 0: no response was sent.
    pub status: u16,
    /// As sent; `None` when it is no gRPC.
    pub grpc_status: Option<u16>,
    /// From the complete head to the last byte sent.
    pub duration_us: u64,
    /// The part of it that was spent in attempts.
    pub upstream_us: u64,
    /// Attempts made.
    pub attempts: u32,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response body bytes.
    pub bytes_out: u64,
    /// The rule id behind it.
    pub reason: Option<String>,
}

/// A finished exchange: scalars and interned names only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// [`crate::Exchange::id`].
    pub exchange: u64,
    /// When the head was complete.
    pub start_unix_us: u64,
    /// Time to the last byte sent.
    pub duration_us: u32,
    /// Time of it spent in attempts.
    pub upstream_us: u32,
    /// As sent to the client.
    pub status: u16,
    /// As sent; `u16::MAX` when it is no gRPC.
    pub grpc_status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Number of attempts made.
    pub attempts: u32,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response body bytes.
    pub bytes_out: u64,
    /// Interned rule, or [`NONE`].
    pub rule: u32,
    /// Interned service, or [`NONE`].
    pub upstream: u32,
    /// Interned endpoint, or [`NONE`].
    pub endpoint: u32,
    /// Interned identity, or [`NONE`].
    pub peer: u32,
    /// Interned reason, or [`NONE`].
    pub reason: u32,
}

/// What a connection hook decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionDecision {
    /// What to do.
    pub verdict: ConnectionVerdict,
    /// Short rule id.
    pub reason: Option<String>,
}

/// Whether a connection may continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionVerdict {
    /// Continue.
    Allow,
    /// Close it.
    Deny,
    /// Forward its bytes to this backend.
    Tunnel(u32),
}

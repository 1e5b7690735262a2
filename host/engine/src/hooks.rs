//! The hooks that a component can export, and a few values that only callers of the engine need.

/// An interface of `tamis:filter` that the host calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Request head.
    Request,
    /// Request body.
    RequestBody,
    /// Response head.
    Response,
    /// Response body.
    ResponseBody,
    /// Chooses where a request goes.
    Router,
    /// Asked when an attempt failed.
    Retry,
    /// Plans a second attempt.
    Hedge,
    /// Opens and closes circuits.
    CircuitBreaker,
    /// Weighs endpoints.
    Balancer,
    /// Decides about trailers, in both directions.
    Trailers,
    /// Sees the end of an exchange.
    Finished,
    /// Receives finished exchanges.
    Telemetry,
    /// Decides about a new connection (layer 4).
    Connection,
    /// Timer.
    Tick,
}

impl Hook {
    /// In the order of the contract.
    pub const ALL: [Self; 14] = [
        Self::Request,
        Self::RequestBody,
        Self::Response,
        Self::ResponseBody,
        Self::Router,
        Self::Retry,
        Self::Hedge,
        Self::CircuitBreaker,
        Self::Balancer,
        Self::Trailers,
        Self::Finished,
        Self::Telemetry,
        Self::Connection,
        Self::Tick,
    ];

    /// The interface's name in the WIT.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::RequestBody => "request-body",
            Self::Response => "response",
            Self::ResponseBody => "response-body",
            Self::Router => "router",
            Self::Retry => "retry",
            Self::Hedge => "hedge",
            Self::CircuitBreaker => "circuit-breaker",
            Self::Balancer => "balancer",
            Self::Trailers => "trailers",
            Self::Finished => "finished",
            Self::Telemetry => "telemetry",
            Self::Connection => "connection",
            Self::Tick => "tick",
        }
    }

    /// The function that is called, as its author wrote it; where a hook has two functions, the name of the hook.
    pub fn function(self) -> &'static str {
        match self {
            Self::Request => "on-request",
            Self::RequestBody => "on-request-body",
            Self::Response => "on-response",
            Self::ResponseBody => "on-response-body",
            Self::Router => "on-route",
            Self::Retry => "on-failure",
            Self::Hedge => "plan",
            Self::CircuitBreaker => "evaluate",
            Self::Balancer => "weigh",
            Self::Trailers => "trailers",
            Self::Finished => "on-finished",
            Self::Telemetry => "telemetry",
            Self::Connection => "on-connection",
            Self::Tick => "on-tick",
        }
    }

    /// The hook with that WIT name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.as_str() == name)
    }
}

/// How much of a body a filter wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyMode {
    /// Nothing.
    #[default]
    None,
    /// The whole body up to the limit; the head is held.
    Buffered,
    /// Chunk by chunk.
    Chunks,
}

impl BodyMode {
    /// The name of the mode in the WIT.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Buffered => "buffered",
            Self::Chunks => "chunks",
        }
    }
}

/// Which responses a hook on response heads sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Responses {
    /// Responses of upstreams.
    #[default]
    Upstream,
    /// Responses that filters and the host write.
    Local,
    /// Every response that leaves.
    All,
}

impl Responses {
    /// The name in the WIT.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Local => "local",
            Self::All => "all",
        }
    }

    /// Whether responses of an upstream are among them.
    pub fn has_upstream(self) -> bool {
        matches!(self, Self::Upstream | Self::All)
    }

    /// Whether responses that are written in this proxy are among them.
    pub fn has_local(self) -> bool {
        matches!(self, Self::Local | Self::All)
    }
}

/// An endpoint as a balancer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointState {
    /// Interned endpoint.
    pub id: u32,
    /// As configured.
    pub configured_weight: u32,
    /// Attempts in progress.
    pub in_flight: u32,
    /// Exponentially weighted moving average.
    pub ewma_latency_us: u32,
    /// Successes in a thousand.
    pub success_permille: u32,
    /// Time since it was first seen.
    pub age_ms: u64,
    /// Always true: documents contain no zones.
    pub local_zone: bool,
}

/// Latency quantiles of a rule, for a hedge plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latencies {
    /// Index into the router's rules.
    pub rule: u32,
    /// Number of exchanges behind the quantiles.
    pub samples: u32,
    /// Median.
    pub p50_us: u32,
    /// 90 %.
    pub p90_us: u32,
    /// 95 %.
    pub p95_us: u32,
    /// 99 %.
    pub p99_us: u32,
}

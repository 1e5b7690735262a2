//! One trait for each hook. The WIT says when each is called; here are only the friendly shapes.

use crate::view::View;
use crate::{
    Filter, balancer, circuit_breaker, connection, hedge, request, request_body, response,
    response_body, retry, router, telemetry,
};

/// Decides about a request when its head is complete.
pub trait Request: Filter {
    /// Pass, change or answer.
    fn on_request(&mut self, seen: View<'_>) -> request::Decision;
}

/// Decides about a request body, as declared in `interest.request-body`.
pub trait RequestBody: Filter {
    /// `last` marks the end; with a buffered body there is one call.
    fn on_request_body(
        &mut self,
        exchange: u64,
        octets: &[u8],
        last: bool,
    ) -> request_body::Decision;
}

/// Decides about a response when its head is complete.
pub trait Response: Filter {
    /// Pass, change or answer instead.
    fn on_response(&mut self, seen: View<'_>) -> response::Decision;
}

/// Decides about a response body, as declared in `interest.response-body`.
pub trait ResponseBody: Filter {
    /// `last` marks the end; with a buffered body there is one call.
    fn on_response_body(
        &mut self,
        exchange: u64,
        octets: &[u8],
        last: bool,
    ) -> response_body::Decision;
}

/// Chooses where a request goes.
pub trait Router: Filter {
    /// Services this router may choose, as `namespace/name:port`.
    fn backends(&self) -> Vec<String>;
    /// Names of its rules, `namespace/route/rule`: filters that hang on a rule are found by its name.
    fn rules(&self) -> Vec<String>;
    /// Forward, answer, or nothing matched.
    fn on_route(&mut self, seen: View<'_>) -> router::Choice;
}

/// Asked when an attempt did not succeed.
pub trait Retry: Filter {
    /// HTTP statuses and gRPC codes that count as failure although a response arrived.
    fn failing_statuses(&self) -> (Vec<u16>, Vec<u32>);
    /// Give up, or try again.
    fn on_failure(&mut self, failure: retry::Failure, seen: View<'_>) -> retry::Decision;
}

/// Decides when a second attempt starts.
pub trait Hedge: Filter {
    /// Delay in microseconds, none for no hedging.
    fn plan(&mut self, seen: hedge::Latencies) -> Option<u32>;
}

/// Moves circuits.
pub trait CircuitBreaker: Filter {
    /// The circuit from now on; `endpoint` is never none.
    fn evaluate(
        &mut self,
        upstream: u32,
        endpoint: Option<u32>,
        seen: circuit_breaker::Window,
        now: circuit_breaker::Circuit,
    ) -> circuit_breaker::Circuit;
}

/// Weighs endpoints.
pub trait Balancer: Filter {
    /// One weight per endpoint, in order; 0 takes it out.
    fn weigh(&mut self, upstream: u32, endpoints: &[balancer::EndpointState]) -> Vec<u32>;
}

/// Sees finished exchanges in batches.
pub trait Telemetry: Filter {
    /// New interned names, numbered from `first`, before a batch that uses them.
    fn on_names(&mut self, kind: telemetry::NameKind, first: u32, names: Vec<String>);
    /// Finished exchanges.
    fn on_exchanges(&mut self, batch: &[telemetry::Summary]);
}

/// Decides about a connection before anything of it is read.
pub trait Connection: Filter {
    /// Backends of [`connection::Verdict::Tunnel`].
    fn backends(&self) -> Vec<String>;
    /// Allow, deny or tunnel.
    fn on_connection(&mut self, seen: View<'_>) -> connection::Decision;
}

/// Background work.
pub trait Tick: Filter {
    /// Delay to the next call in milliseconds (at least 100), none to stop.
    fn on_tick(&mut self) -> Option<u32>;
}

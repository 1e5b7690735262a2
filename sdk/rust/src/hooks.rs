//! One trait for each hook. The WIT defines when each is called; the traits only offer more convenient
//! types.

use crate::kept::Kept;
use crate::view::View;
use crate::{
    Filter, balancer, circuit_breaker, connection, finished, hedge, request, request_body,
    response, response_body, retry, router, telemetry, trailers,
};

/// Decides about a request when its head is complete.
pub trait Request: Filter {
    /// Pass, change or answer.
    fn on_request(&mut self, seen: View<'_>) -> request::Decision;
}

/// Decides about a request body, as declared in `interest.request-body`.
pub trait RequestBody: Filter {
    /// Receives one chunk of the body; `last` is true for the final chunk. A buffered body arrives whole, in one call.
    fn on_request_body(
        &mut self,
        seen: View<'_>,
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
    /// Receives one chunk of the body; `last` is true for the final chunk. A buffered body arrives whole, in one call.
    fn on_response_body(
        &mut self,
        seen: View<'_>,
        octets: &[u8],
        last: bool,
    ) -> response_body::Decision;
}

/// Chooses the service that a request is sent to.
pub trait Router: Filter {
    /// Services this router may choose, as `namespace/name:port`.
    fn backends(&self) -> Vec<String>;
    /// Names of its rules, `namespace/route/rule`: filters attached to a rule are found by its name.
    fn rules(&self) -> Vec<String>;
    /// Forward, answer, or no match.
    fn on_route(&mut self, seen: View<'_>) -> router::Choice;
}

/// Decides about retries; called only when an attempt did not succeed.
pub trait Retry: Filter {
    /// HTTP and gRPC status codes that count as failure although a response arrived.
    fn failing_statuses(&self) -> (Vec<u16>, Vec<u32>);
    /// Give up, or retry.
    fn on_failure(&mut self, failure: retry::Failure, seen: View<'_>) -> retry::Decision;
}

/// Decides when a second attempt starts.
pub trait Hedge: Filter {
    /// Delay in microseconds; `None`: no second attempt.
    fn plan(&mut self, seen: hedge::Latencies) -> Option<u32>;
}

/// Opens and closes circuits.
pub trait CircuitBreaker: Filter {
    /// The next state of the circuit; `endpoint` is always `Some`.
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

/// Decides about trailers, in one direction or both.
pub trait Trailers: Filter {
    /// Pass or change those of a request; without this function they pass.
    fn on_request_trailers(&mut self, _seen: View<'_>) -> trailers::Decision {
        trailers::Decision::pass()
    }
    /// Pass or change those of a response; without this function they pass.
    fn on_response_trailers(&mut self, _seen: View<'_>) -> trailers::Decision {
        trailers::Decision::pass()
    }
}

/// Sees the end of each exchange.
pub trait Finished: Filter {
    /// The request, with the status that was sent, and how the exchange ended.
    fn on_finished(&mut self, seen: View<'_>, how: finished::Ending);
}

/// Sees finished exchanges in batches.
pub trait Telemetry: Filter {
    /// New interned names, numbered from `first`, before a batch that uses them.
    fn on_names(&mut self, kind: telemetry::NameKind, first: u32, names: Vec<String>);
    /// Finished exchanges, and what they had in the declared fields.
    fn on_exchanges(&mut self, batch: &[telemetry::Summary], kept: Kept<'_>);
}

/// Decides about a connection before anything is read from it.
pub trait Connection: Filter {
    /// Services that [`connection::Verdict::Tunnel`] may name.
    fn backends(&self) -> Vec<String>;
    /// Allow, deny or tunnel.
    fn on_connection(&mut self, seen: View<'_>) -> connection::Decision;
}

/// Background work.
pub trait Tick: Filter {
    /// Delay to the next call in milliseconds (at least 100); `None`: no further call.
    fn on_tick(&mut self) -> Option<u32>;
}

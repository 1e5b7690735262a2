//! A step of a case.

use crate::event::{
    Attempt, BalancerEvent, CircuitEvent, ConnectionEvent, ExchangeEnding, Quantiles, Request,
    Response, TelemetryEvent, TickEvent,
};
use crate::expect::Expect;
use schemars::JsonSchema;
use serde::Deserialize;
use tamis_resources::Millis;

/// One step of a case: the time that passes before, at most one event, and the expected result.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct CaseStep {
    /// Time that passes before the event, such as `1s`: both clocks of the filter move.
    pub(crate) wait: Option<Millis>,
    /// How often the event happens, each time with the same expected result. Default: 1.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) times: Option<u32>,
    /// Request of the client. Default: `GET /` of `https://test.example`.
    pub(crate) request: Option<Request>,
    /// Response to the request; with it, hooks on responses run too.
    pub(crate) response: Option<Response>,
    /// How the exchange ends, where that differs from what the case shows.
    pub(crate) finished: Option<ExchangeEnding>,
    /// An attempt that did not succeed, of this step's request.
    pub(crate) retry: Option<Attempt>,
    /// Latencies of a rule, for which a second attempt is planned.
    pub(crate) hedge: Option<Quantiles>,
    /// Recent results of an upstream, and its circuit.
    pub(crate) circuit_breaker: Option<CircuitEvent>,
    /// Endpoints of an upstream.
    pub(crate) balancer: Option<BalancerEvent>,
    /// Finished exchanges, in one batch.
    pub(crate) telemetry: Option<TelemetryEvent>,
    /// A new connection.
    pub(crate) connection: Option<ConnectionEvent>,
    /// The timer: `{}`.
    pub(crate) tick: Option<TickEvent>,
    /// Expected result; needed unless the step only waits.
    pub(crate) expect: Option<Expect>,
}

impl CaseStep {
    /// The names of its events other than a request.
    pub(crate) fn events(&self) -> Vec<&'static str> {
        let there = [
            ("retry", self.retry.is_some()),
            ("hedge", self.hedge.is_some()),
            ("circuitBreaker", self.circuit_breaker.is_some()),
            ("balancer", self.balancer.is_some()),
            ("telemetry", self.telemetry.is_some()),
            ("connection", self.connection.is_some()),
            ("tick", self.tick.is_some()),
        ];
        there.into_iter().filter(|one| one.1).map(|one| one.0).collect()
    }

    /// Whether only time passes.
    pub(crate) fn only_waits(&self) -> bool {
        let exchange = self.request.is_some() || self.response.is_some() || self.finished.is_some();
        self.wait.is_some() && !exchange && self.events().is_empty() && self.expect.is_none()
    }
}

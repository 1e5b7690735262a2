//! A balancer's view of endpoints, and the check of its weights.

use crate::endpoints::Endpoint;
use std::time::Duration;

/// The current state of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointView {
    /// Its address.
    pub name: String,
    /// The configured weight.
    pub configured_weight: u32,
    /// Attempts in progress, of all workers.
    pub in_flight: u32,
    /// Average time to a response head; 0 while unknown.
    pub ewma_latency_us: u32,
    /// Recent attempts that succeeded, in a thousand; 1000 without attempts.
    pub success_permille: u32,
    /// Time since it was first seen.
    pub age: Duration,
}

/// Weights that are not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// There is not one per endpoint.
    #[error("{weights} weights for {endpoints} endpoints; give one for each, in their order")]
    Count {
        /// The number of endpoints.
        endpoints: usize,
        /// The number of weights.
        weights: usize,
    },
    /// All weights would be 0.
    #[error(
        "no endpoint would be left; give a weight to at least one endpoint whose configured weight is not 0"
    )]
    None,
}

impl EndpointView {
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        let window = endpoint.state.window();
        let (good, bad) = (u64::from(window.successes), u64::from(window.failures));
        let permille = (good * 1000).checked_div(good + bad).unwrap_or(1000);
        Self {
            name: endpoint.state.name.to_string(),
            configured_weight: endpoint.configured,
            in_flight: window.in_flight,
            ewma_latency_us: window.ewma_latency_us,
            success_permille: u32::try_from(permille).unwrap_or(1000),
            age: endpoint.state.age(),
        }
    }
}

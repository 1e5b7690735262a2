//! What a balancer sees of endpoints, and what it may not answer.

use crate::endpoints::Endpoint;
use std::time::Duration;

/// An endpoint as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointView {
    /// Its address.
    pub name: String,
    /// As the operator said.
    pub configured_weight: u32,
    /// Attempts under way, those of all workers.
    pub in_flight: u32,
    /// Average time to a response head; 0 while nothing is known.
    pub ewma_latency_us: u32,
    /// Attempts that succeeded lately, in a thousand; 1000 when there were none.
    pub success_permille: u32,
    /// Since it was first seen.
    pub age: Duration,
}

/// Weights that are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsRefused {
    /// Not one for each endpoint.
    #[error("{weights} weights for {endpoints} endpoints; give one for each, in their order")]
    Count {
        /// How many there are.
        endpoints: usize,
        /// How many came.
        weights: usize,
    },
    /// Nothing could be picked any more.
    #[error("no endpoint would be left; give at least one that the operator uses a weight")]
    None,
}

impl EndpointView {
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        let window = endpoint.state.window();
        let (good, bad) = (u64::from(window.successes), u64::from(window.failures));
        let permille = (good * 1000).checked_div(good + bad).unwrap_or(1000);
        Self {
            name: endpoint.state.name.clone(),
            configured_weight: endpoint.configured,
            in_flight: window.in_flight,
            ewma_latency_us: window.ewma_latency_us,
            success_permille: u32::try_from(permille).unwrap_or(1000),
            age: endpoint.state.age(),
        }
    }
}

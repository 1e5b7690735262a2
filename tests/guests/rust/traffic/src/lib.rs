//! A filter that hedges, weighs and tunnels as configured: policies for which there are no built-in filters.

use tamis_sdk::balancer::EndpointState;
use tamis_sdk::{
    Balancer, ConfigError, Connection, Filter, Hedge, Interest, View, connection, hedge,
};

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Traffic {
    /// Hedge after so many microseconds.
    hedge_after_us: Option<u32>,
    /// Hedge after the 95th percentile, once so many exchanges were seen.
    hedge_after_p95_of: Option<u32>,
    /// One weight for each endpoint, in order.
    weights: Option<Vec<u32>>,
    /// Take out whatever is this many times slower than the fastest.
    out_when_slower: Option<u32>,
    /// Send connections to the first of these.
    tunnel: Vec<String>,
    /// Send them to the backend of this number, whether there is one or not.
    backend: u32,
    /// Close connections.
    deny: bool,
}

impl Filter for Traffic {
    type Settings = Self;
    const SCHEMA: &'static str = r#"{"type":"object"}"#;

    fn configure(settings: Self) -> Result<(Self, Interest), Vec<ConfigError>> {
        Ok((settings, Interest::reading(["@source.address"])))
    }
}

impl Hedge for Traffic {
    fn plan(&mut self, seen: hedge::Latencies) -> Option<u32> {
        match self.hedge_after_p95_of {
            Some(samples) => (seen.samples >= samples).then_some(seen.p95_us),
            None => self.hedge_after_us,
        }
    }
}

impl Balancer for Traffic {
    fn weigh(&mut self, _upstream: u32, endpoints: &[EndpointState]) -> Vec<u32> {
        if let Some(weights) = &self.weights {
            return weights.clone();
        }
        let known = endpoints.iter().map(|one| one.ewma_latency_us).filter(|us| *us > 0);
        let fastest = known.min().unwrap_or(0);
        let is_out = |one: &EndpointState| {
            self.out_when_slower
                .is_some_and(|times| one.ewma_latency_us > fastest.saturating_mul(times))
        };
        endpoints.iter().map(|one| if is_out(one) { 0 } else { one.configured_weight }).collect()
    }
}

impl Connection for Traffic {
    fn backends(&self) -> Vec<String> {
        self.tunnel.clone()
    }

    fn on_connection(&mut self, seen: View<'_>) -> connection::Decision {
        let local = seen.attribute("@source.address") == Some("127.0.0.1");
        let verdict = match (self.deny, self.tunnel.is_empty()) {
            (true, _) => connection::Verdict::Deny,
            (false, false) if local => connection::Verdict::Tunnel(self.backend),
            (false, _) => connection::Verdict::Allow,
        };
        connection::Decision::from(verdict).because("traffic.told")
    }
}

tamis_sdk::export!(Traffic: hedge, balancer, connection);

//! `UpstreamPolicy`: how a service is reached. Each limit has its one home here.

use crate::format::Millis;

words! {
    /// How an endpoint is picked.
    #[serde(rename_all = "kebab-case")]
    #[derive(Default, Hash)]
    pub enum Algorithm {
        /// The less busy of two picked at random.
        #[default]
        P2c,
        /// In turn.
        RoundRobin,
    }
    /// What a policy is about.
    pub enum PolicyTargetKind {
        /// A `Service`.
        Service,
    }
}

shapes! {
    /// How services are reached.
    pub struct UpstreamPolicySpec {
        /// Services of the policy's namespace.
        #[schemars(length(min = 1))]
        pub target_refs: Vec<PolicyTarget>,
        /// How an endpoint is picked.
        pub load_balancing: Option<LoadBalancing>,
        /// Longest time until a connection stands; 1s when not said.
        pub connect_timeout: Option<Millis>,
        /// How long an unused connection is kept; 60s when not said.
        pub idle_timeout: Option<Millis>,
        /// Connections to an endpoint; 1024 when not said.
        #[schemars(range(min = 1))]
        pub max_connections: Option<u32>,
        /// Requests that wait for a connection; 1024 when not said.
        pub max_pending: Option<u32>,
        /// Requests under way; no limit when not said.
        #[schemars(range(min = 1))]
        pub max_requests: Option<u32>,
        /// An answer that takes longer is slow to the circuit breaker; 1s when not said.
        pub slow_call: Option<Millis>,
        /// How far back outcomes count; 10s when not said.
        pub stats_window: Option<Millis>,
        /// How much retries may add.
        pub retry_budget: Option<RetryBudget>,
        /// Time between two TCP probes of a silent connection; none when not said.
        pub keep_alive: Option<Millis>,
    }
    /// A service the policy is about.
    pub struct PolicyTarget {
        /// Group of the kind; taken as it is.
        pub group: Option<String>,
        /// `Service`.
        pub kind: PolicyTargetKind,
        /// Its name.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
    }
    /// How an endpoint is picked.
    pub struct LoadBalancing {
        /// `p2c` when not said.
        #[serde(default)]
        pub algorithm: Algorithm,
    }
    /// How much retries may add.
    pub struct RetryBudget {
        /// Of the requests; 20 when not said.
        #[schemars(range(max = 100))]
        pub percent: Option<u32>,
        /// Always allowed in a second; 10 when not said.
        pub min_per_second: Option<u32>,
    }
}

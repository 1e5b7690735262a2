//! `UpstreamPolicy`: how a service is reached. Each limit has its one home here.

use crate::format::Millis;

words! {
    /// How an endpoint is picked.
    #[serde(rename_all = "kebab-case")]
    #[derive(Default, Hash)]
    pub enum Algorithm {
        /// The less busy of two picked at random; one that answers much slower counts as busier.
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
        /// Time between two probes of a silent connection: pings of HTTP/2, TCP keep-alive of HTTP/1.1. Without it, no probes.
        pub keep_alive: Option<Millis>,
        /// The most fields in the head of a response; 100 when not said. A response with more is 502 `upstream.protocol`.
        #[schemars(range(min = 1, max = 1000))]
        pub max_response_fields: Option<u32>,
        /// The longest head of a response, in bytes, and all its interim heads (1xx) together; 65536 when not said. A longer
        /// one is 502 `upstream.protocol`.
        #[schemars(range(min = 1024, max = 1_048_576))]
        pub max_response_head_bytes: Option<u32>,
        /// When endpoints that fail are left out.
        pub ejection: Option<Ejection>,
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
        /// A field of the request, in lower case: requests with the same value of it go to the same endpoint while its
        /// circuit is closed (rendezvous hashing); those without it go by `algorithm`. None when not said.
        #[schemars(length(min = 1, max = 128), regex(pattern = "^[a-z0-9!#$%&'*+.^_`|~-]+$"))]
        pub hash_header: Option<String>,
    }
    /// When endpoints whose circuits are open are left out.
    pub struct Ejection {
        /// Of the endpoints, the share whose circuits may be open at once, in percent, rounded down; 50 when not said. So
        /// the only endpoint of a service is never left out, unless this is 100.
        #[schemars(range(max = 100))]
        pub max_percent: Option<u32>,
        /// With a smaller share of endpoints whose circuits are closed, in percent, requests go to all of them again: an
        /// endpoint in trouble is better than none. 50 when not said; 0 answers 503 `circuit.open` instead.
        #[schemars(range(max = 100))]
        pub panic_threshold: Option<u32>,
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

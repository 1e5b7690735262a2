//! `UpstreamPolicy`: how a service is reached. Every limit for upstreams is set here.

use crate::format::Millis;

words! {
    /// How an endpoint is picked.
    #[serde(rename_all = "kebab-case")]
    #[derive(Default, Hash)]
    pub enum Algorithm {
        /// The less busy of two endpoints picked at random; a much slower one counts as busier.
        #[default]
        P2c,
        /// In turn.
        RoundRobin,
    }
    /// Kind of target.
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
        /// Time limit for connecting; default: 1s.
        pub connect_timeout: Option<Millis>,
        /// How long an unused connection is kept; default: 60s.
        pub idle_timeout: Option<Millis>,
        /// Connections to an endpoint; default: 1024.
        #[schemars(range(min = 1))]
        pub max_connections: Option<u32>,
        /// Requests that wait for a connection; default: 1024.
        pub max_pending: Option<u32>,
        /// Requests in progress; default: no limit.
        #[schemars(range(min = 1))]
        pub max_requests: Option<u32>,
        /// A response that takes longer counts as slow for the circuit breaker; default: 1s.
        pub slow_call: Option<Millis>,
        /// Time window of the statistics; default: 10s.
        pub stats_window: Option<Millis>,
        /// Load that retries may add.
        pub retry_budget: Option<RetryBudget>,
        /// Interval between probes of a silent connection: HTTP/2 pings, or TCP keep-alive for HTTP/1.1.
        /// Default: no probes.
        pub keep_alive: Option<Millis>,
        /// Most fields in the head of a response; default: 100. A response with more gets 502
        /// `upstream.protocol`.
        #[schemars(range(min = 1, max = 1000))]
        pub max_response_fields: Option<u32>,
        /// Longest head of a response, in bytes, including all its interim heads (1xx); default: 65536. A
        /// longer one gets 502 `upstream.protocol`.
        #[schemars(range(min = 1024, max = 1_048_576))]
        pub max_response_head_bytes: Option<u32>,
        /// When failing endpoints are left out.
        pub ejection: Option<Ejection>,
    }
    /// A service that the policy applies to.
    pub struct PolicyTarget {
        /// Group of the kind; ignored.
        pub group: Option<String>,
        /// `Service`.
        pub kind: PolicyTargetKind,
        /// Its name.
        #[schemars(extend("format" = "resource-name"))]
        pub name: String,
    }
    /// How an endpoint is picked.
    pub struct LoadBalancing {
        /// Default: `p2c`.
        #[serde(default)]
        pub algorithm: Algorithm,
        /// A request header, in lower case: requests with the same value go to the same endpoint while its
        /// circuit is closed (rendezvous hashing); requests without it follow `algorithm`. Default: no such
        /// header.
        #[schemars(length(min = 1, max = 128), regex(pattern = "^[a-z0-9!#$%&'*+.^_`|~-]+$"))]
        pub hash_header: Option<String>,
    }
    /// When endpoints with open circuits are left out.
    pub struct Ejection {
        /// Largest share of the endpoints whose circuits may be open at once, in percent, rounded down;
        /// default: 50. So the only endpoint of a service is never left out, unless this is 100.
        #[schemars(range(max = 100))]
        pub max_percent: Option<u32>,
        /// If the share of endpoints with closed circuits is below this, in percent, requests go to all
        /// endpoints again: a failing endpoint is better than no endpoint. Default: 50; with 0 the response
        /// is 503 `circuit.open` instead.
        #[schemars(range(max = 100))]
        pub panic_threshold: Option<u32>,
    }
    /// Load that retries may add.
    pub struct RetryBudget {
        /// Percent of the requests; default: 20.
        #[schemars(range(max = 100))]
        pub percent: Option<u32>,
        /// Retries per second that are always allowed; default: 10.
        pub min_per_second: Option<u32>,
    }
}

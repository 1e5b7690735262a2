//! What a generation says about services. Immutable.

use http::HeaderName;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tamis_transport::{Address, ClientTls, ResponseLimits};

/// One port of a service as this proxy reaches it.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// `namespace/name:port`.
    pub name: String,
    /// What its endpoints speak.
    pub protocol: Protocol,
    /// Where it runs.
    pub endpoints: Vec<EndpointConfig>,
    /// How it is reached.
    pub policy: Policy,
}

/// What endpoints speak. Known by configuration, never guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by ALPN with TLS and by prior knowledge without.
    Http2,
}

/// One place where a service runs; a name may stand for several addresses.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Where.
    pub target: Target,
    /// Share of traffic against the others; 0 takes none.
    pub weight: u32,
    /// TLS, if any.
    pub tls: Option<Arc<ClientTls>>,
    /// Tells settings of `tls` apart: connections are shared among equal ones only.
    pub tls_key: String,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address.
    Address(Address),
    /// A name; all its addresses are endpoints.
    Dns {
        /// Name to resolve.
        host: String,
        /// Port at each address.
        port: u16,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Dns { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// How an endpoint is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// The better of two random ones (Mitzenmacher 2001), by requests in flight and, where one answers much slower,
    /// by latency.
    #[default]
    P2c,
    /// In turn, by weight.
    RoundRobin,
}

/// Limits and times of a service.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How an endpoint is picked when neither the router nor `hash_header` gave a hash.
    pub algorithm: Algorithm,
    /// Requests with the same value of this field go to the same endpoint while it is there.
    pub hash_header: Option<HeaderName>,
    /// Until a connection stands, handshakes included.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// HTTP/1.1 connections to an endpoint, all workers together.
    pub max_connections: u32,
    /// Requests of a worker that wait for one of them.
    pub max_pending: u32,
    /// Requests under way to the service, all workers together.
    pub max_requests: Option<u32>,
    /// An answer later than this is slow.
    pub slow_call: Duration,
    /// How far back outcomes count.
    pub stats_window: Duration,
    /// Retries, in percent of requests.
    pub retry_percent: u32,
    /// Retries allowed in a second whatever the requests.
    pub retry_min_per_second: u32,
    /// Between two probes of a silent connection: pings of HTTP/2, TCP's own of HTTP/1.1.
    pub keep_alive: Option<Duration>,
    /// What a response may cost beside its content.
    pub response: ResponseLimits,
    /// Of the endpoints, the share whose circuits may be open at once, in percent, rounded down.
    pub max_ejected_percent: u32,
    /// With a smaller share of endpoints whose circuits are closed, in percent, circuits are not looked at: an endpoint
    /// in trouble is better than none.
    pub panic_percent: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::P2c,
            hash_header: None,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(60),
            max_connections: 1_024,
            max_pending: 1_024,
            max_requests: None,
            slow_call: Duration::from_secs(1),
            stats_window: Duration::from_secs(10),
            retry_percent: 20,
            retry_min_per_second: 10,
            keep_alive: None,
            response: ResponseLimits::default(),
            max_ejected_percent: 50,
            panic_percent: 50,
        }
    }
}

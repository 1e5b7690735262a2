//! The configuration of services in a generation. Immutable.

use http::HeaderName;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tamis_transport::{Address, ClientTls, ResponseLimits, TcpPort};

/// One port of a service as this proxy reaches it.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// `namespace/name:port`.
    pub name: String,
    /// The protocol of its endpoints.
    pub protocol: Protocol,
    /// Its endpoints.
    pub endpoints: Vec<EndpointConfig>,
    /// How it is reached.
    pub settings: ServiceSettings,
}

/// The protocol of endpoints. Always configured, never guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by ALPN with TLS and by prior knowledge without.
    Http2,
    /// An opaque port, asked for by ALPN with TLS: no request is ever sent there.
    Tcp(TcpPort),
}

/// An endpoint of a service; a name may stand for several addresses.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Its address or name.
    pub target: EndpointTarget,
    /// Share of traffic relative to the others; 0 means none.
    pub weight: u32,
    /// TLS, if any.
    pub tls: Option<Arc<ClientTls>>,
    /// Identifies settings of `tls`: only equal ones share connections.
    pub tls_key: String,
}

/// The address or name of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointTarget {
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

impl fmt::Display for EndpointTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Dns { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// How an endpoint is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PickAlgorithm {
    /// The better of two random ones (Mitzenmacher 2001), by requests in flight and, where one answers much slower,
    /// by latency.
    #[default]
    P2c,
    /// In turn, by weight.
    RoundRobin,
}

/// Limits and timeouts of a service.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// How an endpoint is picked when neither the router nor `hash_header` provides a hash.
    pub algorithm: PickAlgorithm,
    /// Requests with the same value of this field go to the same endpoint as long as it exists.
    pub hash_header: Option<HeaderName>,
    /// Time limit for connecting, handshakes included.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// HTTP/1.1 connections to an endpoint, all workers together.
    pub max_connections: u32,
    /// Requests of a worker that wait for one of them.
    pub max_pending: u32,
    /// Requests in progress to the service, all workers together.
    pub max_requests: Option<u32>,
    /// A response later than this counts as slow.
    pub slow_call: Duration,
    /// Time window of the statistics.
    pub stats_window: Duration,
    /// Retries, in percent of requests.
    pub retry_percent: u32,
    /// Retries per second that are always allowed.
    pub retry_min_per_second: u32,
    /// Interval between probes of a silent connection: HTTP/2 pings, or TCP keep-alive for HTTP/1.1.
    pub keep_alive: Option<Duration>,
    /// The budget of a response in addition to its content.
    pub response: ResponseLimits,
    /// Largest share of the endpoints whose circuits may be open at once, in percent, rounded down.
    pub max_ejected_percent: u32,
    /// With a smaller share of endpoints with closed circuits, in percent, circuits are ignored: a failing
    /// endpoint is better than no endpoint.
    pub panic_percent: u32,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            algorithm: PickAlgorithm::P2c,
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

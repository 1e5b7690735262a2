//! The requests that filters send, as the embedder of the engine sees them.

use http::{HeaderMap, StatusCode};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tamis_exchange::TRAILER;

/// A request that the grant allows. Do not follow redirects: their target was not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// Method, a token.
    pub method: String,
    /// Absolute URL, `https:` or (when granted) `http:`; that of a service is `http:`, whatever carries it.
    pub url: String,
    /// Lower-case names; no framing headers, no `host`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Complete.
    pub body: Vec<u8>,
    /// For connection, request and answer together.
    pub timeout: Duration,
    /// A longer response gives [`FetchFailure::TooLarge`].
    pub max_bytes: usize,
    /// Where it goes.
    pub target: FetchTarget,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchTarget {
    /// To the host that its URL names.
    Host {
        /// Authorities that the host's certificate has to be of, in PEM; none: those of the machine.
        ca: Option<Arc<str>>,
    },
    /// To a service of the mesh, with the identity of the proxy.
    Service {
        /// `namespace/name`.
        service: String,
        /// One of its ports; `None`: its first.
        port: Option<u16>,
    },
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchResponse {
    /// Final status, not 1xx.
    pub status: u16,
    /// Lower-case names; those of trailers begin with `trailer:`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Complete.
    pub body: Vec<u8>,
}

impl FetchResponse {
    /// A response with these fields, in their order, and the trailers after them.
    pub fn new(
        status: StatusCode,
        headers: &HeaderMap,
        trailers: Option<&HeaderMap>,
        body: Vec<u8>,
    ) -> Self {
        let plain = headers.iter().map(|(name, value)| (name.as_str().to_owned(), value));
        let trailers = trailers.into_iter().flatten();
        let late = trailers.map(|(name, value)| (format!("{TRAILER}{name}"), value));
        let fields = plain.chain(late).map(|(name, value)| (name, value.as_bytes().to_vec()));
        Self { status: status.as_u16(), headers: fields.collect(), body }
    }
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailure {
    /// No connection, or the connection broke.
    #[error("no connection: {0}")]
    Connect(String),
    /// The timeout passed.
    #[error("no answer in time")]
    Timeout,
    /// The response is longer than allowed.
    #[error("the answer is too large")]
    TooLarge,
}

/// A fetch in progress.
pub type FetchFuture = Pin<Box<dyn Future<Output = Result<FetchResponse, FetchFailure>> + Send>>;

/// Sends requests for filters.
pub trait HttpFetch: Send + Sync {
    /// Sends one; respects its timeout and size. Dropping the future cancels the request.
    fn fetch(&self, request: FetchRequest) -> FetchFuture;
}

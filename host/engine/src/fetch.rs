//! The requests that filters send, as the embedder of the engine sees them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A request that the grant allows. Do not follow redirects: their target was not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// Method, a token.
    pub method: String,
    /// Absolute URL, `https:` or (when granted) `http:`.
    pub url: String,
    /// Lower-case names; no framing headers, no `host`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Complete.
    pub body: Vec<u8>,
    /// For connection, request and answer together.
    pub timeout: Duration,
    /// A longer response gives [`FetchFailure::TooLarge`].
    pub max_bytes: usize,
    /// Authorities that the host's certificate has to be of, in PEM; none: those of the machine.
    pub ca: Option<Arc<str>>,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchResponse {
    /// Final status, not 1xx.
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Complete.
    pub body: Vec<u8>,
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

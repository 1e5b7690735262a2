//! A request that could not be served.

/// Who has to act so that the request can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client: the request itself is wrong.
    Client,
    /// A filter refused it or failed.
    Filter,
    /// The service behind.
    Upstream,
    /// This proxy or its configuration.
    Host,
}

/// Why a request was not served. Only the proxy's `refuse` turns it into a response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// Stable id with a page in the reference, such as `route.unmatched`. Sent as `x-tamis-reason`.
    pub code: &'static str,
    /// Status of the response.
    pub status: u16,
    /// Who has to act.
    pub fault: Fault,
    /// For the record only, never sent.
    pub detail: String,
}

impl Refusal {
    /// A refusal with that code and status.
    pub fn new(code: &'static str, status: u16, fault: Fault, detail: impl Into<String>) -> Self {
        Self { code, status, fault, detail: detail.into() }
    }
}

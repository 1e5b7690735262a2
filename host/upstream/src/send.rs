//! A request as an endpoint receives it, and the failure to send it.

use http::Request;
use tamis_exchange::{Body, Cause};
use tamis_transport::OutgoingRequest;

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct SendFailure {
    /// For the retry filter.
    pub cause: Cause,
    /// For people.
    pub detail: String,
    /// Nothing of the request was sent, or the upstream states that it did not process it: it can be sent
    /// again, whatever its method.
    pub untouched: bool,
    /// The upstream sent something that is not a valid response. Another attempt would get the same.
    pub protocol: bool,
    /// There is as much to the endpoint already as there may be. The endpoint has no part in it.
    pub limit: Option<EndpointLimit>,
}

/// A limit on what is under way to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointLimit {
    /// On connections, or on those of one caller.
    Connections,
    /// On tunnels.
    Tunnels,
    /// On requests that wait for one of its connections.
    Waiting,
}

impl SendFailure {
    pub(crate) fn new(cause: Cause, detail: String) -> Self {
        Self { cause, detail, untouched: false, protocol: false, limit: None }
    }

    pub(crate) fn untouched(cause: Cause, detail: String) -> Self {
        Self { cause, detail, untouched: true, protocol: false, limit: None }
    }

    pub(crate) fn protocol(detail: String) -> Self {
        Self { cause: Cause::Other, detail, untouched: false, protocol: true, limit: None }
    }

    /// No place is left for one more tunnel.
    pub(crate) fn tunnels(detail: String) -> Self {
        Self::limited(EndpointLimit::Tunnels, detail)
    }

    /// No place is left for one more connection, or for one of its caller.
    pub(crate) fn connections(detail: String) -> Self {
        Self::limited(EndpointLimit::Connections, detail)
    }

    /// No place is left for one more request that waits for a connection.
    pub(crate) fn waiting(detail: String) -> Self {
        Self::limited(EndpointLimit::Waiting, detail)
    }

    fn limited(limit: EndpointLimit, detail: String) -> Self {
        Self { limit: Some(limit), ..Self::untouched(Cause::Other, detail) }
    }
}

/// A request to an endpoint.
#[derive(Debug)]
pub enum UpstreamRequest {
    /// Its target is absolute.
    Parts(Request<Body>),
    /// As HTTP/1.1 writes it.
    Written(OutgoingRequest<Body>),
}

impl From<Request<Body>> for UpstreamRequest {
    fn from(request: Request<Body>) -> Self {
        Self::Parts(request)
    }
}

impl UpstreamRequest {
    pub(crate) fn written(self) -> OutgoingRequest<Body> {
        match self {
            Self::Parts(request) => OutgoingRequest::new(request),
            Self::Written(request) => request,
        }
    }
}

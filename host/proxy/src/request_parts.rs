//! The parts of a request that do not belong to its exchange.

use crate::heads::Origin;
use crate::upgrade::Upgrade;
use std::sync::Arc;
use tamis_exchange::Exchange;
use tamis_transport::InterimSender;

/// Parts of a request that are forwarded without being part of its exchange.
#[derive(Default)]
pub(crate) struct RequestParts {
    pub(crate) upgrade: Option<Upgrade>,
    /// Its client asks for a tunnel by CONNECT: a 2xx says that it is open, whatever else the response says
    /// (RFC 9110 §9.3.6, RFC 8441 §5).
    pub(crate) connects: bool,
    /// The client accepts trailers (`te: trailers`).
    pub(crate) trailers: bool,
    /// Whether this proxy made it.
    pub(crate) origin: Origin,
    /// Where interim responses go.
    pub(crate) interim: InterimSender,
    /// Where another host routed the request than the one that the client wrote.
    pub(crate) host: Option<WrittenHost>,
}

/// A host that a client wrote and that routed nothing. Upstreams receive it, unless a filter set another one.
pub(crate) struct WrittenHost {
    /// As the client wrote it, normalised.
    pub(crate) written: String,
    /// The one that routed the request.
    pub(crate) routed: Arc<str>,
}

impl RequestParts {
    /// The host to send instead of the one that routed the request.
    pub(crate) fn host(&self, exchange: &Exchange) -> Option<&str> {
        let host = self.host.as_ref().filter(|host| *exchange.authority == *host.routed)?;
        Some(&host.written)
    }
}

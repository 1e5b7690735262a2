//! A failed attempt.

use http::Response;
use hyper::body::Incoming;
use tamis_exchange::{Cause, Refusal};

/// Why an attempt failed, and the response or error that remains of it.
pub(crate) struct AttemptFailure {
    pub(crate) cause: Cause,
    pub(crate) response: Option<Box<Response<Incoming>>>,
    pub(crate) refusal: Refusal,
    /// The request was never sent, or the upstream reported that it did not process it.
    pub(crate) untouched: bool,
}

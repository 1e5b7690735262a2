//! A failed attempt.

use http::Response;
use tamis_exchange::{Body, Cause, Refusal};

/// Why an attempt failed, and the response or error that remains of it.
pub(crate) struct AttemptFailure {
    pub(crate) cause: Cause,
    pub(crate) response: Option<Box<Response<Body>>>,
    pub(crate) refusal: Refusal,
    /// The request was never sent, or the upstream reported that it did not process it.
    pub(crate) untouched: bool,
}

//! An attempt that did not succeed.

use http::Response;
use hyper::body::Incoming;
use tamis_exchange::{Cause, Refusal};

/// Why an attempt did not succeed, and what there is to show for it.
pub(crate) struct AttemptFailure {
    pub(crate) cause: Cause,
    pub(crate) response: Option<Box<Response<Incoming>>>,
    pub(crate) refusal: Refusal,
    /// The request was never sent, or the upstream reported that it did not process it.
    pub(crate) untouched: bool,
}

//! The head of a request on its way from a client: the fields that end here, and those that this proxy adds.

use super::fields::{RETRIES, add_via, one_length, remove_hop_by_hop};
use super::forwarded::forwarded;
use super::owners::Owners;
use crate::connection::Connection;
use http::Version;
use http::header::{self, HeaderMap, HeaderValue};
use tamis_exchange::{ClientChain, Fault, Refusal};
use tamis_resources::plan::TrafficDirection;

/// What fields asked for that go no further than here.
pub(crate) struct EndedFields {
    /// The client accepts trailers (`te: trailers`).
    pub(crate) trailers: bool,
    /// The caller is a proxy of the mesh and retries what fails.
    pub(crate) caller_retries: bool,
}

/// Removes the fields that belong to this hop, and those that a sender may not write. Crumbs of a cookie become one field.
pub(crate) fn take_ended(
    headers: &mut HeaderMap,
    owners: &Owners,
    connection: &Connection,
    direction: TrafficDirection,
) -> EndedFields {
    let trailers = takes_trailers(headers);
    remove_hop_by_hop(headers);
    let caller_retries = take_retry_mark(headers, connection, direction);
    owners.remove_look_alikes(headers);
    join_cookies(headers);
    // The host itself meets the expectation: the client's connection sends 100 when the body is read.
    headers.remove(header::EXPECT);
    owners.clean_trailer_names(headers);
    EndedFields { trailers, caller_retries }
}

/// Adds what this hop states: where the request came from, and that it passed here.
pub(crate) fn add_own(
    headers: &mut HeaderMap,
    version: Version,
    (connection, direction): (&Connection, TrafficDirection),
    host: Option<HeaderValue>,
    chain: Option<&ClientChain>,
) {
    forwarded(headers, connection, direction, host, chain);
    add_via(headers, version);
}

/// Removes [`RETRIES`]; returns whether a proxy of the mesh had set it.
pub(super) fn take_retry_mark(
    headers: &mut HeaderMap,
    connection: &Connection,
    direction: TrafficDirection,
) -> bool {
    let marked = headers.remove(RETRIES).is_some();
    marked && direction == TrafficDirection::Inbound && connection.is_of_mesh()
}

/// Joins the several `cookie` fields that HTTP/2 allows for better compression (RFC 9113 §8.2.3). Filters
/// and HTTP/1.1 servers expect one.
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let mut joined = Vec::new();
    for crumb in headers.get_all(header::COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Whether `te` has `trailers` in its list (RFC 9110 §10.1.4).
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(','));
    codings.any(|coding| {
        let name = coding.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("trailers")
    })
}

/// The declared length of the body.
///
/// # Errors
/// [`Refusal`] when it is not one number.
pub(crate) fn length(headers: &mut HeaderMap) -> Result<Option<u64>, Refusal> {
    one_length(headers).map_err(|_| {
        let detail = "`content-length` must be one number";
        Refusal::new("http.content-length", 400, Fault::Client, detail)
    })
}

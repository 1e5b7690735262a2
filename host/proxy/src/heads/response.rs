//! The head of a response on its way from an upstream: the fields that end here, and those that this proxy adds.

use super::fields::{RETRIES, add_via, one_length, remove_hop_by_hop};
use super::grpc::is_grpc;
use super::owners::Owners;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use tamis_exchange::{is_host_look_alike, trim_values};

/// Reduces the trailers that a head names to those that may pass, and names those of gRPC to a client that takes them.
pub(crate) fn announce_known_trailers(headers: &mut HeaderMap, owners: &Owners, taken: bool) {
    owners.clean_trailer_names(headers);
    if taken && is_grpc(headers) && !headers.contains_key(header::TRAILER) {
        // HTTP/1.1 names trailers before the body; those of gRPC are known.
        let names = "grpc-status, grpc-message, grpc-status-details-bin";
        headers.insert(header::TRAILER, HeaderValue::from_static(names));
    }
}

/// Removes the fields that belong to the hop from an upstream, and adds that the response passed here. `of_mesh`: the
/// upstream is a proxy of the mesh, which may state decisions.
pub(crate) fn pass_on(
    headers: &mut HeaderMap,
    status: StatusCode,
    version: Version,
    of_mesh: bool,
) {
    remove_hop_by_hop(headers);
    if version == Version::HTTP_2 {
        trim_values(headers);
    }
    remove_claims_of_upstream(headers, of_mesh);
    headers.remove(RETRIES);
    add_via(headers, version);
    if status == StatusCode::NO_CONTENT {
        // It states no length; a 304 may, of what it does not send (RFC 9110 §8.6).
        headers.remove(header::CONTENT_LENGTH);
    }
    if status == StatusCode::RESET_CONTENT {
        // It has none, and says so (RFC 9110 §15.3.6).
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if one_length(headers).is_err() {
        // HTTP/2 frames a body without it, and HTTP/1.1 refuses a message with two.
        headers.remove(header::CONTENT_LENGTH);
    }
}

/// Whether a response of that status ends with its head (RFC 9110 §15.3.5, §15.4.5).
pub(crate) fn has_no_content(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Removes other spellings of the host's headers, and headers about decisions that only a proxy of the mesh
/// may set.
fn remove_claims_of_upstream(headers: &mut HeaderMap, of_mesh: bool) {
    let claim = |name: &HeaderName| {
        (!of_mesh && name.as_str().starts_with("x-tamis-")) || is_host_look_alike(name.as_str())
    };
    while let Some(name) = headers.keys().find(|name| claim(name)).cloned() {
        headers.remove(name);
    }
}

//! gRPC in the head of a message: whether it is one, and the status that it has.

use http::header::{self, HeaderMap, HeaderValue};

/// Whether a message is of gRPC: then its sender expects a gRPC status. One of gRPC-Web is not.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b';' | b' ', ..]))
}

/// `grpc-status` of a response without body.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    if !is_grpc(headers) {
        return None;
    }
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

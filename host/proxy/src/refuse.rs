//! The only place where a refusal becomes a response.

use crate::generation::Reasons;
use crate::heads::is_grpc;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tamis_exchange::{Body, Exchange, Fault, FieldLine, Refusal, Reply, is_framing_header};

/// Header with the reason id, on responses written by the proxy or a filter.
pub(crate) const REASON_HEADER: HeaderName = HeaderName::from_static("x-tamis-reason");

/// The response to a refused request. It contains no internal details.
pub(crate) fn response(
    refusal: &Refusal,
    exchange: Option<&Exchange>,
    reasons: Reasons,
) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_GATEWAY);
    if exchange.is_some_and(|exchange| is_grpc(&exchange.headers)) {
        return grpc(status, refusal.fault, refusal.code, reasons);
    }
    let phrase = status.canonical_reason().unwrap_or("refused");
    let text = match reasons {
        Reasons::Show => format!("{phrase} ({})\n", refusal.code),
        Reasons::Hide => format!("{phrase}\n"),
    };
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(REASON_HEADER, HeaderValue::from_static(refusal.code));
    headers
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The response written by a filter, with its body.
pub(crate) fn answer(
    (reply, body): (Reply, Bytes),
    reason: Option<&str>,
    exchange: &Exchange,
    reasons: Reasons,
) -> Response<Body> {
    // The engine accepts only replies that can be sent: the fallback below is never used in practice.
    let status = StatusCode::from_u16(reply.status)
        .ok()
        .filter(|status| !status.is_informational())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if is_grpc(&exchange.headers) && !reply.headers.iter().any(|h| h.name == "grpc-status") {
        return grpc(status, Fault::Filter, reason.unwrap_or("filter.answer"), reasons);
    }
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for FieldLine { name, value } in reply.headers {
        if is_framing_header(&name) {
            continue;
        }
        let name = HeaderName::from_lowercase(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
            // A full map accepts no more; that does not happen here.
            drop(headers.try_append(name, value));
        }
    }
    if let Some(Ok(reason)) = reason.map(HeaderValue::from_str) {
        headers.insert(REASON_HEADER, reason);
    }
    response
}

/// A trailers-only gRPC response (gRPC over HTTP/2, "Responses").
fn grpc(status: StatusCode, fault: Fault, reason: &str, reasons: Reasons) -> Response<Body> {
    let code = grpc_status(status, fault);
    let reason = match reasons {
        Reasons::Show => reason,
        Reasons::Hide => status.canonical_reason().unwrap_or("refused"),
    };
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(u16::from(code)));
    if let Ok(reason) = HeaderValue::from_str(reason) {
        headers.insert(HeaderName::from_static("grpc-message"), reason.clone());
        headers.insert(REASON_HEADER, reason);
    }
    response
}

/// gRPC's own mapping from HTTP status codes ("HTTP to gRPC Status Code Mapping"), with the deadline and the loop added:
/// a loop is a failed precondition, since no attempt gets further before somebody removed it.
fn grpc_status(status: StatusCode, fault: Fault) -> u8 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        504 => 4,
        508 => 9,
        429 | 502 | 503 => 14,
        _ if fault == Fault::Upstream => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_code_and_hides_its_detail() {
        let refusal = Refusal::new("route.unmatched", 404, Fault::Client, "inner secret");
        let response = response(&refusal, None, Reasons::Show);
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()[REASON_HEADER], "route.unmatched");
        assert!(!format!("{:?}", response.headers()).contains("inner secret"));
    }
}

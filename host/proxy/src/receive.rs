//! Receives a request: its id, its normalised head, its body; or the refusal.

use crate::arrival::Arrival;
use crate::client_body;
use crate::decode::{self, DecodedRequest};
use crate::exchange::{ExchangeState, Replay, Retrier, too_large};
use crate::generation::InterimClients;
use crate::grpc_web::GrpcWebCall;
use crate::heads::is_grpc;
use crate::patience;
use crate::request_id;
use crate::request_parts::{RequestParts, WrittenHost};
use crate::stop::ExchangeStop;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use std::sync::Arc;
use tamis_exchange::{Body, Exchange, Refusal};
use tamis_resources::plan::TrafficDirection;
use tamis_transport::{InterimSender, RequestBody};

/// Begins the exchange of a request after the check of its content. From here on its end is counted and
/// recorded in any case, even if the client goes away.
pub(crate) fn receive(
    arrival: &Arrival<'_>,
    mut request: Request<RequestBody>,
    content: Result<(), Refusal>,
) -> (Box<ExchangeState>, RequestParts, Result<(), ExchangeStop>) {
    let Arrival { connection, chain, direction, rules, shared, .. } = *arrival;
    let connects = request.method() == Method::CONNECT;
    let request_id = request_id::ensure(request.headers_mut(), shared.random);
    let decoded = content.and_then(|()| decode::decode(&mut request, arrival));
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(refusal) => {
            let mut exchange = decode::refused(&request, arrival);
            if is_grpc(request.headers()) {
                let kind = HeaderValue::from_static("application/grpc");
                exchange.headers.insert(header::CONTENT_TYPE, kind);
            }
            let mut state = ExchangeState::new(exchange, chain, shared, Some(connection));
            state.request_id = Some(request_id);
            let parts = RequestParts { connects, ..RequestParts::default() };
            return (state, parts, Err(refusal.into()));
        }
    };
    let DecodedRequest {
        mut exchange,
        written_host,
        upgrade,
        trailers,
        caller_retries,
        origin,
        length,
    } = decoded;
    let host = written_host.zip(connection.routed_host());
    let host = host.map(|(written, routed)| WrittenHost { written, routed: Arc::clone(routed) });
    let pause = shared.limits.intake.body_timeout;
    let interim = match (rules.interim, request.version()) {
        (InterimClients::Http2, version) if version < Version::HTTP_2 => InterimSender::default(),
        (InterimClients::Http2 | InterimClients::All, _) => request.body().interim(),
    };
    let (version, body) = (request.version(), request.into_body());
    let body = match upgrade {
        Some(_) => Body::Empty,
        None => patience::bounded(client_body::body(body), version, &exchange.headers, pause),
    };
    let web = arrival.rules.grpc_web.then(|| GrpcWebCall::translate(&mut exchange.headers));
    let web = web.flatten();
    let body = match web {
        Some(call) => call.request(body),
        None => body,
    };
    let last_hop = last_hop(&mut exchange);
    let mut state = ExchangeState::new(exchange, chain, shared, Some(connection));
    state.request_id = Some(request_id);
    state.grpc_web = web;
    state.retried_by = match (caller_retries, direction) {
        (true, _) => Retrier::Caller,
        (false, TrafficDirection::Inbound) => Retrier::ThisProxyElsewhere,
        (false, TrafficDirection::Gateway | TrafficDirection::Outbound) => Retrier::ThisProxy,
    };
    let limit = shared.max_body_bytes;
    state.body = Replay::received(body, limit, &chain.owners);
    // A body whose declared length exceeds the limit need not be read at all.
    let goes_on = match (length.filter(|length| *length > limit), last_hop) {
        (Some(_), _) => Err(too_large(limit).into()),
        (None, Some(response)) => Err(ExchangeStop::LastHop(Box::new(response))),
        (None, None) => Ok(()),
    };
    // Its browser reads none, and this proxy does.
    let trailers = trailers || web.is_some();
    (state, RequestParts { upgrade, connects, trailers, origin, interim, host }, goes_on)
}

/// Answers OPTIONS and TRACE that may not be forwarded, and decrements the hop count of others (RFC 9110
/// §7.6.2). A TRACE is not echoed: that would show the client what earlier hops added.
fn last_hop(exchange: &mut Exchange) -> Option<Response<Body>> {
    if exchange.method != Method::OPTIONS && exchange.method != Method::TRACE {
        return None;
    }
    let left = exchange.headers.get(header::MAX_FORWARDS)?.to_str().ok()?;
    let left: u32 = left.parse().ok()?;
    if let Some(left) = left.checked_sub(1) {
        exchange.headers.insert(header::MAX_FORWARDS, HeaderValue::from(left));
        return None;
    }
    let mut response = Response::new(Body::Empty);
    if exchange.method == Method::TRACE {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    }
    let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    Some(response)
}

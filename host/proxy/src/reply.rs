//! The last stage: passes the response to the connection. The exchange ends when the body does.

use crate::arrival::Arrival;
use crate::body::HookedBody;
use crate::encode::encode;
use crate::exchange::ExchangeState;
use crate::generation::Reasons;
use crate::local::local;
use crate::refuse::{self, REASON_HEADER};
use crate::request_id::REQUEST_ID;
use crate::request_parts::RequestParts;
use crate::response_body::ResponseBody;
use crate::stop::ExchangeStop;
use crate::tunnel;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use std::sync::Arc;
use tamis_exchange::{Body, Fault, Refusal};

/// Header with the generation that served the exchange, when enabled.
const GENERATION_HEADER: HeaderName = HeaderName::from_static("x-tamis-generation");

/// The response to a client whose tunnel did not open, though the response that was to be sent says so. No filter sees it:
/// one may have written that status. It is not of gRPC, whose refusals have the status 200.
fn no_tunnel(state: &mut ExchangeState, status: StatusCode, reasons: Reasons) -> Response<Body> {
    let was = state.reason.take().map(|reason| format!(": {reason}")).unwrap_or_default();
    let detail = format!("the response has status {status}, so no tunnel opened{was}");
    let refusal = Refusal::new("request.protocol", 501, Fault::Host, detail);
    state.reason = Some(refusal.code.into());
    state.detail = Some(refusal.detail.clone());
    refuse::response(&refusal, None, reasons)
}

/// Passes the response to the connection.
pub(crate) async fn reply(
    arrival: &Arrival<'_>,
    mut state: Box<ExchangeState>,
    mut parts: RequestParts,
    result: Result<Response<HookedBody>, ExchangeStop>,
) -> Response<ResponseBody> {
    let reasons = arrival.rules.reasons;
    let tunnel = parts.upgrade.take_if(|upgrade| upgrade.upstream.is_some());
    let mut response = match result {
        Ok(response) => response,
        Err(stop) => local(stop, &mut state, reasons).await.map(HookedBody::from),
    };
    let status = response.status();
    if parts.connects && tunnel.is_none() && status.is_success() {
        state.exchange.coding = None;
        response = no_tunnel(&mut state, status, reasons).map(HookedBody::from);
    }
    if tunnel.is_none() {
        encode(&mut state, &mut response);
    }
    state.note_head(response.status().as_u16(), response.headers());
    state.grpc_web.take_if(|call| !call.respond(response.headers_mut()));
    let headers = response.headers_mut();
    if let Some(id) = &state.request_id {
        headers.insert(REQUEST_ID, id.clone());
    }
    if reasons == Reasons::Hide {
        headers.remove(REASON_HEADER);
    }
    if arrival.shared.name_generation {
        headers.insert(GENERATION_HEADER, HeaderValue::from(state.chain.generation));
    }
    match tunnel {
        Some(upgrade) => {
            let followed = arrival.worker.subscribe();
            let listener = Arc::clone(&arrival.connection.listener);
            let (peer, shutdown) = (arrival.connection.federated.clone(), arrival.shutdown.clone());
            tunnel::carry_upgrade(upgrade, state, shutdown, peer, (listener, followed));
            response.map(ResponseBody::from)
        }
        None => response.map(|body| ResponseBody::new(body, state)),
    }
}

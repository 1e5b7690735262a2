//! The stages of one request, in order. Only this module knows the order.

use crate::arrival::Arrival;
use crate::attempt;
use crate::body::HookedBody;
use crate::decide::decide;
use crate::exchange::ExchangeState;
use crate::mirror;
use crate::receive::receive;
use crate::reply::reply;
use crate::request_parts::RequestParts;
use crate::respond::respond;
use crate::response_body::ResponseBody;
use crate::slot::apply_router_edits;
use crate::stop::ExchangeStop;
use crate::switch;
use crate::unexpected_content;
use http::{Request, Response};
use tamis_exchange::HeadSide;
use tamis_transport::RequestBody;

/// Serves one request.
pub(crate) async fn serve(
    arrival: Arrival<'_>,
    mut request: Request<RequestBody>,
) -> Response<ResponseBody> {
    let content = unexpected_content::check(&mut request).await;
    let (mut state, mut parts, goes_on) = receive(&arrival, request, content);
    let response = match goes_on {
        Ok(()) => forward(&mut state, &mut parts).await,
        Err(stop) => Err(stop),
    };
    reply(&arrival, state, parts, response).await
}

/// Sends a request on and brings its response back, unless the way ends before.
async fn forward(
    state: &mut ExchangeState,
    parts: &mut RequestParts,
) -> Result<Response<HookedBody>, ExchangeStop> {
    let (selection, upstream, body) = decide(state).await?;
    if let Some(upgrade) = &mut parts.upgrade {
        upgrade.request = Some(Box::new(state.exchange.clone()));
    }
    apply_router_edits(state, &selection.request_edits, HeadSide::Request)?;
    let response = attempt::send(state, &selection, &upstream, parts, &body).await?;
    mirror::send(state, &selection, parts, &body.replay);
    if switch::opens(parts.upgrade.as_ref(), &response)? {
        return switch::switch(state, &selection, parts, response).await;
    }
    let response = respond(state, &selection, parts, response).await?;
    Ok(response.map(|sent| HookedBody { request_end: body.end, ..sent }))
}

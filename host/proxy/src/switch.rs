//! The response to a request whose upstream changes the protocol.

use crate::body::HookedBody;
use crate::exchange::ExchangeState;
use crate::request_parts::RequestParts;
use crate::respond::{show_head, take_head};
use crate::stop::ExchangeStop;
use crate::upgrade::Upgrade;
use http::{HeaderValue, Response, StatusCode, header};
use tamis_exchange::{Body, Fault, Refusal, Selection, is_agreed};

/// Whether the upstream's response opens the tunnel. A response that neither opens it nor can be passed to
/// the client is an error of the upstream.
pub(crate) fn opens(upgrade: Option<&Upgrade>, response: &Response<Body>) -> Result<bool, Refusal> {
    let status = response.status();
    let wrong = |detail: String| Refusal::new("upstream.protocol", 502, Fault::Upstream, detail);
    match upgrade {
        Some(upgrade) if status == StatusCode::SWITCHING_PROTOCOLS => {
            match is_agreed(&upgrade.protocol, status, response.headers()) {
                true => Ok(true),
                false => {
                    let wanted = upgrade.protocol.to_str().unwrap_or_default();
                    Err(wrong(format!("the endpoint switched to another protocol than `{wanted}`")))
                }
            }
        }
        // A 2xx to CONNECT means that the tunnel is open (RFC 9110 §9.3.6, RFC 8441 §5).
        Some(upgrade) if upgrade.extended && status.is_success() => {
            Err(wrong(format!("the endpoint answered {status} and opened no tunnel")))
        }
        _ if status.is_informational() => {
            Err(wrong(format!("the last response was the interim response {status}")))
        }
        _ => Ok(false),
    }
}

/// Runs response hooks over the head, as for any other, and opens the upstream's side of the tunnel.
pub(crate) async fn switch(
    state: &mut ExchangeState,
    selection: &Selection,
    parts: &mut RequestParts,
    mut incoming: Response<Body>,
) -> Result<Response<HookedBody>, ExchangeStop> {
    let Some(upgrade) = &mut parts.upgrade else {
        let detail = "nobody asked to upgrade";
        return Err(Refusal::new("upstream.protocol", 502, Fault::Upstream, detail).into());
    };
    let headers = std::mem::take(incoming.headers_mut());
    let switched = incoming.status();
    take_head(state, switched, headers, incoming.version());
    show_head(state, selection).await?;
    // Who sets another status does not want the tunnel; the status alone would not close it.
    if let Some(status) = state.exchange.status.filter(|status| *status != switched) {
        let detail = format!("a filter set the status {status}, so no tunnel opens");
        return Err(Refusal::new("request.protocol", 501, Fault::Filter, detail).into());
    }
    upgrade.upstream = state.take_tunnel();
    let mut headers = std::mem::take(&mut state.exchange.response_headers);
    headers.remove(header::CONTENT_LENGTH);
    let mut response = Response::new(HookedBody::from(Body::Empty));
    if upgrade.extended {
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    } else {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade.protocol.clone());
    }
    *response.headers_mut() = headers;
    Ok(response)
}

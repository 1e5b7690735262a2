//! Responses that are written in this proxy: a filter's reply, or the host's refusal. The filters that
//! declared to see them may change their heads and replace them: security headers, CORS, error pages.

use crate::body_budget::no_room;
use crate::exchange::ExchangeState;
use crate::generation::Reasons;
use crate::refuse;
use crate::response_size::check_size;
use crate::slot::HeadQuestion;
use crate::stop::{ExchangeStop, FilterAnswer};
use http::{Response, StatusCode};
use std::rc::Rc;
use tamis_exchange::{Body, HeadSide};

/// The attribute that says who wrote a response: `upstream`, `filter` or `host`. Set where a filter of the
/// chain sees more than the responses of upstreams.
pub(crate) const ANSWERED_BY: &str = "tamis.answered-by";

/// The response to an exchange that stopped here.
///
/// Each filter sees it once, and never its own reply. A filter that replaces it does not change why the
/// exchange stopped: its record keeps the reason. A filter that fails ends the exchange as its failure mode
/// says, and nobody sees that refusal: what failed would fail again.
pub(crate) async fn local(
    stop: ExchangeStop,
    state: &mut ExchangeState,
    reasons: Reasons,
) -> Response<Body> {
    let (by, author) = match &stop {
        ExchangeStop::Answered(answer) => ("filter", Some(answer.slot.number)),
        ExchangeStop::Refused(_) | ExchangeStop::LastHop(_) => ("host", None),
    };
    let mut response = stop.response(state, reasons);
    // That was chosen for another response.
    state.exchange.coding = None;
    let chain = Rc::clone(&state.chain);
    if chain.local_response.is_empty() {
        return response;
    }
    state.exchange.attributes.set(ANSWERED_BY, by);
    let (reason, detail) = (state.reason.clone(), state.detail.clone());
    let answered_by = state.answered_by.clone();
    for slot in &chain.local_response {
        if author == Some(slot.number) || !state.is_for(slot) {
            continue;
        }
        state.exchange.status = Some(response.status());
        state.exchange.response_headers = std::mem::take(response.headers_mut());
        let shown = slot.decide(&HeadQuestion(HeadSide::Response), state).await.map(drop);
        let shown = shown.and_then(|()| check_size(state).map_err(ExchangeStop::from));
        match shown {
            Ok(()) => {
                *response.status_mut() =
                    state.exchange.status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                *response.headers_mut() = std::mem::take(&mut state.exchange.response_headers);
            }
            Err(ExchangeStop::Answered(FilterAnswer { mut reply, .. })) => {
                let Ok(body) = state.body_room().keep(std::mem::take(&mut reply.body)) else {
                    state.exchange.coding = None;
                    return ExchangeStop::from(no_room("response.no-room"))
                        .response(state, reasons);
                };
                state.exchange.coding = None;
                let answer = (reply, body);
                response = refuse::answer(answer, reason.as_deref(), &state.exchange, reasons);
            }
            Err(stop) => {
                state.exchange.coding = None;
                return stop.response(state, reasons);
            }
        }
    }
    (state.reason, state.detail, state.answered_by) = (reason, detail, answered_by);
    response
}

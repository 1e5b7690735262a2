//! The end of an exchange before or instead of an upstream, and the response to the client.

use crate::body_budget::no_room;
use crate::exchange::ExchangeState;
use crate::generation::Reasons;
use crate::refuse;
use crate::slot::Slot;
use http::Response;
use std::rc::Rc;
use tamis_exchange::{Body, Fault, Outcome, Refusal, Reply};

/// The exchange ends here.
pub(crate) enum ExchangeStop {
    /// The host refuses.
    Refused(Refusal),
    /// A filter answers.
    Answered(FilterAnswer),
    /// The request may not be forwarded any further (`max-forwards`).
    LastHop(Box<Response<Body>>),
}

/// A filter's reply to the client.
pub(crate) struct FilterAnswer {
    /// The slot of the filter.
    pub(crate) slot: Rc<Slot>,
    pub(crate) reply: Reply,
    /// The rule id behind it.
    pub(crate) reason: Option<String>,
}

impl From<Refusal> for ExchangeStop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl ExchangeStop {
    /// The response to the client; the exchange records the reason.
    pub(crate) fn response(self, state: &mut ExchangeState, reasons: Reasons) -> Response<Body> {
        match self {
            Self::Refused(refusal) => {
                if refusal.fault == Fault::Filter {
                    state.outcome.insert(Outcome::REFUSED_BY_FILTER);
                }
                state.reason = Some(refusal.code.into());
                state.detail = Some(refusal.detail.clone());
                refuse::response(&refusal, Some(&state.exchange), reasons)
            }
            Self::Answered(FilterAnswer { slot, mut reply, reason }) => {
                let body = state.body_room().keep(std::mem::take(&mut reply.body));
                let Ok(body) = body else {
                    state.answered_by = Some(slot);
                    return Self::from(no_room("response.no-room")).response(state, reasons);
                };
                // A redirect or a page of a filter is an answer, not a refusal.
                if reply.status >= 400 {
                    state.outcome.insert(Outcome::REFUSED_BY_FILTER);
                }
                state.calls.answered(slot.number, reply.status);
                state.answered_by = Some(slot);
                let response =
                    refuse::answer((reply, body), reason.as_deref(), &state.exchange, reasons);
                if reason.is_some() {
                    state.reason = reason.map(Into::into);
                }
                response
            }
            Self::LastHop(response) => *response,
        }
    }
}

//! The response back to the client: response hooks, fields, body.

use crate::body::{HookedBody, UnreadBody, buffered_body, read_whole};
use crate::body_budget::{BudgetSpent, no_room};
use crate::exchange::ExchangeState;
use crate::heads::response::{announce_known_trailers, has_no_content, pass_on};
use crate::local::ANSWERED_BY;
use crate::request_parts::RequestParts;
use crate::response_size::check_size;
use crate::slot::{
    ChunkSlot, HeadQuestion, Slot, TrailerSlot, WholeBodyQuestion, apply_router_edits, body_limit,
    body_slots,
};
use crate::stop::ExchangeStop;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode, Version};
use http_body::Body as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tamis_engine::{BodyMode, Filter};
use tamis_exchange::{Body, Fault, HeadBound, HeadSide, Refusal, Selection, Verdict};

/// Runs response hooks over an upstream's response and builds the response to the client.
pub(crate) async fn respond(
    state: &mut ExchangeState,
    selection: &Selection,
    parts: &RequestParts,
    response: Response<Body>,
) -> Result<Response<HookedBody>, ExchangeStop> {
    let (head, body) = response.into_parts();
    let mut headers = head.headers;
    announce_known_trailers(&mut headers, &state.chain.owners, parts.trailers);
    let is_empty = has_no_content(head.status) || head.status == StatusCode::RESET_CONTENT;
    take_head(state, head.status, headers, head.version);
    show_head(state, selection).await?;
    let body = if is_empty { Body::Empty } else { body };
    let body = show_body(state, body).await?;
    let deadline = deadline(state, selection);
    let mut response = Response::new(HookedBody { deadline, ..body });
    *response.status_mut() = state.exchange.status.unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = std::mem::take(&mut state.exchange.response_headers);
    Ok(response)
}

/// Moves the head of an upstream's response into the exchange.
pub(crate) fn take_head(
    state: &mut ExchangeState,
    status: StatusCode,
    mut headers: HeaderMap,
    version: Version,
) {
    pass_on(&mut headers, status, version, state.next_is_of_mesh);
    state.exchange.status = Some(status);
    state.exchange.coding = None;
    state.exchange.response_headers = headers;
    if let Some(upstream) = &state.service {
        let taken = upstream.response_limits();
        state.exchange.bounds.response =
            HeadBound::of_received(taken.max_fields, taken.max_head_bytes);
    }
}

/// Runs response hooks over the head of an upstream's response.
pub(crate) async fn show_head(
    state: &mut ExchangeState,
    selection: &Selection,
) -> Result<(), ExchangeStop> {
    apply_router_edits(state, &selection.response_edits, HeadSide::Response)?;
    let chain = Rc::clone(&state.chain);
    if !chain.local_response.is_empty() {
        state.exchange.attributes.set(ANSWERED_BY, "upstream");
    }
    for slot in &chain.response {
        if state.is_for(slot) {
            slot.decide(&HeadQuestion(HeadSide::Response), state).await?;
        }
    }
    for slot in &chain.candidate_response {
        if state.is_for(slot) {
            slot.compare_candidate(HeadSide::Response, state);
        }
    }
    check_size(state)?;
    Ok(())
}

/// Shows the body to the hooks that want it: whole here and now, or chunk by chunk on its way.
async fn show_body(state: &mut ExchangeState, body: Body) -> Result<HookedBody, ExchangeStop> {
    let chain = Rc::clone(&state.chain);
    let bodiless = body.is_end_stream() || state.exchange.method == Method::HEAD;
    let slots = if bodiless { &[] } else { chain.response_body.as_slice() };
    let rule = state.rule_name();
    let whole = body_slots(slots, rule, Filter::response_body, BodyMode::Buffered);
    let chunks = body_slots(slots, rule, Filter::response_body, BodyMode::Chunks);
    let body = match whole.is_empty() {
        true => body,
        false => show_whole(state, &whole, body).await?,
    };
    if !chunks.is_empty() {
        state.exchange.response_headers.remove(header::CONTENT_LENGTH);
    }
    chunks.iter().for_each(|slot| state.calls.note(slot.number));
    let trailers = if bodiless { &[] } else { chain.response_trailers.as_slice() };
    let rule = state.rule_name();
    let trailers = TrailerSlot::of(trailers, rule, HeadSide::Response, &state.exchange);
    trailers.iter().for_each(|one| state.calls.note(one.slot.number));
    announce(&trailers, &mut state.exchange.response_headers);
    // Nothing else added to the head that was checked.
    if !whole.is_empty() || !trailers.is_empty() {
        check_size(state)?;
    }
    let chunks = ChunkSlot::of(chunks, HeadSide::Response, &state.exchange, &state.body_room());
    let owners = Some(Arc::clone(&chain.owners));
    Ok(HookedBody { chunks, trailers, owners, ..body.into() })
}

/// Reads the complete body for the filters that buffer.
async fn show_whole(
    state: &mut ExchangeState,
    slots: &[Rc<Slot>],
    body: Body,
) -> Result<Body, ExchangeStop> {
    let limit = body_limit(slots);
    let room = state.body_room();
    let whole = read_whole(body, room.clone(), limit).await;
    let (mut octets, mut trailers) = whole.map_err(|why| match why {
        UnreadBody::Broken(error) => {
            let protocol = tamis_upstream::is_broken_by(&error);
            let code = if protocol { "upstream.protocol" } else { "upstream.reset" };
            Refusal::new(code, 502, Fault::Upstream, error.to_string())
        }
        UnreadBody::TooLong => {
            let detail = format!("a filter reads whole response bodies, of at most {limit} bytes");
            Refusal::new("response.too-large", 502, Fault::Upstream, detail)
        }
        UnreadBody::NoRoom => no_room("response.no-room"),
    })?;
    for slot in slots {
        let verdict = slot.decide(&WholeBodyQuestion(HeadSide::Response, &octets), state).await?;
        if let Verdict::Replace(by) | Verdict::Rewrite { octets: Some(by), .. } = verdict {
            // What it saw gives its room back first.
            drop(octets);
            octets = room.keep(by).map_err(|BudgetSpent| no_room("response.no-room"))?;
            state.exchange.response_headers.remove(header::CONTENT_LENGTH);
        }
    }
    if let Some(trailers) = trailers.as_mut() {
        state.chain.owners.clean_trailers(trailers);
    }
    Ok(buffered_body(octets, trailers, &mut state.exchange.response_headers))
}

/// Adds the trailers that the filters of `slots` write to those that a head names. A head that names none has
/// nothing that it could state too late.
fn announce(slots: &[TrailerSlot], headers: &mut HeaderMap) {
    let Some(named) = headers.get(header::TRAILER) else { return };
    let filters = slots.iter().filter_map(|one| one.slot.filter());
    let written = filters.flat_map(|filter| filter.writes().trailers()).filter(|name| *name != "*");
    let mut names = named.as_bytes().to_vec();
    for name in written {
        names.extend_from_slice(b", ");
        names.extend_from_slice(name.as_bytes());
    }
    if let Ok(names) = HeaderValue::from_bytes(&names) {
        headers.insert(header::TRAILER, names);
    }
}

/// When the exchange's time is over.
fn deadline(state: &ExchangeState, selection: &Selection) -> Option<tokio::time::Instant> {
    (selection.request_timeout_ms > 0).then(|| {
        let whole = Duration::from_millis(selection.request_timeout_ms.into());
        tokio::time::Instant::from_std(state.started + whole)
    })
}

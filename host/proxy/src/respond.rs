//! The response back to the client: response hooks, fields, body.

use crate::body::{OutBody, chunk_filters};
use crate::course::{Course, Stop};
use crate::decide::{change, failed};
use crate::fields::{RETRIES, one_length, remove_hop_by_hop, via};
use crate::local::Local;
use crate::pump;
use crate::route;
use crate::shadow;
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use tamis_engine::{BodyMode, Filter, Hook};
use tamis_exchange::{Body, Edit, Fault, HeadSide, Refusal, Verdict, is_host_look_alike};

/// Takes the head of an upstream's response into the exchange.
pub(crate) fn take_head(
    course: &mut Course,
    status: StatusCode,
    mut headers: HeaderMap,
    version: Version,
) {
    remove_hop_by_hop(&mut headers);
    remove_claims_of_upstream(&mut headers, course.next_is_of_mesh);
    headers.remove(RETRIES);
    via(&mut headers, version);
    if has_no_content(status) {
        // Of no body it is no length; HTTP/1.1 leaves it out, so HTTP/2 does too (RFC 9110 §8.6).
        headers.remove(header::CONTENT_LENGTH);
    }
    if one_length(&mut headers).is_err() {
        // HTTP/2 frames a body without it, and HTTP/1.1 lets none through that says two.
        headers.remove(header::CONTENT_LENGTH);
    }
    course.exchange.status = Some(status);
    course.exchange.response_headers = headers;
}

/// Whether a response of that status ends with its head (RFC 9110 §15.3.5, §15.4.5).
pub(crate) fn has_no_content(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Removes other spellings of what hosts write, and what only a proxy of the mesh may say of its decisions.
fn remove_claims_of_upstream(headers: &mut HeaderMap, of_mesh: bool) {
    let claim = |name: &HeaderName| {
        (!of_mesh && name.as_str().starts_with("x-tamis-")) || is_host_look_alike(name.as_str())
    };
    while let Some(name) = headers.keys().find(|name| claim(name)).cloned() {
        headers.remove(name);
    }
}

/// Runs response hooks over the head of an upstream's response.
pub(crate) fn head(local: &Rc<Local>, course: &mut Course, edits: &[Edit]) -> Result<(), Stop> {
    route::change(local, course, edits, HeadSide::Response)?;
    if let Some(chain) = local.chain(course.chain) {
        for &index in &chain.response {
            let scope = local.attached(index).and_then(|one| one.scope.as_deref());
            if course.is_in(scope, local) {
                ask(local, course, index)?;
            }
        }
    }
    shadow::new_responses(local, course);
    check_size(local, course)?;
    Ok(())
}

/// Runs response hooks over an upstream's response and puts together what is sent.
pub(crate) async fn respond(
    local: &Rc<Local>,
    course: &mut Course,
    edits: &[Edit],
    body: Body,
) -> Result<Response<OutBody>, Stop> {
    head(local, course, edits)?;
    let rule = course.rule_name(local);
    let candidates =
        local.chain(course.chain).map(|chain| chain.response_body.as_slice()).unwrap_or_default();
    let bodiless = body.is_end_stream() || course.exchange.method == Method::HEAD;
    let of = |mode| match bodiless {
        true => Vec::new(),
        false => chunk_filters(local, candidates, rule, Filter::response_body, mode),
    };
    let (whole, chunks) = (of(BodyMode::Buffered), of(BodyMode::Chunks));
    let body = if whole.is_empty() { body } else { buffered(local, course, &whole, body).await? };
    if !chunks.is_empty() {
        course.exchange.response_headers.remove(header::CONTENT_LENGTH);
    }
    chunks.iter().for_each(|index| course.asked.note(*index));
    check_size(local, course)?;
    let owners = local.chain(course.chain).map(|chain| Arc::clone(&chain.owners));
    let mut response = Response::new(
        OutBody::plain(body).filtered(local, course.exchange.id, chunks).owned(owners),
    );
    *response.status_mut() = course.exchange.status.unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = std::mem::take(&mut course.exchange.response_headers);
    Ok(response)
}

/// The longest head sent to a client, in bytes, unless the service's policy allows its upstream a longer one.
const HEAD_MAX_BYTES: usize = 64 * 1024;

/// Refuses a head that filters made too long.
fn check_size(local: &Local, course: &Course) -> Result<(), Refusal> {
    let upstream = course.service.and_then(|index| local.upstreams.get(index));
    let allowed = upstream.map_or(0, |upstream| upstream.response_limits().max_head_bytes);
    let fields = course.exchange.response_headers.iter();
    // As HTTP/1.1 writes them: a colon, a space and the end of the line with each.
    let bytes: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes <= HEAD_MAX_BYTES.max(allowed) {
        return Ok(());
    }
    let detail = format!("the head of the response has {bytes} bytes after its filters");
    Err(Refusal::new("response.head-too-large", 502, Fault::Filter, detail))
}

fn ask(local: &Rc<Local>, course: &mut Course, index: usize) -> Result<(), Stop> {
    let since = course.asked.begin(index);
    let said = local.ask_response(index, &course.exchange);
    course.asked.end(index, since);
    shadow::response(local, course, index, &said);
    let decision = match said {
        Ok(decision) => decision,
        Err(fault) => return failed(local, course, index, &fault),
    };
    if let Some(reason) = &decision.reason {
        course.reason = Some(Cow::Owned(reason.clone()));
    }
    match decision.verdict {
        Verdict::Pass => Ok(()),
        Verdict::Change(edits) => match change(local, course, index, Hook::Response, &edits) {
            Ok(()) => Ok(()),
            Err(fault) => failed(local, course, index, &fault),
        },
        Verdict::Replace(_) => {
            let fault = local.broke(index, Hook::Response, "`replace` without a body");
            failed(local, course, index, &fault)
        }
        Verdict::Answer(reply) => Err(Stop::Answered(index, reply, decision.reason)),
    }
}

/// Reads the body whole for the filters that judge it so.
async fn buffered(
    local: &Rc<Local>,
    course: &mut Course,
    filters: &[usize],
    mut body: Body,
) -> Result<Body, Stop> {
    let limit = filters.iter().filter_map(|index| local.filter(*index));
    let limit = limit.map(|filter| filter.body_limit_bytes() as usize).min().unwrap_or(0);
    let mut octets = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let protocol = tamis_upstream::is_broken_by(&error);
            let code = if protocol { "upstream.protocol" } else { "upstream.reset" };
            Refusal::new(code, 502, Fault::Upstream, error.to_string())
        })?;
        match frame.into_data() {
            Ok(data) if octets.len() + data.len() > limit => {
                let detail = format!("a filter judges response bodies of at most {limit} bytes");
                return Err(Refusal::new("response.too-large", 502, Fault::Upstream, detail).into());
            }
            Ok(data) => octets.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let mut octets = octets.freeze();
    for &index in filters {
        let id = course.exchange.id;
        let since = course.asked.begin(index);
        let said = local.call(index, |instance| instance.on_response_body(id, &octets, true));
        course.asked.end(index, since);
        let decision = match said {
            Ok(decision) => decision,
            Err(fault) => {
                failed(local, course, index, &fault)?;
                continue;
            }
        };
        match decision.verdict {
            Verdict::Pass => {}
            Verdict::Replace(by) => {
                octets = Bytes::from(by);
                course.exchange.response_headers.remove(header::CONTENT_LENGTH);
            }
            Verdict::Change(edits) => {
                if let Err(fault) = change(local, course, index, Hook::ResponseBody, &edits) {
                    failed(local, course, index, &fault)?;
                }
            }
            Verdict::Answer(reply) => return Err(Stop::Answered(index, reply, decision.reason)),
        }
    }
    if let (Some(trailers), Some(chain)) = (trailers.as_mut(), local.chain(course.chain)) {
        chain.owners.clean_trailers(trailers);
    }
    Ok(pump::whole(octets, trailers, &mut course.exchange.response_headers))
}

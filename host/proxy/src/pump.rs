//! Request body hooks: the whole body before the request goes on, or chunk by chunk on its way.

use crate::course::{Course, Stop};
use crate::decide::{change, failed};
use crate::local::Local;
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::BodyExt as _;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tamis_engine::{CallFault, FailureMode, Hook};
use tamis_exchange::{Body, BodyError, Fault, Refusal, Reply, Verdict};
use tokio::sync::mpsc;

/// Reads the body whole and shows it to the filters that want that; the head is held meanwhile.
pub(crate) async fn buffered(
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
            Refusal::new("request.broken", 400, Fault::Client, error.to_string())
        })?;
        match frame.into_data() {
            Ok(data) if octets.len() + data.len() > limit => {
                let detail = format!("a filter judges bodies of at most {limit} bytes");
                return Err(Refusal::new("request.too-large", 413, Fault::Client, detail).into());
            }
            Ok(data) => octets.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let mut octets = octets.freeze();
    let mut replaced = false;
    for &index in filters {
        let id = course.exchange.id;
        let since = course.asked.begin(index);
        let said = local.call(index, |instance| instance.on_request_body(id, &octets, true));
        course.asked.end(index, since);
        let decision = match said {
            Ok(decision) => decision,
            Err(fault) => {
                failed(local, course, index, &fault)?;
                continue;
            }
        };
        if let Some(reason) = &decision.reason {
            course.reason = Some(reason.clone().into());
        }
        match decision.verdict {
            Verdict::Pass => {}
            Verdict::Replace(by) => {
                octets = Bytes::from(by);
                replaced = true;
            }
            Verdict::Change(edits) => {
                if let Err(fault) = change(local, course, index, Hook::RequestBody, &edits) {
                    failed(local, course, index, &fault)?;
                }
            }
            Verdict::Answer(reply) => return Err(Stop::Answered(index, reply, decision.reason)),
        }
    }
    if replaced {
        course.exchange.headers.remove(header::CONTENT_LENGTH);
    }
    Ok(whole(octets, trailers, &mut course.exchange.headers))
}

/// A body that was read, with its trailers. The head names them, since HTTP/1.1 sends no others, unless it has a length:
/// then HTTP/1.1 sends none at all (RFC 9112 §7.1.2).
pub(crate) fn whole(octets: Bytes, trailers: Option<HeaderMap>, head: &mut HeaderMap) -> Body {
    let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) else {
        return Body::full(octets);
    };
    let names: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
    if !head.contains_key(header::CONTENT_LENGTH)
        && let Ok(names) = HeaderValue::try_from(names.join(", "))
    {
        head.insert(header::TRAILER, names);
    }
    let (send, receive) = mpsc::channel(2);
    // Two frames in a channel of two: neither waits nor fails.
    if !octets.is_empty() {
        drop(send.try_send(Ok(Frame::data(octets))));
    }
    drop(send.try_send(Ok(Frame::trailers(trailers))));
    Body::stream(Frames(receive))
}

/// Why a filter ended the exchange at a chunk.
pub(crate) enum Ended {
    /// It answered: which, with what, and why.
    Answered(usize, Reply, Option<String>),
    /// Its call failed, and nothing passes without it.
    Failed(usize, CallFault),
}

/// Where the end of an exchange at a chunk is noted.
pub(crate) type Verdicts = Rc<RefCell<Option<Ended>>>;

/// What the client is answered when a filter ended the exchange at a chunk.
pub(crate) fn stopped(course: &mut Course, local: &Local, ended: Ended) -> Stop {
    match ended {
        Ended::Answered(index, reply, reason) => Stop::Answered(index, reply, reason),
        Ended::Failed(index, fault) => {
            course.answered_by = Some(index);
            let attachment = local.attached(index).map_or("", |one| one.name.as_str());
            let detail = format!("filter {attachment}, in a chunk of the body: {fault}");
            Refusal::new("filter.failed", 503, Fault::Filter, detail).into()
        }
    }
}

/// Shows the body chunk by chunk to `filters`, on a task of its own: the next chunk is read when the last was taken.
pub(crate) fn chunks(
    local: &Rc<Local>,
    course: &mut Course,
    filters: Vec<usize>,
    mut body: Body,
) -> (Body, Verdicts) {
    course.exchange.headers.remove(header::CONTENT_LENGTH);
    filters.iter().for_each(|index| course.asked.note(*index));
    let verdicts = Verdicts::default();
    let (send, receive) = mpsc::channel(1);
    let (local, noted, exchange) = (Rc::clone(local), Rc::clone(&verdicts), course.exchange.id);
    drop(tokio::task::spawn_local(async move {
        let mut trailers = None;
        while let Some(frame) = body.frame().await {
            let next = match frame.map(Frame::into_data) {
                Ok(Ok(data)) => show(&local, &filters, exchange, data, false, &noted),
                Ok(Err(frame)) => {
                    trailers = Some(frame);
                    break;
                }
                Err(error) => Err(error),
            };
            let failed = next.is_err();
            let empty = next.as_ref().is_ok_and(Bytes::is_empty);
            if !empty && send.send(next.map(Frame::data)).await.is_err() || failed {
                return;
            }
        }
        let last = show(&local, &filters, exchange, Bytes::new(), true, &noted);
        if !last.as_ref().is_ok_and(Bytes::is_empty) {
            drop(send.send(last.map(Frame::data)).await);
        }
        if let Some(trailers) = trailers {
            drop(send.send(Ok(trailers)).await);
        }
    }));
    (Body::stream(Frames(receive)), verdicts)
}

fn show(
    local: &Local,
    filters: &[usize],
    exchange: u64,
    mut octets: Bytes,
    last: bool,
    verdicts: &Verdicts,
) -> Result<Bytes, BodyError> {
    for &index in filters {
        let said = local.call(index, |i| i.on_request_body(exchange, &octets, last));
        match said {
            Ok(decision) => match decision.verdict {
                Verdict::Pass => {}
                Verdict::Replace(by) => octets = Bytes::from(by),
                Verdict::Answer(reply) => {
                    verdicts.replace(Some(Ended::Answered(index, reply, decision.reason)));
                    return Err(BodyError::Ended("a filter answered"));
                }
                Verdict::Change(_) => {
                    return Err(BodyError::Ended("a filter changed a head that was sent before"));
                }
            },
            Err(fault) => {
                let attached = local.attached(index);
                let attachment = attached.map(|one| one.name.as_str());
                tracing::warn!(attachment, kind = fault.kind(), "a request body hook failed");
                if attached.is_some_and(|one| one.failure == FailureMode::Closed) {
                    verdicts.replace(Some(Ended::Failed(index, fault)));
                    return Err(BodyError::Ended("a filter failed"));
                }
            }
        }
    }
    Ok(octets)
}

/// Frames of a channel as a body.
struct Frames(mpsc::Receiver<Result<Frame<Bytes>, BodyError>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.get_mut().0.poll_recv(cx)
    }
}

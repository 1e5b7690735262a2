//! The way of one request, in order.

use crate::attempt;
use crate::body::{OutBody, chunk_filters};
use crate::connection::Connection;
use crate::course::{Course, Retries, Routed, Stop};
use crate::decide::decide;
use crate::decode::{Decoded, Upgrade, decode};
use crate::generation::Direction;
use crate::local::Local;
use crate::outgoing::{self, Template};
use crate::pump;
use crate::refuse;
use crate::replay::{Replay, too_large};
use crate::respond;
use crate::route;
use crate::settle::Settle;
use crate::shadow;
use crate::shared::Shared;
use crate::trace;
use crate::tunnel;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tamis_engine::{BodyMode, Filter};
use tamis_exchange::{Body, Fault, HeadSide, Outcome, Refusal, Selection, apply};
use tamis_transport::Shutdown;
use tamis_upstream::{Pick, Upstream};

/// Names the generation that served, when asked to.
const GENERATION_HEADER: HeaderName = HeaderName::from_static("x-tamis-generation");

/// What a request is served with.
pub(crate) struct Way<'a> {
    pub(crate) local: &'a Rc<Local>,
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) connection: &'a Connection,
    pub(crate) direction: Direction,
    pub(crate) chain: usize,
    pub(crate) id: u64,
    pub(crate) shutdown: &'a Shutdown,
}

/// Serves one request.
pub(crate) async fn serve(way: Way<'_>, request: Request<Incoming>) -> Response<OutBody> {
    let mut response = exchange(&way, request).await;
    if way.shared.name_generation {
        let number = HeaderValue::from(way.local.generation.number);
        response.headers_mut().insert(GENERATION_HEADER, number);
    }
    response
}

async fn exchange(way: &Way<'_>, request: Request<Incoming>) -> Response<OutBody> {
    let decoded = match decode(request, way.connection, way.direction, way.id) {
        Ok(decoded) => decoded,
        Err(refusal) => return refuse::response(&refusal, None),
    };
    let Decoded { exchange, body, upgrade, trailers, retried, length } = decoded;
    let mut course = Course::new(exchange, way.chain);
    course.retries = match (retried, way.direction) {
        (true, _) => Retries::Callers,
        (false, Direction::Inbound) => Retries::Elsewhere,
        (false, Direction::Gateway | Direction::Outbound) => Retries::Ours,
    };
    let limit = way.shared.max_body_bytes;
    // A body that breaks the limit by its own declaration need not be read at all.
    let early = length.filter(|length| *length > limit).map(|_| too_large(limit));
    let replay = Replay::new(body, limit);
    // From here on the end is told whatever happens, a client that goes away included.
    let mut settle = Settle::new(way.local, way.shared, course, Some(replay.clone()));
    let walk = Walk { way, upgrade: upgrade.as_ref(), trailers };
    let walked = match early {
        Some(refusal) => Err(Stop::Refused(refusal)),
        None => walk.go(settle.course(), replay).await,
    };
    let (response, deadline) = match walked {
        Ok(Walked::Response(response, deadline)) => (response, deadline),
        Ok(Walked::Upgraded(incoming)) => {
            return upgraded(way, upgrade, *incoming, settle);
        }
        Err(stop) => (stopped(settle.course(), stop), None),
    };
    settle.head(response.status().as_u16(), response.headers());
    response.map(|body| body.until(deadline).settled(settle))
}

/// The answer of a way that ended early.
pub(crate) fn stopped(course: &mut Course, stop: Stop) -> Response<OutBody> {
    match stop {
        Stop::Refused(refusal) => {
            if refusal.fault == Fault::Filter {
                course.outcome.insert(Outcome::REFUSED_BY_FILTER);
            }
            course.reason = Some(refusal.code.into());
            course.detail = Some(refusal.detail.clone());
            refuse::response(&refusal, Some(&course.exchange))
        }
        Stop::Answered(index, reply, reason) => {
            // A redirect or a page of a filter's own is an answer, and refuses nobody.
            if reply.status >= 400 {
                course.outcome.insert(Outcome::REFUSED_BY_FILTER);
            }
            course.answered_by = Some(index);
            course.asked.answered(index, reply.status);
            let response = refuse::answer(reply, reason.as_deref(), &course.exchange);
            if reason.is_some() {
                course.reason = reason.map(Into::into);
            }
            response
        }
    }
}

/// Where the way led.
#[expect(clippy::large_enum_variant, reason = "nearly always the large one, and moved once")]
enum Walked {
    Response(Response<OutBody>, Option<tokio::time::Instant>),
    /// The upstream changed the protocol.
    Upgraded(Box<Response<Incoming>>),
}

struct Walk<'a> {
    way: &'a Way<'a>,
    upgrade: Option<&'a Upgrade>,
    trailers: bool,
}

impl Walk<'_> {
    async fn go(&self, course: &mut Course, replay: Replay) -> Result<Walked, Stop> {
        let local = self.way.local;
        let selection = match decide(local, course).await? {
            Routed::Forward(selection) => selection,
            Routed::Answer(index, reply) => return Err(Stop::Answered(index, reply, None)),
            Routed::Unmatched => return Err(route::unmatched(local, course.chain).into()),
        };
        shadow::new_requests(local, course);
        let upstream = self.upstream(course, selection.backend)?;
        let (replay, verdicts) = self.request_body(course, replay).await?;
        apply(&selection.request_edits, &mut course.exchange, HeadSide::Request);
        let template = Template {
            upgrade: self.upgrade,
            trailers: self.trailers,
            retries: retries(local, course),
            body: &replay,
        };
        let sent = attempt::send(local, course, &selection, &upstream, &template).await;
        if let Some((index, reply, reason)) = verdicts.and_then(|verdicts| verdicts.take()) {
            return Err(Stop::Answered(index, reply, reason));
        }
        let response = sent?;
        self.mirror(course, &selection, &replay);
        if self.upgrade.is_some() && response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Walked::Upgraded(Box::new(response)));
        }
        if response.status().is_informational() {
            let detail = format!("an interim response {} came last", response.status());
            return Err(Refusal::new("upstream.protocol", 502, Fault::Upstream, detail).into());
        }
        let (head, body) = response.into_parts();
        respond::take_head(course, head.status, head.headers, head.version);
        let response =
            respond::respond(local, course, &selection.response_edits, Body::from(body)).await?;
        let deadline = (selection.request_timeout_ms > 0).then(|| {
            let whole = Duration::from_millis(selection.request_timeout_ms.into());
            tokio::time::Instant::from_std(course.started + whole)
        });
        Ok(Walked::Response(response, deadline))
    }

    fn upstream(&self, course: &mut Course, backend: u32) -> Result<Rc<Upstream>, Stop> {
        let local = self.way.local;
        let index = local
            .chain(course.chain)
            .and_then(|chain| chain.backends.get(backend as usize).copied().flatten());
        let upstream = index.and_then(|index| local.upstreams.get(index));
        course.service = index;
        upstream.cloned().ok_or_else(|| {
            let detail = "the router chose a service this proxy does not know";
            Refusal::new("route.backend-unknown", 500, Fault::Host, detail).into()
        })
    }

    /// Shows the request body to the filters that want it.
    async fn request_body(
        &self,
        course: &mut Course,
        replay: Replay,
    ) -> Result<(Replay, Option<pump::Verdicts>), Stop> {
        let local = self.way.local;
        let hooks = local.chain(course.chain).map(|chain| chain.request_body.as_slice());
        let hooks = hooks.unwrap_or_default();
        if hooks.is_empty() || (replay.has_ended() && replay.bytes_in() == 0) {
            return Ok((replay, None));
        }
        let rule = course.rule_name(local);
        let whole = chunk_filters(local, hooks, rule, Filter::request_body, BodyMode::Buffered);
        let chunks = chunk_filters(local, hooks, rule, Filter::request_body, BodyMode::Chunks);
        let limit = self.way.shared.max_body_bytes;
        let mut body = replay;
        if !whole.is_empty() {
            let read = pump::buffered(local, course, &whole, body.body()).await?;
            body = Replay::new(read, limit);
        }
        if chunks.is_empty() {
            return Ok((body, None));
        }
        let (read, verdicts) = pump::chunks(local, course, chunks, body.body());
        Ok((Replay::new(read, limit), Some(verdicts)))
    }

    /// Sends copies where the router wants them. Nobody waits for their answers; a body that is no longer whole in
    /// the host is not copied.
    fn mirror(&self, course: &Course, selection: &Selection, replay: &Replay) {
        for mirror in &selection.mirrors {
            if trace::random() % 1000 >= u64::from(mirror.share_permille) {
                continue;
            }
            let local = self.way.local;
            let index = local
                .chain(course.chain)
                .and_then(|chain| chain.backends.get(mirror.backend as usize).copied().flatten());
            let upstream = index.and_then(|index| local.upstreams.get(index)).cloned();
            let Some(upstream) = upstream else { continue };
            if !(replay.is_replayable() && replay.has_ended()) || self.upgrade.is_some() {
                tracing::debug!(
                    service = upstream.name(),
                    "a request with a long body is not mirrored"
                );
                continue;
            }
            let (exchange, body) = (course.exchange.clone(), replay.clone());
            drop(tokio::task::spawn_local(async move {
                let Ok(Pick::Attempt(mut attempt)) = upstream.pick(&[], None).await else { return };
                let template =
                    Template { upgrade: None, trailers: false, retries: false, body: &body };
                let to = outgoing::Wire::of(&attempt);
                let endpoint = attempt.endpoint().to_owned();
                let octets = body.body();
                let request = outgoing::request_of(&exchange, &template, octets, to, &endpoint);
                let Ok(request) = request else { return };
                let sending = tokio::time::timeout(Duration::from_secs(60), async {
                    let response = attempt.send(request, false, || None).await?;
                    let mut body = response.into_body();
                    // Nobody keeps what comes back, however much it is.
                    while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut body).await {}
                    Ok::<_, tamis_upstream::SendFailure>(())
                });
                drop(sending.await);
            }));
        }
    }
}

/// Whether this proxy, or one before it, sends the exchange again when it fails.
fn retries(local: &Local, course: &Course) -> bool {
    let chain = local.chain(course.chain);
    let own = chain.is_some_and(|chain| chain.retry.is_some() || chain.hedge.is_some());
    own || course.retries == Retries::Callers
}

/// Hands both connections to a tunnel and tells the client that the protocol changes.
fn upgraded(
    way: &Way<'_>,
    upgrade: Option<Upgrade>,
    mut incoming: Response<Incoming>,
    mut settle: Box<Settle>,
) -> Response<OutBody> {
    let Some(upgrade) = upgrade else {
        let refusal =
            Refusal::new("upstream.protocol", 502, Fault::Upstream, "nobody asked to upgrade");
        return refuse::response(&refusal, None);
    };
    let upstream = hyper::upgrade::on(&mut incoming);
    let protocol = incoming.headers().get(header::UPGRADE).cloned();
    let mut headers = std::mem::take(incoming.headers_mut());
    crate::fields::remove_hop_by_hop(&mut headers);
    let mut response = Response::new(OutBody::plain(Body::Empty));
    if upgrade.extended {
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    } else {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            headers.insert(header::UPGRADE, protocol);
        }
    }
    *response.headers_mut() = headers;
    settle.head(response.status().as_u16(), response.headers());
    tunnel::join(upgrade, upstream, settle, way.shutdown.clone());
    response
}

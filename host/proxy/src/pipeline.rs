//! The way of one request, in order.

use crate::attempt;
use crate::body::{OutBody, chunk_filters};
use crate::connection::Connection;
use crate::content;
use crate::course::{Course, Retries, Routed, Stop};
use crate::decide::decide;
use crate::decode::{Decoded, Entrance, decode, refused};
use crate::generation::{Direction, ListenerRules, Reasons};
use crate::local::Local;
use crate::outgoing::{self, Template};
use crate::pump;
use crate::refuse;
use crate::replay::{Replay, too_large};
use crate::request_id::{self, REQUEST_ID};
use crate::respond;
use crate::route;
use crate::settle::Settle;
use crate::shadow;
use crate::shared::Shared;
use crate::trace;
use crate::tunnel;
use crate::upgrade::{self, Upgrade};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tamis_engine::{BodyMode, Filter};
use tamis_exchange::{Body, Exchange, Fault, HeadSide, Outcome, Refusal, Selection};
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
    pub(crate) rules: &'a ListenerRules,
    pub(crate) chain: usize,
    pub(crate) id: u64,
    pub(crate) shutdown: &'a Shutdown,
}

/// Serves one request.
pub(crate) async fn serve(way: Way<'_>, mut request: Request<Incoming>) -> Response<OutBody> {
    let id = request_id::ensure(request.headers_mut());
    let mut response = exchange(&way, request, &id).await;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    if way.rules.reasons == Reasons::Hide {
        headers.remove(refuse::REASON_HEADER);
    }
    if way.shared.name_generation {
        let number = HeaderValue::from(way.local.generation.number);
        headers.insert(GENERATION_HEADER, number);
    }
    if response.status().canonical_reason().is_none() {
        // Otherwise hyper writes `<none>`; a phrase may be empty (RFC 9112 §4).
        response.extensions_mut().insert(hyper::ext::ReasonPhrase::from_static(b""));
    }
    response
}

async fn exchange(
    way: &Way<'_>,
    mut request: Request<Incoming>,
    request_id: &HeaderValue,
) -> Response<OutBody> {
    let owners = way.local.chain(way.chain).map(|chain| Arc::clone(&chain.owners));
    let owners = owners.unwrap_or_default();
    let entrance = Entrance {
        connection: way.connection,
        direction: way.direction,
        rules: way.rules,
        owners: &owners,
    };
    let decoded = match content::check(&mut request).await {
        Ok(()) => decode(&mut request, entrance, way.id),
        Err(refusal) => Err(refusal),
    };
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(refusal) => return misread(way, &request, request_id, refusal),
    };
    let Decoded { mut exchange, upgrade, trailers, retried, length } = decoded;
    let body = if upgrade.is_some() { Body::Empty } else { Body::from(request.into_body()) };
    let last = last_hop(&mut exchange);
    let mut course = Course::new(exchange, way.chain);
    course.request_id = Some(request_id.clone());
    course.retries = match (retried, way.direction) {
        (true, _) => Retries::Callers,
        (false, Direction::Inbound) => Retries::Elsewhere,
        (false, Direction::Gateway | Direction::Outbound) => Retries::Ours,
    };
    let limit = way.shared.max_body_bytes;
    // A body that breaks the limit by its own declaration need not be read at all.
    let early = length.filter(|length| *length > limit).map(|_| too_large(limit));
    let replay = Replay::received(body, limit, owners);
    // From here on the end is told whatever happens, a client that goes away included.
    let mut settle = Settle::new(way.local, way.shared, course, Some(replay.clone()));
    let walk = Walk { way, upgrade: upgrade.as_ref(), trailers };
    let walked = match (early, last) {
        (Some(refusal), _) => Err(Stop::Refused(refusal)),
        (None, Some(response)) => Ok(Walked::Response(response, None)),
        (None, None) => walk.go(settle.course(), replay).await,
    };
    let (response, deadline) = match walked {
        Ok(Walked::Response(response, deadline)) => (response, deadline),
        Ok(Walked::Upgraded(incoming)) => {
            return upgraded(way, upgrade, *incoming, settle);
        }
        Err(stop) => (stopped(settle.course(), stop, way.rules.reasons), None),
    };
    let response = match upgrade {
        Some(upgrade) if upgrade.extended && response.status().is_success() => {
            // A 2xx would say that the tunnel is open (RFC 8441 §5).
            let detail = format!("it was answered {} and no tunnel opened", response.status());
            let refusal = Refusal::new("request.protocol", 501, Fault::Host, detail);
            stopped(settle.course(), refusal.into(), way.rules.reasons)
        }
        _ => response,
    };
    settle.head(response.status().as_u16(), response.headers());
    response.map(|body| body.until(deadline).settled(settle))
}

/// Answers a request that has no one reading, and records it.
fn misread(
    way: &Way<'_>,
    request: &Request<Incoming>,
    request_id: &HeaderValue,
    refusal: Refusal,
) -> Response<OutBody> {
    let grpc = refuse::is_grpc(request.headers());
    let mut course = Course::new(refused(request, way.connection, way.id), way.chain);
    course.request_id = Some(request_id.clone());
    if grpc {
        let kind = HeaderValue::from_static("application/grpc");
        course.exchange.headers.insert(header::CONTENT_TYPE, kind);
    }
    let mut settle = Settle::new(way.local, way.shared, course, None);
    let response = stopped(settle.course(), refusal.into(), way.rules.reasons);
    settle.head(response.status().as_u16(), response.headers());
    response.map(|body| body.settled(settle))
}

/// Answers OPTIONS and TRACE that may go no further, and counts one hop on the others (RFC 9110 §7.6.2). A TRACE is not
/// sent back: it would show the client what hops before this one added.
fn last_hop(exchange: &mut Exchange) -> Option<Response<OutBody>> {
    if exchange.method != Method::OPTIONS && exchange.method != Method::TRACE {
        return None;
    }
    let left = exchange.headers.get(header::MAX_FORWARDS)?.to_str().ok()?;
    let left: u32 = left.parse().ok()?;
    if let Some(left) = left.checked_sub(1) {
        exchange.headers.insert(header::MAX_FORWARDS, HeaderValue::from(left));
        return None;
    }
    let mut response = Response::new(OutBody::plain(Body::Empty));
    if exchange.method == Method::TRACE {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    }
    let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    Some(response)
}

/// The answer of a way that ended early.
pub(crate) fn stopped(course: &mut Course, stop: Stop, reasons: Reasons) -> Response<OutBody> {
    match stop {
        Stop::Refused(refusal) => {
            if refusal.fault == Fault::Filter {
                course.outcome.insert(Outcome::REFUSED_BY_FILTER);
            }
            course.reason = Some(refusal.code.into());
            course.detail = Some(refusal.detail.clone());
            refuse::response(&refusal, Some(&course.exchange), reasons)
        }
        Stop::Answered(index, reply, reason) => {
            // A redirect or a page of a filter's own is an answer, and refuses nobody.
            if reply.status >= 400 {
                course.outcome.insert(Outcome::REFUSED_BY_FILTER);
            }
            course.answered_by = Some(index);
            course.asked.answered(index, reply.status);
            let response = refuse::answer(reply, reason.as_deref(), &course.exchange, reasons);
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
        route::change(local, course, &selection.request_edits, HeadSide::Request)?;
        let template = Template {
            upgrade: self.upgrade,
            trailers: self.trailers,
            retries: retries(local, course),
            body: &replay,
        };
        let sent = attempt::send(local, course, &selection, &upstream, &template).await;
        // Before what was sent is looked at: a body that a filter broke off is not the client's fault.
        if let Some(stop) = verdicts.and_then(|verdicts| verdicts.take()) {
            return Err(pump::stopped(course, local, stop));
        }
        let response = sent?;
        self.mirror(course, &selection, &replay);
        if upgrade::opens(self.upgrade, &response)? {
            // The head of a tunnel passes the hooks of responses like any other.
            let mut response = response;
            let headers = std::mem::take(response.headers_mut());
            respond::take_head(course, response.status(), headers, response.version());
            respond::head(local, course, &selection.response_edits)?;
            return Ok(Walked::Upgraded(Box::new(response)));
        }
        let (head, body) = response.into_parts();
        let mut headers = head.headers;
        if let Some(chain) = local.chain(course.chain) {
            chain.owners.clean_trailer_names(&mut headers);
        }
        if self.trailers && refuse::is_grpc(&headers) && !headers.contains_key(header::TRAILER) {
            // HTTP/1.1 names trailers before the body; those of gRPC are known.
            let names = "grpc-status, grpc-message, grpc-status-details-bin";
            headers.insert(header::TRAILER, HeaderValue::from_static(names));
        }
        respond::take_head(course, head.status, headers, head.version);
        let body = match respond::has_no_content(head.status) {
            true => Body::Empty,
            false => Body::from(body),
        };
        let response = respond::respond(local, course, &selection.response_edits, body).await?;
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
        return stopped(settle.course(), refusal.into(), way.rules.reasons)
            .map(|body| body.settled(settle));
    };
    let upstream = hyper::upgrade::on(&mut incoming);
    let mut headers = std::mem::take(&mut settle.course().exchange.response_headers);
    headers.remove(header::CONTENT_LENGTH);
    let mut response = Response::new(OutBody::plain(Body::Empty));
    if upgrade.extended {
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    } else {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade.protocol.clone());
    }
    *response.headers_mut() = headers;
    settle.head(response.status().as_u16(), response.headers());
    tunnel::join(upgrade, upstream, settle, way.shutdown.clone());
    response
}

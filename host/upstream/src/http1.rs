//! HTTP/1.1: a connection serves one request at a time and returns to the pool when the response was read.

use crate::attempt::SendFailure;
use crate::config::Protocol;
use crate::place::{Place, Placed};
use crate::pool::{Pool, with_causes};
use crate::protocol;
use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tamis_exchange::{Body, Cause};
use tamis_transport::{Expectation, ResponseControl, ResponseGate};

/// A connection and the gate for its responses.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    gate: ResponseControl,
}

/// An unused connection.
pub(crate) struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    pub(crate) fn is_usable(&self, limit: Duration, now: Instant) -> bool {
        let sender = &self.connection.sender;
        let idle = now.saturating_duration_since(self.since);
        !sender.is_closed() && sender.is_ready() && idle < limit
    }
}

/// What a waiting request gets.
pub(crate) enum Turn {
    /// A connection that another request has released.
    Connection(Connection),
    /// Permission to open one.
    Place(Place),
}

/// Fields in a head that hyper accepts by default.
const HYPER_FIELDS_MAX: usize = 100;

/// Interval at which places released by other workers are looked for while a request waits.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Sends on an idle connection or a new one. An upgraded connection belongs to the caller. `again` makes
/// the request once more; it is called only when a reused connection turned out to be broken.
pub(crate) async fn send(
    pool: &Rc<Pool>,
    request: Request<Body>,
    again: impl FnOnce() -> Option<Request<Body>>,
) -> Result<Response<Incoming>, SendFailure> {
    let mut request = on_the_wire(request);
    let expectation = expectation(&request);
    let connect = request.method() == Method::CONNECT;
    let repeatable = is_repeatable(&request);
    let mut again = Some(again);
    loop {
        let (mut connection, reused) = take(pool).await?;
        connection.gate.expect(expectation);
        match connection.sender.try_send_request(request).await {
            Ok(response) => {
                let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS
                    || (connect && response.status().is_success());
                if !upgraded {
                    give_back(pool, connection);
                }
                return Ok(response);
            }
            Err(mut error) => match error.take_message() {
                // The other side had closed it meanwhile and nothing was sent: the caller need not know.
                Some(unsent) if reused => request = unsent,
                Some(_) => {
                    return Err(SendFailure::untouched(Cause::Reset, with_causes(error.error())));
                }
                None => {
                    if protocol::is_broken_by(error.error()) {
                        return Err(SendFailure::protocol(with_causes(error.error())));
                    }
                    // It was closed while the request was on its way (RFC 9112 §9.3.1). Connections that
                    // were idle for longer are no better.
                    let stale = reused && repeatable && is_broken(error.error());
                    let again = if stale { again.take().and_then(|again| again()) } else { None };
                    let Some(again) = again else {
                        return Err(SendFailure::new(Cause::Reset, with_causes(error.error())));
                    };
                    pool.idle.borrow_mut().clear();
                    request = on_the_wire(again);
                }
            },
        }
    }
}

/// The kind of response expected to it.
fn expectation(request: &Request<Body>) -> Expectation {
    match *request.method() {
        Method::HEAD => Expectation::Head,
        Method::CONNECT => Expectation::Connect,
        _ if request.headers().contains_key(header::UPGRADE) => Expectation::Switch,
        _ => Expectation::Content,
    }
}

/// Whether the request may be sent twice: it has no body and an idempotent method (RFC 9110 §9.2.2).
fn is_repeatable(request: &Request<Body>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

/// Whether the connection ended without a whole response head.
fn is_broken(error: &hyper::Error) -> bool {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return true;
    }
    let source = std::error::Error::source(error);
    let kind = source.and_then(|source| source.downcast_ref()).map(io::Error::kind);
    matches!(
        kind,
        Some(
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected
                | io::ErrorKind::UnexpectedEof
        )
    )
}

/// The form for HTTP/1.1: a path as target, the host as a field (RFC 9112 §3.2).
fn on_the_wire(mut request: Request<Body>) -> Request<Body> {
    let uri = std::mem::take(request.uri_mut());
    let parts = uri.into_parts();
    let headers = request.headers_mut();
    if !headers.contains_key(header::HOST) {
        let host = parts.authority.as_ref().map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(host);
        headers.insert(header::HOST, host.unwrap_or_else(|_| HeaderValue::from_static("")));
    }
    if headers.contains_key(header::TE) && !headers.contains_key(header::CONNECTION) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    request
}

/// A connection, and whether it was used before. Rare states are boxed: otherwise the state of every
/// exchange would include their size, and it is moved more than once.
async fn take(pool: &Rc<Pool>) -> Result<(Connection, bool), SendFailure> {
    if pool.nobody_waits() {
        if let Some(connection) = last_used(pool) {
            return Ok((connection, true));
        }
        if let Some(place) = Place::take(pool) {
            return Box::pin(open(pool, place)).await.map(|connection| (connection, false));
        }
    }
    match Box::pin(wait(pool)).await? {
        Turn::Connection(connection) => Ok((connection, true)),
        Turn::Place(place) => {
            Box::pin(open(pool, place)).await.map(|connection| (connection, false))
        }
    }
}

/// Waits in the queue. The place in it is kept until the turn comes.
async fn wait(pool: &Pool) -> Result<Turn, SendFailure> {
    let mut turn = pool.queue()?;
    loop {
        match tokio::time::timeout(LOOK_AGAIN, &mut turn).await {
            Ok(Ok(turn)) => return Ok(turn),
            Ok(Err(_lost)) => turn = pool.queue()?,
            // A connection of another worker returns its place without notifying this one.
            Err(_elapsed) => pool.offer(),
        }
    }
}

/// The most recently used connection, so that others can grow old and be closed.
fn last_used(pool: &Pool) -> Option<Connection> {
    let limit = pool.policy.borrow().idle_timeout;
    let now = pool.state.clock.now();
    let mut idle = pool.idle.borrow_mut();
    while let Some(last) = idle.pop() {
        if last.is_usable(limit, now) {
            return Some(last.connection);
        }
    }
    None
}

/// Opens a connection and runs it on a task of its own.
async fn open(pool: &Rc<Pool>, place: Place) -> Result<Connection, SendFailure> {
    let stream = match pool.open(Protocol::Http1).await {
        Ok(stream) => stream,
        Err(failure) => {
            drop(place);
            pool.offer();
            return Err(failure);
        }
    };
    let limits = pool.policy.borrow().response;
    let gated = ResponseGate::new(Placed::new(stream, place), limits);
    let gate = gated.control();
    let mut builder = http1::Builder::new();
    if limits.max_fields > HYPER_FIELDS_MAX {
        // With this setting hyper allocates for each head, so it is only set where necessary.
        builder.max_headers(limits.max_fields);
    }
    let (sender, connection) = builder
        .handshake(TokioIo::new(gated))
        .await
        .map_err(|error| SendFailure::untouched(Cause::ConnectFailure, with_causes(&error)))?;
    let pool = Rc::downgrade(pool);
    drop(tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = with_causes(&error), "a connection to an endpoint broke");
        }
        // Its place is free by now, unless it was upgraded.
        if let Some(pool) = pool.upgrade() {
            pool.offer();
        }
    }));
    Ok(Connection { sender, gate })
}

/// Returns the connection to the pool once the response was read to its end.
fn give_back(pool: &Rc<Pool>, mut connection: Connection) {
    if connection.sender.is_closed() {
        return;
    }
    if connection.sender.is_ready() {
        return keep(pool, connection);
    }
    let pool = Rc::clone(pool);
    drop(tokio::task::spawn_local(async move {
        if connection.sender.ready().await.is_ok() {
            keep(&pool, connection);
        }
    }));
}

/// Gives the connection to the request that has waited longest, or stores it as idle.
fn keep(pool: &Pool, mut connection: Connection) {
    while let Some(waiter) = pool.next_waiter() {
        match waiter.send(Turn::Connection(connection)) {
            Err(Turn::Connection(back)) => connection = back,
            Ok(()) | Err(Turn::Place(_)) => return,
        }
    }
    if !pool.closed.get() {
        let since = pool.state.clock.now();
        pool.idle.borrow_mut().push(Idle { connection, since });
    }
}

//! HTTP/1.1: a connection serves one request at a time and goes back when the response was read.

use crate::attempt::SendFailure;
use crate::config::Protocol;
use crate::pool::{Place, Pool};
use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tamis_exchange::{Body, Cause};
use tokio::sync::oneshot;

/// A connection nobody uses.
pub(crate) struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

impl Idle {
    pub(crate) fn is_usable(&self, limit: Duration) -> bool {
        !self.sender.is_closed() && self.sender.is_ready() && self.since.elapsed() < limit
    }
}

/// How often another worker's connections are looked at while this one waits for a place.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Sends on an idle connection or a new one.
pub(crate) async fn send(
    pool: &Rc<Pool>,
    request: Request<Body>,
) -> Result<Response<Incoming>, SendFailure> {
    let mut request = on_the_wire(request);
    loop {
        let (mut sender, reused) = take(pool).await?;
        match sender.try_send_request(request).await {
            Ok(response) => {
                give_back(pool, sender);
                return Ok(response);
            }
            Err(mut error) => match error.take_message() {
                // The other side had closed it meanwhile and nothing was sent: nobody needs to know.
                Some(unsent) if reused => request = unsent,
                Some(_) => {
                    return Err(SendFailure::untouched(Cause::Reset, said(error.error())));
                }
                None => return Err(SendFailure::new(Cause::Reset, said(error.error()))),
            },
        }
    }
}

/// Sends on a connection of its own, which then belongs to whoever upgrades it.
pub(crate) async fn upgrade(
    pool: &Rc<Pool>,
    request: Request<Body>,
) -> Result<Response<Incoming>, SendFailure> {
    let request = on_the_wire(request);
    let mut sender = open(pool, Place::take(pool)).await?;
    sender.send_request(request).await.map_err(|error| SendFailure::new(Cause::Reset, said(&error)))
}

/// The form HTTP/1.1 wants: a path as target, the host as a field (RFC 9112 §3.2).
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

async fn take(pool: &Rc<Pool>) -> Result<(SendRequest<Body>, bool), SendFailure> {
    loop {
        if let Some(sender) = last_used(pool) {
            return Ok((sender, true));
        }
        if let Some(place) = Place::take(pool) {
            return open(pool, Some(place)).await.map(|sender| (sender, false));
        }
        let (send, turn) = oneshot::channel();
        {
            let mut waiters = pool.waiters.borrow_mut();
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.len() >= pool.policy.borrow().max_pending as usize {
                let detail = format!(
                    "{} has all its connections in use and {} requests wait",
                    pool.address,
                    waiters.len()
                );
                return Err(SendFailure::untouched(Cause::Other, detail));
            }
            waiters.push_back(send);
        }
        // Another worker's connection that ends gives its place back without a word to this one.
        drop(tokio::time::timeout(LOOK_AGAIN, turn).await);
    }
}

/// The connection used last, so that others can grow old and be closed.
fn last_used(pool: &Pool) -> Option<SendRequest<Body>> {
    let limit = pool.policy.borrow().idle_timeout;
    let mut idle = pool.idle.borrow_mut();
    while let Some(last) = idle.pop() {
        if last.is_usable(limit) {
            return Some(last.sender);
        }
    }
    None
}

/// Opens a connection and lets it run on a task of its own.
async fn open(pool: &Rc<Pool>, place: Option<Place>) -> Result<SendRequest<Body>, SendFailure> {
    let stream = pool.open(Protocol::Http1).await?;
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| SendFailure::untouched(Cause::ConnectFailure, said(&error)))?;
    drop(tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = said(&error), "a connection to an endpoint broke");
        }
        drop(place);
    }));
    Ok(sender)
}

/// Back to the pool once the response was read to its end.
fn give_back(pool: &Rc<Pool>, mut sender: SendRequest<Body>) {
    if sender.is_closed() {
        return;
    }
    let keep = |pool: &Rc<Pool>, sender| {
        if !pool.closed.get() {
            pool.idle.borrow_mut().push(Idle { sender, since: Instant::now() });
            pool.wake();
        }
    };
    if sender.is_ready() {
        return keep(pool, sender);
    }
    let pool = Rc::clone(pool);
    drop(tokio::task::spawn_local(async move {
        if sender.ready().await.is_ok() {
            keep(&pool, sender);
        }
    }));
}

/// An error with its causes.
pub(crate) fn said(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

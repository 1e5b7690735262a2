//! HTTP/2: few connections, many streams.

use crate::attempt::SendFailure;
use crate::config::Protocol;
use crate::http1::said;
use crate::pool::{Place, Pool};
use http::header;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tamis_exchange::{Body, Cause};

/// A connection and how much it carries.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    streams: Rc<Streams>,
}

struct Streams {
    open: Cell<u32>,
    last_used: Cell<Instant>,
}

/// A stream under way; dropped when its response was read or given up.
pub(crate) struct Stream(Rc<Streams>);

/// Streams on a connection before another is opened: the least a server should allow (RFC 9113 §6.5.2).
const STREAMS_MAX: u32 = 100;
/// What a peer may send on a stream, and on all of a connection, before it hears that it was read.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// How long an answer to a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest list of response fields.
const HEADER_LIST_BYTES: u32 = 64 * 1024;

impl Connection {
    pub(crate) fn is_usable(&self, idle: Duration) -> bool {
        let used = self.streams.open.get() > 0 || self.streams.last_used.get().elapsed() < idle;
        used && !self.sender.is_closed()
    }

    fn take(&self) -> (SendRequest<Body>, Stream) {
        self.streams.open.set(self.streams.open.get() + 1);
        (self.sender.clone(), Stream(Rc::clone(&self.streams)))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.last_used.set(Instant::now());
    }
}

/// Sends on a connection with room, or on a new one.
pub(crate) async fn send(
    pool: &Rc<Pool>,
    request: Request<Body>,
) -> Result<(Response<Incoming>, Stream), SendFailure> {
    let mut request = on_the_wire(request);
    // A connection that closed between two requests is not the request's fault; twice is.
    let mut fresh = false;
    loop {
        let (mut sender, stream) = take(pool, &mut fresh).await?;
        match sender.try_send_request(request).await {
            Ok(response) => return Ok((response, stream)),
            Err(mut error) => match error.take_message() {
                Some(unsent) if !fresh => request = unsent,
                Some(_) => {
                    return Err(SendFailure::untouched(Cause::RefusedStream, said(error.error())));
                }
                None => return Err(failure(error.error())),
            },
        }
    }
}

/// Host in the pseudo-header alone, nothing of one connection (RFC 9113 §8.2.2, §8.3.1).
fn on_the_wire(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::CONNECTION);
    request.headers_mut().remove(header::UPGRADE);
    *request.version_mut() = Version::HTTP_2;
    request
}

async fn take(
    pool: &Rc<Pool>,
    fresh: &mut bool,
) -> Result<(SendRequest<Body>, Stream), SendFailure> {
    if let Some(found) = find(pool) {
        return Ok(found);
    }
    // One connects, the others wait for its connection.
    let _connecting = pool.connecting.lock().await;
    if let Some(found) = find(pool) {
        return Ok(found);
    }
    *fresh = true;
    let stream = pool.open(Protocol::Http2).await?;
    let mut builder = Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_LIST_BYTES)
        .keep_alive_interval(pool.policy.borrow().keep_alive)
        .keep_alive_timeout(PING_TIMEOUT);
    let (sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| SendFailure::untouched(Cause::ConnectFailure, said(&error)))?;
    let place = Place::take(pool);
    drop(tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = said(&error), "a connection to an endpoint broke");
        }
        drop(place);
    }));
    let streams = Rc::new(Streams { open: Cell::new(0), last_used: Cell::new(Instant::now()) });
    let connection = Connection { sender, streams };
    let taken = connection.take();
    if !pool.closed.get() {
        pool.shared.borrow_mut().push(connection);
    }
    Ok(taken)
}

fn find(pool: &Pool) -> Option<(SendRequest<Body>, Stream)> {
    let mut shared = pool.shared.borrow_mut();
    if shared.iter().any(|one| one.sender.is_closed()) {
        shared.retain(|one| !one.sender.is_closed());
    }
    shared.iter().find(|one| one.streams.open.get() < STREAMS_MAX).map(Connection::take)
}

/// What an error of a stream or its connection means for another attempt (RFC 9113 §8.7).
fn failure(error: &hyper::Error) -> SendFailure {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || (error.is_go_away()
                    && error.is_remote()
                    && error.reason() == Some(h2::Reason::NO_ERROR));
            if refused {
                return SendFailure::new(Cause::RefusedStream, error.to_string());
            }
        }
        source = cause.source();
    }
    SendFailure::new(Cause::Reset, said(error))
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        drop(tokio::task::spawn_local(async move {
            task.await;
        }));
    }
}

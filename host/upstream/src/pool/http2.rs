//! HTTP/2: few connections, many streams.

use super::Pool;
use super::place::{ConnectionPlace, PlacedStream};
use crate::config::Protocol;
use crate::protocol;
use crate::send::SendFailure;
use http::header;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tamis_ambient::Clock;
use tamis_exchange::{Body, Cause};
use tamis_transport::causes;
use tamis_transport::{IDLE_FRAMES_MAX, MeteredStream};

/// A connection and its current load.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    streams: Rc<Streams>,
}

struct Streams {
    open: Cell<u32>,
    /// The peer's limit when the connection was last active.
    allowed: Cell<u32>,
    last_used: Cell<Instant>,
    clock: Clock,
}

/// A stream in progress; dropped when its response was read or given up.
pub(crate) struct Stream(Rc<Streams>);

/// Streams on a connection before another is opened, unless the peer allows fewer: the least a server
/// should allow (RFC 9113 §6.5.2).
const STREAMS_MAX: u32 = 100;
/// Most connections on which a request is tried that turn out to be closing.
const TRIES_MAX: u32 = 3;
/// Bytes that a peer may send on a stream, and on all of a connection, before we acknowledge them.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Time limit for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

impl Connection {
    pub(crate) fn is_usable(&self, limit: Duration, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.streams.last_used.get());
        let used = self.streams.open.get() > 0 || idle < limit;
        used && !self.sender.is_closed()
    }

    /// Whether the peer allows another stream. One stream is always tried, or connections would be opened
    /// endlessly.
    fn has_room(&self) -> bool {
        self.streams.open.get() < self.streams.allowed.get().clamp(1, STREAMS_MAX)
    }

    fn take(&self) -> (SendRequest<Body>, Stream) {
        self.streams.open.set(self.streams.open.get() + 1);
        (self.sender.clone(), Stream(Rc::clone(&self.streams)))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.last_used.set(self.0.clock.now());
    }
}

/// Sends on a connection with room, or on a new one.
pub(crate) async fn send(
    pool: &Rc<Pool>,
    request: Request<Body>,
) -> Result<(Response<Incoming>, Stream), SendFailure> {
    let mut request = on_the_wire(request);
    let mut tries = 0;
    loop {
        let (mut sender, stream, fresh) = take(pool).await?;
        tries += 1;
        match sender.try_send_request(request).await {
            Ok(response) if response.headers().len() > pool.policy.borrow().response.max_fields => {
                let fields = response.headers().len();
                let detail =
                    format!("the response has {fields} fields, `maxResponseFields` allows fewer");
                return Err(SendFailure::protocol(detail));
            }
            Ok(response) => return Ok((response, stream)),
            Err(mut error) => match error.take_message() {
                // A connection that closed between two requests is not the request's fault.
                Some(unsent) if !fresh && tries < TRIES_MAX => request = unsent,
                Some(_) => {
                    let detail = causes(error.error());
                    return Err(SendFailure::untouched(Cause::RefusedStream, detail));
                }
                None => return Err(failure(error.error())),
            },
        }
    }
}

/// Host only in the pseudo-header, and no fields of one connection (RFC 9113 §8.2.2, §8.3.1).
fn on_the_wire(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::CONNECTION);
    request.headers_mut().remove(header::UPGRADE);
    *request.version_mut() = Version::HTTP_2;
    request
}

/// A connection with room, and whether it is new.
async fn take(pool: &Pool) -> Result<(SendRequest<Body>, Stream, bool), SendFailure> {
    if let Some((sender, stream)) = find(pool) {
        return Ok((sender, stream, false));
    }
    // One request connects, the others wait for its connection, or fail as it did: otherwise each in turn
    // would wait as long again.
    let since = pool.state.clock.now();
    let _connecting = pool.connecting.lock().await;
    if let Some((sender, stream)) = find(pool) {
        return Ok((sender, stream, false));
    }
    if let Some((at, failure)) = pool.failed.borrow().as_ref()
        && *at >= since
    {
        return Err(failure.clone());
    }
    match Box::pin(open(pool)).await {
        Ok((sender, stream)) => Ok((sender, stream, true)),
        Err(failure) => {
            pool.failed.replace(Some((pool.state.clock.now(), failure.clone())));
            Err(failure)
        }
    }
}

/// Opens a connection, runs it on a task of its own and shares it.
async fn open(pool: &Pool) -> Result<(SendRequest<Body>, Stream), SendFailure> {
    let stream = pool.open(Protocol::Http2).await?;
    let head_bytes = pool.policy.borrow().response.max_head_bytes;
    let head_bytes = u32::try_from(head_bytes).unwrap_or(u32::MAX);
    let mut builder = Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(head_bytes)
        .keep_alive_interval(pool.policy.borrow().keep_alive)
        .keep_alive_timeout(PING_TIMEOUT);
    let placed = PlacedStream::new(stream, ConnectionPlace::count(pool));
    let (sender, mut connection) = builder
        .handshake(TokioIo::new(MeteredStream::to_server(placed, IDLE_FRAMES_MAX)))
        .await
        .map_err(|error| SendFailure::untouched(Cause::ConnectFailure, causes(&error)))?;
    let streams = Rc::new(Streams {
        open: Cell::new(0),
        allowed: Cell::new(STREAMS_MAX),
        last_used: Cell::new(pool.state.clock.now()),
        clock: pool.state.clock,
    });
    let told = Rc::clone(&streams);
    drop(tokio::task::spawn_local(async move {
        let ended = poll_fn(|cx| {
            let ended = Pin::new(&mut connection).poll(cx);
            let allowed = connection.current_max_send_streams();
            told.allowed.set(u32::try_from(allowed).unwrap_or(u32::MAX));
            ended
        });
        if let Err(error) = ended.await {
            tracing::debug!(error = causes(&error), "a connection to an endpoint broke");
        }
    }));
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
    shared.iter().find(|one| one.has_room()).map(Connection::take)
}

/// What an error of a stream or its connection means for another attempt (RFC 9113 §8.7). A stream that the
/// peer refused was not processed.
fn failure(error: &hyper::Error) -> SendFailure {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || (error.is_go_away()
                    && error.is_remote()
                    && error.reason() == Some(h2::Reason::NO_ERROR));
            if refused {
                return SendFailure::untouched(Cause::RefusedStream, error.to_string());
            }
        }
        source = cause.source();
    }
    if protocol::is_broken_by(error) {
        return SendFailure::protocol(causes(error));
    }
    SendFailure::new(Cause::Reset, causes(error))
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

//! HTTP/2: few connections, many streams. The `h2` crate reads and writes frames; a connection has one task, which drives it.

mod exchange;
mod queue;
mod upload;

pub(crate) use queue::StreamQueue;

use super::Pool;
use super::place::{ConnectionPlace, PlacedStream};
use crate::config::Protocol;
use crate::protocol;
use crate::send::SendFailure;
use bytes::Bytes;
use exchange::{RequestToSend, exchange};
use h2::client::{Builder, SendRequest};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use queue::{CountedConnection, WaitingRequest};
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tamis_ambient::Clock;
use tamis_exchange::{Body, Cause};
use tamis_transport::causes;
use tamis_transport::{IDLE_FRAMES_MAX, KeepAlive, MeteredStream, PingTimes};
use tokio::io::{AsyncRead, AsyncWrite};
use upload::UploadBesideResponse;

/// A connection and its current load.
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    streams: Rc<Streams>,
}

struct Streams {
    open: Cell<u32>,
    /// The peer's limit when the connection was last active.
    allowed: Cell<u32>,
    /// How many of its responses nobody read to their end.
    given_up: Cell<u32>,
    last_used: Cell<Instant>,
    clock: Clock,
    queue: Rc<StreamQueue>,
}

/// A stream in progress; dropped when its response was read or given up.
pub(crate) struct Stream {
    streams: Rc<Streams>,
    upload: Option<Rc<UploadBesideResponse>>,
}

/// Streams on a connection before another is opened, unless the peer allows fewer: the least a server
/// should allow (RFC 9113 §6.5.2).
const STREAMS_MAX: u32 = 100;
/// Most connections on which a request is tried that turn out to be closing.
const TRIES_MAX: u32 = 3;
/// Bytes that a peer may send on a stream before its client reads them.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The same for a connection: all that its streams may send. Otherwise a few clients that read nothing would stop the
/// responses to all others.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_MAX;
/// Bytes of requests that wait to be written, on one stream.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;
/// Streams that clients gave up whose late frames are expected: they are dropped without a word. Each takes a few hundred
/// octets until [`GIVEN_UP_EXPECTED`] has passed.
const GIVEN_UP_KEPT: usize = 10_000;
/// Time for which late frames of such a stream are expected.
const GIVEN_UP_EXPECTED: Duration = Duration::from_secs(10);
/// Streams that clients gave up on a connection before it takes no new ones where there may be another connection, and ends with
/// those that it has. It keeps its place until then; where all places are taken it goes on, as otherwise a few long responses on
/// such connections would keep everybody from the endpoint. What is on its way for them may come late, and each late frame counts towards [`ERROR_RESETS_MAX`]: at most 17 frames of the
/// usual size for a window of [`STREAM_WINDOW_BYTES`]. So no client that gives up downloads ends those of others.
const GIVEN_UP_MAX: u32 = 4_096;
/// Streams that we reset because of what the peer sent, before the connection ends.
const ERROR_RESETS_MAX: usize = 100_000;
/// Time limit for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

impl Connection {
    pub(crate) fn is_usable(&mut self, limit: Duration, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.streams.last_used.get());
        let used = self.streams.open.get() > 0 || idle < limit;
        used && !self.is_closed()
    }

    /// Whether the peer takes no more requests: it said so, or the connection broke.
    fn is_closed(&mut self) -> bool {
        // Only a handle that has sent a request waits; this one sends none.
        let mut cx = Context::from_waker(Waker::noop());
        matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Whether the peer allows another stream.
    fn has_room(&self) -> bool {
        self.streams.open.get() < self.streams.allowed.get().min(STREAMS_MAX)
    }

    /// Whether it takes no more streams: the peer allows none, for it is about to go.
    fn is_closing(&self) -> bool {
        self.streams.allowed.get() == 0
    }

    /// Whether so many were given up on it that another takes its place, as soon as there may be another.
    fn is_worn(&self) -> bool {
        self.streams.given_up.get() >= GIVEN_UP_MAX
    }

    fn is_idle(&self) -> bool {
        self.streams.open.get() == 0
    }

    fn take(&self) -> (SendRequest<Bytes>, Stream) {
        self.streams.open.set(self.streams.open.get().saturating_add(1));
        let streams = Rc::clone(&self.streams);
        (self.sender.clone(), Stream { streams, upload: None })
    }
}

impl Streams {
    /// A stream ended.
    fn ended(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        self.last_used.set(self.clock.now());
        self.queue.notify();
    }
}

/// A response that has not ended. Dropped before [`Self::ended`], it counts as given up.
struct UnendedResponse(Option<Rc<Streams>>);

impl UnendedResponse {
    fn of(stream: &Stream) -> Self {
        Self(Some(Rc::clone(&stream.streams)))
    }

    fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for UnendedResponse {
    fn drop(&mut self) {
        if let Some(streams) = &self.0 {
            streams.given_up.set(streams.given_up.get().saturating_add(1));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.upload.as_ref().is_some_and(|upload| upload.outlives_response()) {
            self.streams.ended();
        }
    }
}

/// Sends on a connection with room, or on a new one. Interim responses are passed to `interim` as they arrive.
pub(crate) async fn send(
    pool: &Rc<Pool>,
    request: Request<Body>,
    interim: &dyn Fn(StatusCode, HeaderMap),
) -> Result<(Response<Body>, Stream), SendFailure> {
    let request = on_the_wire(request);
    let mut tries = 0;
    loop {
        let (mut sender, mut stream, fresh) = take(pool).await?;
        tries += 1;
        match poll_fn(|cx| sender.poll_ready(cx)).await {
            Ok(()) => {
                let (limits, opens_within) = {
                    let settings = pool.settings.borrow();
                    // Only of a new connection it is unknown how many streams the peer allows.
                    (settings.response, fresh.then_some(settings.connect_timeout))
                };
                let sent = RequestToSend { request, opens_within, limits };
                let response = exchange(&mut sender, &mut stream, sent, interim).await?;
                return Ok((response, stream));
            }
            // A connection that closed between two requests is not the request's fault.
            Err(_) if !fresh && tries < TRIES_MAX => {}
            Err(error) => {
                return Err(SendFailure::untouched(Cause::RefusedStream, causes(&error)));
            }
        }
    }
}

/// Fields of one connection (RFC 9113 §8.2.2), and the host, which is in the pseudo-header (§8.3.1).
const NOT_OF_HTTP2: [HeaderName; 6] = [
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The request without them, and with the length of its content where that is known.
fn on_the_wire(mut request: Request<Body>) -> Request<Body> {
    let length = request.body().size_hint().exact();
    let counts = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    let headers = request.headers_mut();
    for name in &NOT_OF_HTTP2 {
        headers.remove(name);
    }
    if headers.get(header::TE).is_some_and(|te| te != "trailers") {
        headers.remove(header::TE);
    }
    if let Some(length) = length.filter(|length| counts || *length > 0)
        && !headers.contains_key(header::CONTENT_LENGTH)
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *request.version_mut() = Version::HTTP_2;
    request
}

/// A connection with room, and whether it is new.
async fn take(pool: &Pool) -> Result<(SendRequest<Bytes>, Stream, bool), SendFailure> {
    if pool.streams.is_empty()
        && let Some((sender, stream)) = find(pool)
    {
        return Ok((sender, stream, false));
    }
    Box::pin(connect_or_wait(pool)).await
}

/// Opens a connection, or waits for room on one if the endpoint has all its connections.
async fn connect_or_wait(pool: &Pool) -> Result<(SendRequest<Bytes>, Stream, bool), SendFailure> {
    let mut waiting = None;
    loop {
        let since = pool.state.clock.now();
        {
            // One request connects, the others wait for its connection, or fail as it did: otherwise each in turn
            // would wait as long again.
            let _connecting = pool.connecting.lock().await;
            if (waiting.is_some() || pool.streams.is_empty())
                && let Some((sender, stream)) = find(pool)
            {
                return Ok((sender, stream, false));
            }
            if let Some((at, failure)) = pool.failed.borrow().as_ref()
                && *at >= since
            {
                return Err(failure.clone());
            }
            if let Some(place) = place(pool) {
                let opened = open(pool, place).await;
                return opened.map(|(sender, stream)| (sender, stream, true)).inspect_err(
                    |failure| {
                        let failed = (pool.state.clock.now(), failure.clone());
                        pool.failed.replace(Some(failed));
                    },
                );
            }
            if (waiting.is_some() || pool.streams.is_empty())
                && let Some((sender, stream)) = find_worn(pool)
            {
                return Ok((sender, stream, false));
            }
        }
        if waiting.is_none() {
            waiting = Some((WaitingRequest::enter(pool)?, pool.state.queue.enter()));
        }
        if let Some((waiting, _)) = &waiting {
            waiting.turn().await;
        }
    }
}

/// A place for one more connection. A worker without one takes it in any case: streams are not shared by workers.
fn place(pool: &Pool) -> Option<ConnectionPlace> {
    let has_none = pool.streams.has_no_connection();
    ConnectionPlace::take(pool).or_else(|| has_none.then(|| ConnectionPlace::count(pool)))
}

/// Opens a connection, runs it on a task of its own and shares it.
async fn open(
    pool: &Pool,
    place: ConnectionPlace,
) -> Result<(SendRequest<Bytes>, Stream), SendFailure> {
    let stream = pool.open(Protocol::Http2).await?;
    let placed = PlacedStream::new(stream, place);
    let io = MeteredStream::to_server(placed, IDLE_FRAMES_MAX);
    let heard = io.heard();
    let head_bytes = pool.settings.borrow().response.max_head_bytes;
    let opened = builder(head_bytes).handshake(io).await;
    let (sender, mut connection) =
        opened.map_err(|error| SendFailure::untouched(Cause::ConnectFailure, causes(&error)))?;
    let streams = Rc::new(Streams {
        open: Cell::new(0),
        allowed: Cell::new(STREAMS_MAX),
        given_up: Cell::new(0),
        last_used: Cell::new(pool.state.clock.now()),
        clock: pool.state.clock,
        queue: Rc::clone(&pool.streams),
    });
    let keep_alive = pool.settings.borrow().keep_alive.map(|interval| {
        let times = PingTimes { interval, timeout: PING_TIMEOUT };
        KeepAlive::new(connection.ping_pong(), heard, times)
    });
    drop(tokio::task::spawn_local(drive(
        connection,
        keep_alive,
        Rc::clone(&streams),
        pool.streams.connected(),
    )));
    let connection = Connection { sender, streams };
    let taken = connection.take();
    if !pool.closed.get() {
        pool.shared.borrow_mut().push(connection);
    }
    Ok(taken)
}

fn builder(head_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_max_send_streams(STREAMS_MAX as usize)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(GIVEN_UP_KEPT)
        .reset_stream_duration(GIVEN_UP_EXPECTED)
        .max_local_error_reset_streams(Some(ERROR_RESETS_MAX))
        .enable_push(false);
    builder
}

/// Drives a connection to its end. It is pinged only while it has streams.
async fn drive<IO: AsyncRead + AsyncWrite + Unpin>(
    mut connection: h2::client::Connection<IO, Bytes>,
    mut keep_alive: Option<KeepAlive>,
    streams: Rc<Streams>,
    _counted: CountedConnection,
) {
    let ended = poll_fn(|cx| {
        if streams.open.get() > 0
            && let Some(keep_alive) = &mut keep_alive
            && keep_alive.poll(cx).is_ready()
        {
            tracing::debug!("an endpoint did not answer a ping");
            return Poll::Ready(Ok(()));
        }
        let ended = Pin::new(&mut connection).poll(cx);
        if let Some(keep_alive) = &mut keep_alive {
            keep_alive.note_heard();
        }
        let allowed = connection.max_concurrent_send_streams();
        streams.allowed.set(u32::try_from(allowed).unwrap_or(u32::MAX));
        ended
    });
    if let Err(error) = ended.await {
        tracing::debug!(error = causes(&error), "a connection to an endpoint broke");
    }
}

fn find(pool: &Pool) -> Option<(SendRequest<Bytes>, Stream)> {
    let mut shared = pool.shared.borrow_mut();
    // Requests on one that is closing go on.
    shared.retain_mut(|one| {
        let is_worn_out = one.is_worn() && one.is_idle();
        !one.is_closed() && !one.is_closing() && !is_worn_out
    });
    shared.iter().find(|one| one.has_room() && !one.is_worn()).map(Connection::take)
}

/// The least worn connection with room: for those who find no other and may open none.
fn find_worn(pool: &Pool) -> Option<(SendRequest<Bytes>, Stream)> {
    let shared = pool.shared.borrow();
    let worn = shared.iter().filter(|one| one.has_room() && one.is_worn());
    worn.min_by_key(|one| one.streams.given_up.get()).map(Connection::take)
}

/// What an error of a stream or its connection means for another attempt (RFC 9113 §8.7). A stream that the
/// peer refused was not processed.
fn failure(error: &h2::Error) -> SendFailure {
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || (error.is_go_away()
            && error.is_remote()
            && error.reason() == Some(h2::Reason::NO_ERROR));
    if refused {
        return SendFailure::untouched(Cause::RefusedStream, causes(error));
    }
    if protocol::is_refused_by(error) {
        return SendFailure::untouched(Cause::ConnectFailure, causes(error));
    }
    if protocol::is_broken_by(error) {
        return SendFailure::protocol(causes(error));
    }
    SendFailure::new(Cause::Reset, causes(error))
}

//! HTTP/1.1: a connection serves one request at a time and returns to the pool when the response was read.
//!
//! The task of the exchange writes the request and reads the response. Only a response that begins before its request is
//! written whole gets a task, so that neither direction waits for a reader of the other.

mod body;

use super::Pool;
use super::idle::last_used;
use super::lease::{LeasedConnection, PoolTurn};
use super::place::{ConnectionPlace, PlacedStream, TunnelPlace};
use super::watch::watch;
use crate::config::Protocol;
use crate::protocol;
use crate::send::{SendFailure, UpstreamRequest};
use body::{ResponseBody, both_ways};
use http::{HeaderMap, Response, StatusCode};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tamis_exchange::{Body, Cause};
use tamis_transport::{
    ClientConnection, Http1ClientError, OutgoingRequest, PrefixedStream, ResponseHead, causes,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An upstream's side of a tunnel. It keeps its place among the endpoint's connections, and that among its tunnels.
pub struct Tunnel {
    io: Box<PrefixedStream<PlacedStream>>,
    _place: Option<TunnelPlace>,
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_read(cx, out)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_shutdown(cx)
    }
}

/// Interval at which places released by other workers are looked for while a request waits.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Sends on an idle connection or a new one; with the tunnel, if the protocol changed. `again` makes the same request a
/// second time, if its body can be read from its first octet; it is called only when a reused connection turned out to be
/// broken. Interim responses are passed to `interim` as they arrive. A request for a tunnel comes with its place, which is
/// free again if it becomes none.
pub(crate) async fn send(
    pool: &Rc<Pool>,
    (mut request, place): (OutgoingRequest<Body>, Option<TunnelPlace>),
    again: impl FnOnce() -> Option<UpstreamRequest>,
    interim: &dyn Fn(StatusCode, HeaderMap),
) -> Result<(Response<Body>, Option<Tunnel>), SendFailure> {
    let idempotent = request.is_idempotent();
    let mut again = Some(again);
    loop {
        let mut lease = take(pool).await?;
        let Some(connection) = lease.connection() else { continue };
        let sent = poll_fn(|cx| {
            let sent = connection.poll_exchange(cx, &mut request);
            connection.take_interims().for_each(|(status, headers)| interim(status, headers));
            sent
        });
        let sent = sent.await;
        let (written, source) = match sent {
            Ok(head) => return Ok(receive(lease, (request, place), head)),
            Err(Http1ClientError::Broken { written, source }) => (written, source),
            Err(error) => return Err(failure(&error)),
        };
        let reused = lease.reused;
        drop(lease);
        match written {
            // The other side had closed it meanwhile and nothing was sent: the caller need not know.
            0 if reused => continue,
            _ if !reused && protocol::is_refused_by(&source) => {
                return Err(SendFailure::untouched(Cause::ConnectFailure, causes(&source)));
            }
            0 => return Err(SendFailure::untouched(Cause::Reset, causes(&source))),
            _ if protocol::is_broken_by(&source) => {
                return Err(SendFailure::protocol(causes(&source)));
            }
            _ => {}
        }
        // It was closed while the request was on its way (RFC 9112 §9.3.1). Connections that were idle for
        // longer are no better.
        let again = if reused && idempotent { again.take() } else { None };
        let Some(again) = again.and_then(|again| again()) else {
            return Err(SendFailure::new(Cause::Reset, causes(&source)));
        };
        pool.idle.borrow_mut().clear();
        request = again.written();
    }
}

fn failure(error: &Http1ClientError) -> SendFailure {
    match error {
        Http1ClientError::Refused(_) => SendFailure::protocol(causes(error)),
        Http1ClientError::Request(_) | Http1ClientError::Broken { .. } => {
            SendFailure::new(Cause::Reset, causes(error))
        }
    }
}

/// The response whose head has arrived.
fn receive(
    mut lease: LeasedConnection,
    (request, place): (OutgoingRequest<Body>, Option<TunnelPlace>),
    head: ResponseHead,
) -> (Response<Body>, Option<Tunnel>) {
    let mut tunnel = None;
    let written = request.is_written();
    let whole = lease.connection().and_then(|connection| connection.take_whole());
    let body = match whole {
        _ if head.tunnel => {
            let io = lease.connection.take().map(|it| Box::new(it.into_tunnel()));
            tunnel = io.map(|io| Tunnel { io, _place: place });
            Body::Empty
        }
        Some(octets) => {
            // What is left of a request that was answered goes nowhere.
            if written {
                lease.give_back();
            }
            Body::full(octets)
        }
        None if written => Body::stream(ResponseBody::new(lease)),
        None => both_ways(lease, request),
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.version_mut() = head.version;
    *response.headers_mut() = head.headers;
    (response, tunnel)
}

/// A connection. Rare states are boxed: otherwise the state of every exchange would include their size, and
/// it is moved more than once.
async fn take(pool: &Rc<Pool>) -> Result<LeasedConnection, SendFailure> {
    if pool.nobody_waits() {
        if let Some(connection) = last_used(pool) {
            return Ok(LeasedConnection::new(pool, connection, true));
        }
        if let Some(place) = ConnectionPlace::take(pool) {
            return Box::pin(open(pool, place)).await;
        }
    }
    match Box::pin(wait(pool)).await? {
        PoolTurn::Connection(connection) => Ok(LeasedConnection::new(pool, connection, true)),
        PoolTurn::Place(place) => Box::pin(open(pool, place)).await,
    }
}

/// Waits in the queue. The place in it is kept until the turn comes.
async fn wait(pool: &Pool) -> Result<PoolTurn, SendFailure> {
    let mut turn = pool.queue()?;
    let _waits = pool.state.queue.enter();
    loop {
        match tokio::time::timeout(LOOK_AGAIN, &mut turn).await {
            Ok(Ok(turn)) => return Ok(turn),
            Ok(Err(_lost)) => turn = pool.queue()?,
            // A connection of another worker returns its place without notifying this one.
            Err(_elapsed) => pool.offer(),
        }
    }
}

/// Opens a connection.
async fn open(pool: &Rc<Pool>, place: ConnectionPlace) -> Result<LeasedConnection, SendFailure> {
    let stream = match pool.open(Protocol::Http1).await {
        Ok(stream) => stream,
        Err(failure) => {
            drop(place);
            pool.offer();
            return Err(failure);
        }
    };
    watch(pool);
    let limits = pool.settings.borrow().response;
    let connection = ClientConnection::new(PlacedStream::new(stream, place), limits);
    Ok(LeasedConnection::new(pool, Box::new(connection), false))
}

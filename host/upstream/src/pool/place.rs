//! Places among an endpoint's connections, shared by all workers.

use super::Pool;
use crate::caller_shares::CallerShares;
use crate::endpoint_state::EndpointState;
use crate::send::SendFailure;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use tamis_transport::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A place; returned when dropped.
pub(crate) struct ConnectionPlace {
    endpoint: Arc<EndpointState>,
    /// The caller in whose share it counts.
    caller: Option<Arc<str>>,
}

impl ConnectionPlace {
    /// Takes a place if one is free.
    pub(crate) fn take(pool: &Pool) -> Option<Self> {
        let limit = pool.settings.borrow().max_connections;
        let taken =
            pool.state.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < limit).then_some(n + 1)
            });
        taken.is_ok().then(|| Self::counted(pool))
    }

    /// Takes a place if one is free, for what a caller holds for as long as it likes. A caller that is known by its identity or its
    /// address gets at most half of them, over all listeners: the others are left to other callers.
    ///
    /// # Errors
    /// None is free, or the caller has its share.
    pub(crate) fn take_for(pool: &Pool, caller: Option<&Arc<str>>) -> Result<Self, SendFailure> {
        let mut place = Self::take(pool).ok_or_else(|| {
            let detail = format!("{} has all its connections in use", pool.address);
            SendFailure::connections(detail)
        })?;
        let Some(caller) = caller else { return Ok(place) };
        let limit = pool.settings.borrow().max_connections;
        let share = CallerShares::share(limit);
        if !pool.state.callers.join(caller, share) {
            return Err(SendFailure::connections(format!(
                "its client has {share} connections to {}, its share of the {limit}",
                pool.address
            )));
        }
        place.caller = Some(Arc::clone(caller));
        Ok(place)
    }

    /// Takes a place even if none is free: for shared connections, which are few.
    pub(crate) fn count(pool: &Pool) -> Self {
        pool.state.connections.fetch_add(1, Ordering::Relaxed);
        Self::counted(pool)
    }

    fn counted(pool: &Pool) -> Self {
        Self { endpoint: Arc::clone(&pool.state), caller: None }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        if let Some(caller) = &self.caller {
            self.endpoint.callers.leave(caller);
        }
        self.endpoint.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among the tunnels of an endpoint; returned when dropped.
pub(crate) struct TunnelPlace(Arc<EndpointState>);

impl TunnelPlace {
    /// Takes a place. Tunnels last for as long as their ends like, so they get at most half of the endpoint's
    /// connections, and at least one: the others are left to requests.
    ///
    /// # Errors
    /// All of them are taken.
    pub(crate) fn take(pool: &Pool) -> Result<Self, SendFailure> {
        let limit = pool.settings.borrow().max_connections;
        let most = (limit / 2).max(1);
        let taken = pool
            .state
            .tunnels
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most).then_some(n + 1));
        match taken {
            Ok(_before) => Ok(Self(Arc::clone(&pool.state))),
            Err(_all) => Err(SendFailure::tunnels(format!(
                "{} has {most} tunnels, which may take no more of its {limit} connections",
                pool.address
            ))),
        }
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among the copies of requests that are under way to an endpoint; returned when dropped.
pub struct CopyPlace(Arc<EndpointState>);

impl CopyPlace {
    /// Takes a place. Nobody waits for a copy, and whoever gets it decides how long it lasts, so copies get at most half of the
    /// endpoint's connections, and at least one, and only while no request waits for a connection and one is free.
    pub(crate) fn take(pool: &Pool) -> Option<Self> {
        let limit = pool.settings.borrow().max_connections;
        let is_free = pool.state.connections.load(Ordering::Relaxed) < limit
            || !pool.idle.borrow().is_empty()
            || !pool.shared.borrow().is_empty();
        if pool.state.queue.waiting() > 0 || !is_free {
            return None;
        }
        let most = (limit / 2).max(1);
        let taken = pool
            .state
            .copies
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most).then_some(n + 1));
        taken.is_ok().then(|| Self(Arc::clone(&pool.state)))
    }
}

impl Drop for CopyPlace {
    fn drop(&mut self) {
        self.0.copies.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection with its place, which it keeps until it is closed, upgraded or not.
pub(crate) struct PlacedStream {
    stream: Stream,
    _place: ConnectionPlace,
    /// Of a connection that is a tunnel from its beginning.
    _tunnel: Option<TunnelPlace>,
}

impl PlacedStream {
    pub(crate) fn new(stream: Stream, place: ConnectionPlace) -> Self {
        Self { stream, _place: place, _tunnel: None }
    }

    /// One that is a tunnel; `None`: among connections that are all tunnels.
    pub(crate) fn of_tunnel(self, place: Option<TunnelPlace>) -> Self {
        Self { _tunnel: place, ..self }
    }
}

impl AsyncRead for PlacedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PlacedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

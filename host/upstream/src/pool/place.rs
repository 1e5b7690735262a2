//! Places among an endpoint's connections, shared by all workers.

use super::Pool;
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
pub(crate) struct ConnectionPlace(Arc<EndpointState>);

impl ConnectionPlace {
    /// Takes a place if one is free.
    pub(crate) fn take(pool: &Pool) -> Option<Self> {
        let limit = pool.settings.borrow().max_connections;
        let taken =
            pool.state.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < limit).then_some(n + 1)
            });
        taken.is_ok().then(|| Self(Arc::clone(&pool.state)))
    }

    /// Takes a place even if none is free: for shared connections, which are few.
    pub(crate) fn count(pool: &Pool) -> Self {
        pool.state.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&pool.state))
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
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

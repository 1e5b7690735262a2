//! Idle HTTP/1 connections: which of them a request gets, and which are closed. `lease` puts them here, and `watch` notices
//! when one ends.

use super::Pool;
use super::place::PlacedStream;
use std::task::Context;
use std::time::{Duration, Instant};
use tamis_transport::ClientConnection;

/// A connection; boxed, because it moves between pool and exchange.
pub(crate) type Connection = Box<ClientConnection<PlacedStream>>;

/// An unused connection.
pub(crate) struct IdleConnection {
    connection: Connection,
    since: Instant,
}

impl IdleConnection {
    pub(super) fn new(connection: Connection, since: Instant) -> Self {
        Self { connection, since }
    }

    /// Whether it is open and was not idle for too long. `cx` is woken when it ends.
    fn is_usable(&mut self, limit: Duration, now: Instant, cx: &mut Context<'_>) -> bool {
        let idle = now.saturating_duration_since(self.since);
        idle < limit && self.connection.poll_ended(cx).is_pending()
    }
}

/// The most recently used connection, so that others can grow old and be closed.
pub(super) fn last_used(pool: &Pool) -> Option<Connection> {
    let limit = pool.settings.borrow().idle_timeout;
    let now = pool.state.clock.now();
    loop {
        let mut last = pool.idle.borrow_mut().pop()?;
        if pool.watched(|cx| last.is_usable(limit, now, cx)) {
            return Some(last.connection);
        }
    }
}

/// Closes idle connections that ended, were idle for too long, or take places for which requests of other workers wait.
pub(super) fn sweep(pool: &Pool) {
    let limit = pool.settings.borrow().idle_timeout;
    let now = pool.state.clock.now();
    let before = pool.idle.borrow().len();
    let mut idle = pool.idle.take();
    pool.watched(|cx| idle.retain_mut(|one| one.is_usable(limit, now, cx)));
    // The oldest ones; a request of this worker would have taken one.
    let wanted = pool.state.queue.waiting() as usize;
    drop(idle.drain(..wanted.min(idle.len())));
    let ended = idle.len() < before;
    pool.idle.replace(idle);
    if ended {
        pool.offer();
    }
}

/// Frees the memory that idle connections hold for their next response.
pub(super) fn shrink(pool: &Pool) {
    pool.idle.borrow_mut().iter_mut().for_each(|one| one.connection.shrink());
}

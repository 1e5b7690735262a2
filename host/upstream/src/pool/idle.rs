//! Idle HTTP/1 connections, and how a connection in use comes back to them.

use super::Pool;
use super::place::{ConnectionPlace, PlacedStream};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
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
    /// Whether it is open and was not idle for too long. `cx` is woken when it ends.
    fn is_usable(&mut self, limit: Duration, now: Instant, cx: &mut Context<'_>) -> bool {
        let idle = now.saturating_duration_since(self.since);
        idle < limit && self.connection.poll_ended(cx).is_pending()
    }
}

/// What a waiting request gets.
pub(crate) enum PoolTurn {
    /// A connection that another request has released.
    Connection(Connection),
    /// Permission to open one.
    Place(ConnectionPlace),
}

/// A connection in use. Dropped before it is given back, it is closed and its place is free.
pub(crate) struct Lease {
    pub(super) connection: Option<Connection>,
    pool: Rc<Pool>,
    /// Whether it served a request before.
    pub(super) reused: bool,
}

impl Lease {
    pub(super) fn new(pool: &Rc<Pool>, connection: Connection, reused: bool) -> Self {
        Self { connection: Some(connection), pool: Rc::clone(pool), reused }
    }

    /// The connection; `None` only once it was taken out.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Returns it to the pool if another request may follow.
    pub(super) fn give_back(mut self) {
        let Some(connection) = self.connection.take() else { return };
        if connection.is_reusable() {
            keep(&self.pool, connection);
        } else {
            drop(connection);
            self.pool.offer();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            self.pool.offer();
        }
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

/// Gives the connection to the request that has waited longest, or stores it as idle.
fn keep(pool: &Pool, mut connection: Connection) {
    while let Some(waiter) = pool.next_waiter() {
        match waiter.send(PoolTurn::Connection(connection)) {
            Err(PoolTurn::Connection(back)) => connection = back,
            Ok(()) | Err(PoolTurn::Place(_)) => return,
        }
    }
    let elsewhere = pool.state.queue.waiting() > 0;
    if !elsewhere && !pool.closed.get() && pool.watched(|cx| connection.poll_ended(cx).is_pending())
    {
        let since = pool.state.clock.now();
        pool.idle.borrow_mut().push(IdleConnection { connection, since });
        return;
    }
    drop(connection);
    pool.offer();
}

/// Notices the end of the pool's idle connections, all of them in one task.
pub(super) fn watch(pool: &Rc<Pool>) {
    if pool.watcher.borrow().is_some() {
        return;
    }
    // Until the task runs.
    pool.watcher.replace(Some(Waker::noop().clone()));
    let pool = Rc::downgrade(pool);
    drop(tokio::task::spawn_local(poll_fn(move |cx| poll_watch(&pool, cx))));
}

fn poll_watch(pool: &Weak<Pool>, cx: &Context<'_>) -> Poll<()> {
    let Some(pool) = pool.upgrade() else { return Poll::Ready(()) };
    pool.watcher.replace(Some(cx.waker().clone()));
    pool.state.queue.watch(pool.number(), cx.waker());
    sweep(&pool);
    Poll::Pending
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

//! HTTP/1 connections in use, and what becomes of them afterwards: a waiting request, the idle ones, or their end.

use super::Pool;
use super::idle::{Connection, IdleConnection};
use super::place::ConnectionPlace;
use std::rc::Rc;

/// What a waiting request gets.
pub(crate) enum PoolTurn {
    /// A connection that another request has released.
    Connection(Connection),
    /// Permission to open one.
    Place(ConnectionPlace),
}

/// A connection in use. Dropped before it is given back, it is closed and its place is free.
pub(crate) struct LeasedConnection {
    pub(super) connection: Option<Connection>,
    pool: Rc<Pool>,
    /// Whether it served a request before.
    pub(super) reused: bool,
}

impl LeasedConnection {
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

impl Drop for LeasedConnection {
    fn drop(&mut self) {
        if self.connection.take().is_some() {
            self.pool.offer();
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
        pool.idle.borrow_mut().push(IdleConnection::new(connection, since));
        return;
    }
    drop(connection);
    pool.offer();
}

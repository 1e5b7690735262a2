//! Requests that wait for room on a connection, when the endpoint has all its connections.

use super::super::Pool;
use crate::send::SendFailure;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Interval at which places released by other workers are looked for while a request waits.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The requests of a worker that wait for a stream to an endpoint.
#[derive(Debug, Default)]
pub(crate) struct StreamQueue {
    waiting: Cell<u32>,
    /// Connections of the worker that are open.
    connections: Cell<u32>,
    /// A stream ended.
    freed: Notify,
}

/// An open connection.
pub(super) struct CountedConnection(Rc<StreamQueue>);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get().saturating_sub(1));
        self.0.notify();
    }
}

/// A request in the queue; it leaves when this is dropped.
pub(super) struct WaitingRequest(Rc<StreamQueue>);

impl StreamQueue {
    /// Whether a new request may go ahead.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.get() == 0
    }

    /// Whether the worker has no connection to the endpoint.
    pub(super) fn has_no_connection(&self) -> bool {
        self.connections.get() == 0
    }

    /// Counts a connection until the result is dropped.
    pub(super) fn connected(self: &Rc<Self>) -> CountedConnection {
        self.connections.set(self.connections.get().saturating_add(1));
        CountedConnection(Rc::clone(self))
    }

    /// A stream ended.
    pub(super) fn notify(&self) {
        if !self.is_empty() {
            self.freed.notify_one();
        }
    }
}

impl WaitingRequest {
    /// Enters the queue.
    ///
    /// # Errors
    /// As many wait as may.
    pub(super) fn enter(pool: &Pool) -> Result<Self, SendFailure> {
        let (queue, waiting) = (Rc::clone(&pool.streams), pool.streams.waiting.get());
        if waiting >= pool.settings.borrow().max_pending {
            let detail = format!(
                "{} has all its connections in use and {waiting} requests wait (pool.pending)",
                pool.address
            );
            return Err(SendFailure::waiting(detail));
        }
        queue.waiting.set(waiting.saturating_add(1));
        Ok(Self(queue))
    }

    /// Waits until it is worth another look.
    pub(super) async fn turn(&self) {
        // A connection of another worker returns its place without notifying this one.
        drop(tokio::time::timeout(LOOK_AGAIN, self.0.freed.notified()).await);
    }
}

impl Drop for WaitingRequest {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

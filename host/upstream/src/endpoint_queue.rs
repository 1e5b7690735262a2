//! Requests that wait for a connection of an endpoint, as all workers see them.
//!
//! Connections belong to workers, and the places among them to the endpoint. One that is idle at a worker is a place that no
//! request of another worker gets, so whoever waits asks all workers to give up idle ones.

use crate::lock::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;

/// How many requests wait, and who has idle connections.
#[derive(Debug, Default)]
pub(crate) struct EndpointQueue {
    waiting: AtomicU32,
    /// The tasks that watch idle connections, by the number of their pool.
    watchers: Mutex<Vec<(usize, Waker)>>,
}

/// A request that waits, until dropped.
#[derive(Debug)]
pub(crate) struct WaitingTurn<'a>(&'a EndpointQueue);

impl EndpointQueue {
    /// The number of requests that wait, at whichever worker.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits, and asks all workers for the idle connections that they do not need.
    pub(crate) fn enter(&self) -> WaitingTurn<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        lock(&self.watchers).iter().for_each(|(_, watcher)| watcher.wake_by_ref());
        WaitingTurn(self)
    }

    /// Wakes that task from now on when a request begins to wait.
    pub(crate) fn watch(&self, pool: usize, watcher: &Waker) {
        let mut watchers = lock(&self.watchers);
        match watchers.iter_mut().find(|(known, _)| *known == pool) {
            Some((_, known)) => known.clone_from(watcher),
            None => watchers.push((pool, watcher.clone())),
        }
    }

    /// The pool is gone.
    pub(crate) fn forget(&self, pool: usize) {
        lock(&self.watchers).retain(|(known, _)| *known != pool);
    }
}

impl Drop for WaitingTurn<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

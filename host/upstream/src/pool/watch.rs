//! The task that notices the end of a pool's idle HTTP/1 connections.

use super::Pool;
use super::idle::sweep;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

/// Has the end of the pool's idle connections noticed, all of them by one task, which the first call starts.
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

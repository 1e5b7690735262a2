//! Draining, which can be cancelled: clients are sent elsewhere for a while, then the listeners close.

use super::{ProxyState, lock};
use crate::worker::Command;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tamis_transport::ListenerStage;

/// Progress of a drain.
#[derive(Default)]
pub(crate) struct Drain {
    /// Rises whenever a drain begins or is cancelled: a cancelled drain must not close anything later.
    pub(crate) number: u64,
    pub(crate) stage: ListenerStage,
    /// Whether listeners are closed.
    pub(crate) closed: bool,
    /// The drain can no longer be cancelled.
    pub(crate) last: bool,
    /// Called when listeners are closed.
    pub(crate) on_close: Option<Box<dyn FnOnce() + Send>>,
}

impl Drain {
    fn close(&mut self) {
        self.closed = true;
        if let Some(closed) = self.on_close.take() {
            closed();
        }
    }
}

/// The listeners are closed, or the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too late: the listeners are closed or the proxy is about to end; start it again")]
pub struct LeaveError;

/// How often to check whether the lame-duck time is over.
pub(crate) const STEP: Duration = Duration::from_millis(20);
/// How long to wait for workers: a worker that computes for longer obeys all the same.
const DONE_MAX: Duration = Duration::from_secs(2);

impl ProxyState {
    /// Sends a command to every worker, and waits until they have carried it out.
    fn send_all(&self, command: impl Fn(Sender<()>) -> Command) {
        let (done, wait) = channel();
        for worker in &self.workers {
            // Fails when the worker is gone; then there is nothing to wait for.
            drop(worker.send(command(done.clone())));
        }
        drop(done);
        let clock = self.shared.clock;
        let until = clock.now() + DONE_MAX;
        while wait.recv_timeout(until.saturating_duration_since(clock.now())).is_ok() {}
    }

    /// Accepts no more connections and lets open ones end.
    pub(crate) fn drain(&self) {
        let mut drain = lock(&self.drain);
        drain.number += 1;
        self.end(&mut drain);
    }

    fn end(&self, drain: &mut Drain) {
        self.shared.draining.store(true, Ordering::Relaxed);
        // Copies keep a socket open as well.
        lock(&self.bound).values_mut().for_each(|bound| bound.copies.clear());
        self.send_all(|done| Command::Drain { done });
        drain.stage = ListenerStage::End;
        drain.close();
    }

    /// Sends clients elsewhere for that time, then drains. Calling it again restarts the time.
    pub(crate) fn leave(self: &Arc<Self>, lame_duck: Duration) {
        let mut drain = lock(&self.drain);
        if drain.stage == ListenerStage::End {
            return;
        }
        drain.number += 1;
        self.shared.draining.store(true, Ordering::Relaxed);
        if lame_duck.is_zero() {
            return self.end(&mut drain);
        }
        drain.stage = ListenerStage::Leave;
        let accept = !drain.closed;
        self.send_all(|done| Command::Leave { accept, done });
        let (number, inner) = (drain.number, Arc::downgrade(self));
        drop(drain);
        let end = move || end_later(&inner, number, lame_duck);
        let thread = std::thread::Builder::new().name("tamis-drain".to_owned()).spawn(end);
        if thread.is_err() {
            self.drain();
        }
    }

    /// Cancels a drain.
    pub(crate) fn stay(&self) -> Result<(), LeaveError> {
        let mut drain = lock(&self.drain);
        if drain.closed || drain.last {
            return Err(LeaveError);
        }
        drain.number += 1;
        drain.stage = ListenerStage::Serve;
        self.shared.draining.store(false, Ordering::Relaxed);
        self.send_all(|_| Command::Stay);
        Ok(())
    }

    /// Another process has the sockets and serves: this one accepts no more connections.
    pub(crate) fn hand_over(self: &Arc<Self>) {
        // The last copies in this process: the sockets stay open in the other.
        lock(&self.bound).values_mut().for_each(|bound| bound.copies.clear());
        self.admin_shutdown.send_replace(ListenerStage::End);
        lock(&self.admin).take();
        {
            let mut drain = lock(&self.drain);
            self.shared.draining.store(true, Ordering::Relaxed);
            self.send_all(|done| Command::Leave { accept: false, done });
            drain.last = true;
            drain.close();
        }
        self.leave(self.lame_duck);
    }
}

/// Drains when the time is over, unless the drain was cancelled.
fn end_later(inner: &Weak<ProxyState>, number: u64, lame_duck: Duration) {
    let Some(clock) = inner.upgrade().map(|inner| inner.shared.clock) else { return };
    let until = clock.now() + lame_duck;
    loop {
        std::thread::sleep(STEP.min(until.saturating_duration_since(clock.now())));
        let Some(inner) = inner.upgrade() else { return };
        let mut drain = lock(&inner.drain);
        if drain.number != number {
            return;
        }
        if clock.now() >= until {
            return inner.end(&mut drain);
        }
    }
}

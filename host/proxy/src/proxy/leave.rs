//! The end of a proxy, or a pause: clients are sent elsewhere for a while, then the listeners close.

use super::{Inner, lock};
use crate::worker::Command;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tamis_transport::Stage;

/// How far a drain has come.
#[derive(Default)]
pub(crate) struct Drain {
    /// Rises whenever a drain begins or is called off: one that was called off must not close anything later.
    pub(super) number: u64,
    pub(super) stage: Stage,
    /// Whether listeners are closed.
    pub(super) closed: bool,
    /// Nobody calls it off any more.
    pub(super) last: bool,
}

/// The listeners are closed, or the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is too late: the proxy ends; start it again")]
pub struct TooLate;

/// How often somebody looks whether a lame duck's time is over.
pub(super) const STEP: Duration = Duration::from_millis(20);
/// How long workers are waited for: one that computes for longer does what it was told all the same.
const DONE_MAX: Duration = Duration::from_secs(2);

impl Inner {
    /// Tells every worker, and waits until they have done it: nothing is accepted any more by then, if that is what it says.
    fn tell(&self, command: impl Fn(Sender<()>) -> Command) {
        let (done, wait) = channel();
        for worker in &self.workers {
            // Fails when the worker is gone, and then there is nothing to tell it.
            drop(worker.send(command(done.clone())));
        }
        drop(done);
        let until = Instant::now() + DONE_MAX;
        while wait.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
    }

    /// Accepts nothing more and lets connections end.
    pub(crate) fn drain(&self) {
        let mut drain = lock(&self.drain);
        drain.number += 1;
        self.end(&mut drain);
    }

    fn end(&self, drain: &mut Drain) {
        self.shared.draining.store(true, Ordering::Relaxed);
        // Copies keep a socket open as well.
        lock(&self.bound).values_mut().for_each(|bound| bound.copies.clear());
        self.tell(|done| Command::Drain { done });
        (drain.stage, drain.closed) = (Stage::End, true);
    }

    /// Sends clients elsewhere for that time, then drains. Asked again, the time begins again.
    pub(crate) fn leave(self: &Arc<Self>, lame_duck: Duration) {
        let mut drain = lock(&self.drain);
        if drain.stage == Stage::End {
            return;
        }
        drain.number += 1;
        self.shared.draining.store(true, Ordering::Relaxed);
        if lame_duck.is_zero() {
            return self.end(&mut drain);
        }
        drain.stage = Stage::Leave;
        let accept = !drain.closed;
        self.tell(|done| Command::Leave { accept, done });
        let (number, inner) = (drain.number, Arc::downgrade(self));
        drop(drain);
        let end = move || end_later(&inner, number, lame_duck);
        let thread = std::thread::Builder::new().name("tamis-drain".to_owned()).spawn(end);
        if thread.is_err() {
            self.drain();
        }
    }

    /// Serves on after all.
    pub(crate) fn stay(&self) -> Result<(), TooLate> {
        let mut drain = lock(&self.drain);
        if drain.closed || drain.last {
            return Err(TooLate);
        }
        drain.number += 1;
        drain.stage = Stage::Serve;
        self.shared.draining.store(false, Ordering::Relaxed);
        self.tell(|_| Command::Stay);
        Ok(())
    }

    /// Another process has the sockets and serves: nothing more is accepted here.
    pub(super) fn hand_over(self: &Arc<Self>) {
        // The last copies that this process has: the sockets stay open in the other.
        lock(&self.bound).values_mut().for_each(|bound| bound.copies.clear());
        self.admin_stop.send_replace(Stage::End);
        lock(&self.admin).take();
        {
            let mut drain = lock(&self.drain);
            self.shared.draining.store(true, Ordering::Relaxed);
            self.tell(|done| Command::Leave { accept: false, done });
            (drain.closed, drain.last) = (true, true);
        }
        self.leave(self.lame_duck);
    }
}

/// Drains when the time is over, unless the drain was called off.
fn end_later(inner: &Weak<Inner>, number: u64, lame_duck: Duration) {
    let until = Instant::now() + lame_duck;
    loop {
        std::thread::sleep(STEP.min(until.saturating_duration_since(Instant::now())));
        let Some(inner) = inner.upgrade() else { return };
        let mut drain = lock(&inner.drain);
        if drain.number != number {
            return;
        }
        if Instant::now() >= until {
            return inner.end(&mut drain);
        }
    }
}

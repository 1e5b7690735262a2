//! Pings on a silent connection: a peer that is gone does not say so.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

/// How long a silence may be.
#[derive(Debug, Clone, Copy)]
pub struct PingTimes {
    /// Before the peer is asked whether it is there.
    pub interval: Duration,
    /// Before it is given up, once it was asked.
    pub timeout: Duration,
}

/// Asks the peer of a connection whether it is there.
pub struct KeepAlive {
    /// `None` when somebody else has taken it.
    pings: Option<PingPong>,
    /// Whether anything was read since this was last looked at.
    heard: Rc<Cell<bool>>,
    times: PingTimes,
    last: Instant,
    /// The end of the silence that is allowed, or of the time for the answer.
    timer: Pin<Box<Sleep>>,
    asked: bool,
}

impl KeepAlive {
    /// Keeps a connection alive with its `pings`. Each read of the connection sets `heard`.
    #[must_use]
    pub fn new(pings: Option<PingPong>, heard: Rc<Cell<bool>>, times: PingTimes) -> Self {
        let timer = Box::pin(tokio::time::sleep(times.interval));
        Self { pings, heard, times, last: Instant::now(), timer, asked: false }
    }

    /// Notes when something of the peer arrived last. Call it after the connection has read what there was.
    pub fn note_heard(&mut self) {
        if self.heard.take() {
            self.last = Instant::now();
        }
    }

    /// Ready when the peer has left a ping unanswered for too long. Call it whenever the task of the connection runs.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        // An error is that of the connection, which says it itself.
        if self.asked && matches!(pings.poll_pong(cx), Poll::Ready(Ok(_))) {
            (self.asked, self.last) = (false, Instant::now());
            let due = after(self.last, self.times.interval);
            self.timer.as_mut().reset(due);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.asked {
                return Poll::Ready(());
            }
            // A read does not move the timer. When the timer ends, it starts again from the last read.
            let (now, due) = (Instant::now(), after(self.last, self.times.interval));
            if now < due {
                self.timer.as_mut().reset(due);
                continue;
            }
            self.asked = pings.send_ping(Ping::opaque()).is_ok();
            let wait = if self.asked { self.times.timeout } else { self.times.interval };
            self.timer.as_mut().reset(after(now, wait));
            if self.asked && matches!(pings.poll_pong(cx), Poll::Ready(Ok(_))) {
                self.asked = false;
            }
        }
        Poll::Pending
    }
}

/// That much later, or ten years if time does not go that far.
fn after(then: Instant, wait: Duration) -> Instant {
    let far = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    then.checked_add(wait).or_else(|| then.checked_add(far)).unwrap_or(then)
}

impl std::fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeepAlive").field("times", &self.times).field("asked", &self.asked).finish()
    }
}

//! The tap: a live view of the exchanges of a proxy for its operator, a line of JSON for each that ends.
//!
//! Who watches holds up no exchange and costs a bounded amount: few watch at a time, each sees at most so many lines in a
//! second, and a line beyond what waits to be sent is left out and counted. While nobody watches, the end of an exchange
//! costs one look at a pointer.
//!
//! A line is an access record without what may be a secret or have any length: the path has no query and is cut, and there
//! is no `detail`.

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tamis_observe::AccessRecord;
use tamis_transport::{ListenerStage, Shutdown};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How many may watch at the same time.
pub(crate) const WATCHERS_MAX: usize = 4;
/// The most lines in a second that a watcher may ask for.
pub(crate) const PER_SECOND_MAX: u32 = 1_000;
/// Lines in a second for a watcher that asks for no number.
pub(crate) const PER_SECOND: u32 = 100;
/// Lines that wait for a watcher.
const WAITING_MAX: usize = 256;
/// The longest path of a line, in bytes.
const PATH_MAX: usize = 512;
/// The longest line, in bytes; one that is longer is left out and counted.
const LINE_MAX: usize = 8 * 1024;
/// How often a watcher learns what was left out; one who is gone is noticed when that cannot be sent.
const PAUSE: Duration = Duration::from_secs(1);

/// Everybody who watches.
#[derive(Default)]
pub(crate) struct Taps(ArcSwap<Vec<Arc<Watcher>>>);

/// Somebody who watches.
struct Watcher {
    lines: mpsc::Sender<Bytes>,
    rate: LineRate,
    /// Lines that were left out and not reported yet.
    skipped: AtomicU64,
}

/// As many watch as may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyWatchers;

impl Taps {
    /// Whether anybody watches.
    pub(crate) fn is_open(&self) -> bool {
        !self.0.load().is_empty()
    }

    /// Shows an exchange to everybody who watches. `now` is the time in seconds; when it jumps, a new second begins.
    pub(crate) fn show(&self, record: &AccessRecord<'_>, now: u64) {
        let watchers = self.0.load();
        let mut line = None;
        for watcher in watchers.iter() {
            // A line is made when the first one is due.
            let due = watcher.rate.admits(now).then(|| line.get_or_insert_with(|| written(record)));
            let sent = due.and_then(|line| watcher.lines.try_send(line.clone()?).ok());
            if sent.is_none() {
                watcher.skipped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Begins to watch; ends when the body is dropped, or the listener ends.
    ///
    /// # Errors
    /// As many watch as may.
    pub(crate) fn watch(
        self: &Arc<Self>,
        per_second: u32,
        mut ending: Shutdown,
    ) -> Result<TapBody, TooManyWatchers> {
        let (send, lines) = mpsc::channel(WAITING_MAX);
        let rate = LineRate { most: per_second, counted: AtomicU64::new(0) };
        let watcher = Arc::new(Watcher { lines: send, rate, skipped: AtomicU64::new(0) });
        let before = self.0.rcu(|watchers| {
            let mut watchers = Vec::clone(watchers);
            if watchers.len() < WATCHERS_MAX {
                watchers.push(Arc::clone(&watcher));
            }
            watchers
        });
        if before.len() >= WATCHERS_MAX {
            return Err(TooManyWatchers);
        }
        let mut reports = interval(PAUSE);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The listener ends, or everybody who could end it is gone.
        let end = async move { drop(ending.wait_for(|stage| *stage == ListenerStage::End).await) };
        Ok(TapBody { taps: Arc::clone(self), watcher, lines, reports, end: Box::pin(end) })
    }
}

/// How many lines of each second are shown.
struct LineRate {
    most: u32,
    /// The second in the upper half, its lines in the lower.
    counted: AtomicU64,
}

impl LineRate {
    /// Whether another line of this second is shown.
    fn admits(&self, now: u64) -> bool {
        let second = now << 32;
        let next = |counted: u64| {
            let lines = if counted & !u64::from(u32::MAX) == second { counted - second } else { 0 };
            (lines < u64::from(self.most)).then_some(second + lines + 1)
        };
        self.counted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// The line of a record; `None`: it would be too long.
fn written(record: &AccessRecord<'_>) -> Option<Bytes> {
    let path = record.path.split('?').next().unwrap_or_default();
    let path = path.get(..path.floor_char_boundary(PATH_MAX)).unwrap_or_default();
    let shown = AccessRecord { path, detail: None, outcome: record.outcome.clone(), ..*record };
    let mut line = serde_json::to_vec(&shown).ok()?;
    line.push(b'\n');
    (line.len() <= LINE_MAX).then(|| line.into())
}

/// What a watcher receives: a line for each exchange; every second `{"skipped":N}` if lines were left out, else an empty line.
pub(crate) struct TapBody {
    taps: Arc<Taps>,
    watcher: Arc<Watcher>,
    lines: mpsc::Receiver<Bytes>,
    reports: Interval,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Body for TapBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(line) = self.lines.poll_recv(cx) {
            return Poll::Ready(line.map(|line| Ok(Frame::data(line))));
        }
        let _tick = ready!(self.reports.poll_tick(cx));
        let line = match self.watcher.skipped.swap(0, Ordering::Relaxed) {
            0 => Bytes::from_static(b"\n"),
            skipped => Bytes::from(format!("{{\"skipped\":{skipped}}}\n")),
        };
        Poll::Ready(Some(Ok(Frame::data(line))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for TapBody {
    fn drop(&mut self) {
        self.taps.0.rcu(|watchers| {
            let others = watchers.iter().filter(|one| !Arc::ptr_eq(one, &self.watcher));
            others.cloned().collect::<Vec<_>>()
        });
    }
}

#[cfg(test)]
mod tests;

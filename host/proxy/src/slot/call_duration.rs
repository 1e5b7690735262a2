//! How long the calls of a filter take: whether they wait for turns follows from it.

use super::long_calls::LongCallTurns;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A filter whose calls take longer on average waits for its turn. A call of a policy takes a few microseconds.
const LONG: Duration = Duration::from_micros(100);
/// One call in so many is timed on average while the calls are short: two looks at a clock cost as much as a small hook.
const TIMED_EVERY: u32 = 16;
/// What an epoch of the engine lasts. Epochs are counted for all calls: that costs nothing.
const EPOCH: Duration = Duration::from_millis(1);
/// Most that is remembered of long calls: two hundred short ones make up for it.
const DEBT_MAX: Duration = Duration::from_millis(20);
/// A call that is timed moves the average by one part in so many of the difference.
const WEIGHT: u32 = 4;

/// How long the calls of a filter take in one worker.
#[derive(Debug)]
pub(crate) struct CallDuration {
    turns: LongCallTurns,
    /// Calls until the next one that is timed.
    left: Cell<u32>,
    average: Cell<Duration>,
    /// What the calls took, less one [`LONG`] for each: a filter some of whose calls are long counts as one with long calls
    /// until as many short ones have made up for them.
    debt: Cell<Duration>,
}

impl CallDuration {
    pub(crate) fn new(turns: LongCallTurns) -> Self {
        let (left, average, debt) = (Cell::default(), Cell::default(), Cell::default());
        Self { turns, left, average, debt }
    }

    /// Makes a call that does not wait, and measures it. `epochs` counts the epochs of the engine.
    pub(super) fn measure<T>(&self, epochs: impl Fn() -> u64, call: impl FnOnce() -> T) -> T {
        let (since, before) = (self.begin(), epochs());
        let answer = call();
        self.end(since, epochs().saturating_sub(before));
        answer
    }

    /// When a call begins, if it is timed.
    fn begin(&self) -> Option<Instant> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.unwrap_or(0));
        if left.is_some() && !self.is_long() {
            return None;
        }
        let now = self.turns.clock().now();
        if left.is_none() {
            self.left.set(self.next_timed(now));
        }
        Some(now)
    }

    /// After how many calls the next one is timed. The filter cannot know: it would be quick just then.
    fn next_timed(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.turns.since()).subsec_nanos() % (2 * TIMED_EVERY - 1)
    }

    /// Waits for a turn, if the calls take long.
    pub(crate) async fn turn(&self) {
        if self.is_long() {
            // Boxed, so that exchanges whose filters are quick need no room for it.
            Box::pin(self.turns.next()).await;
        }
    }

    /// Makes a call that may wait for an answer, right after [`Self::turn`]. It computes in parts; where such calls are long,
    /// each further one has a turn of its own. A call that is given up has taken what it took.
    pub(crate) async fn in_turns<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        let mut measured = MeasuredCall { duration: self, took: Duration::ZERO };
        loop {
            let since = self.turns.clock().now();
            let answer = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
            measured.add(since);
            match answer {
                Poll::Ready(answer) => return answer,
                Poll::Pending => woken().await,
            }
            if self.is_long() || measured.took > LONG {
                Box::pin(self.turns.next()).await;
            }
        }
    }

    /// A call took so long, of the time of its worker.
    fn took(&self, took: Duration) {
        let debt = self.debt.get().saturating_add(took).min(DEBT_MAX);
        self.debt.set(debt.saturating_sub(LONG));
        let average = self.average.get();
        let kept = average.saturating_sub(average / WEIGHT);
        self.average.set(kept.saturating_add(took / WEIGHT));
    }

    /// The call ended, `epochs` of the engine after its begin.
    fn end(&self, since: Option<Instant>, epochs: u64) {
        // The first may have been over at once.
        let passed = u32::try_from(epochs.saturating_sub(1)).unwrap_or(u32::MAX);
        if since.is_none() && passed == 0 {
            return self.debt.set(self.debt.get().saturating_sub(LONG));
        }
        let now = self.turns.clock().now();
        let took = since.map(|since| now.saturating_duration_since(since));
        let took = took.unwrap_or_else(|| EPOCH.saturating_mul(passed));
        self.took(took);
        if took > LONG {
            self.turns.call_ended(now, took);
        }
    }

    #[cfg(test)]
    pub(super) fn take_as_long(&self) {
        self.average.set(LONG.saturating_mul(1_000));
    }

    /// Whether they take long.
    pub(crate) fn is_long(&self) -> bool {
        self.average.get() > LONG || self.debt.get() > LONG
    }
}

/// What a call that may wait has taken of its worker so far.
struct MeasuredCall<'a> {
    duration: &'a CallDuration,
    took: Duration,
}

impl MeasuredCall<'_> {
    fn add(&mut self, since: Instant) {
        let turns = &self.duration.turns;
        let now = turns.clock().now();
        let part = now.saturating_duration_since(since);
        self.took = self.took.saturating_add(part);
        if part > LONG {
            turns.call_ended(now, part);
        }
    }
}

impl Drop for MeasuredCall<'_> {
    fn drop(&mut self) {
        self.duration.took(self.took);
    }
}

/// Waits until this task is woken, by whatever was polled before in it.
async fn woken() {
    let mut polled = false;
    poll_fn(|_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_ambient::ManualTime;
    use tokio::task::LocalSet;

    #[test]
    fn calls_are_long_by_their_average_and_one_outlier_is_forgotten() {
        let time = ManualTime::new();
        let calls = CallDuration::new(LongCallTurns::new(time.clock()));
        let call = |micros: u64, times: u32| {
            for _ in 0..times {
                let since = calls.begin();
                time.advance(Duration::from_micros(micros));
                calls.end(since, 0);
            }
            calls.is_long()
        };
        for (micros, times, long) in [
            (5, 1_000, false),
            // The timed one among so many is long enough to count at once.
            (4_000, 16, true),
            (5, 4, true),
            (5, 1_000, false),
            (90, 1_000, false),
            (120, 1_000, true),
            (5, 1_000, false),
            (0, 1_000, false),
        ] {
            assert_eq!(call(micros, times), long, "{times} calls of {micros} µs");
        }
    }

    #[test]
    fn a_short_call_is_timed_once_in_sixteen_and_a_long_one_always() {
        let time = ManualTime::new();
        let calls = CallDuration::new(LongCallTurns::new(time.clock()));
        let timed = || {
            let begun = |at: &u64| {
                // As irregular as calls are.
                time.advance(Duration::from_nanos(at.wrapping_mul(7_919) % 10_007));
                calls.begin().is_some()
            };
            (0..16_000).filter(begun).count()
        };
        assert!((800..1_250).contains(&timed()));
        calls.average.set(Duration::from_millis(1));
        assert_eq!(timed(), 16_000);
    }

    /// Of so many calls one is quick, or one is long; who knew which are timed would be quick in these.
    #[test]
    fn a_filter_that_is_quick_in_some_calls_and_long_in_others_counts_as_long_in_most() {
        for (of, quick, micros, epochs, most_unseen) in [
            (16, 1, 4_000, 4, 200),
            (16, 8, 4_000, 4, 200),
            (16, 15, 4_000, 4, 200),
            (32, 31, 4_000, 4, 200),
            // Too short for the engine to notice.
            (16, 1, 900, 0, 200),
            (16, 1, 1_900, 1, 200),
            (16, 8, 900, 0, 200),
        ] {
            let time = ManualTime::new();
            let calls = CallDuration::new(LongCallTurns::new(time.clock()));
            let mut unseen = 0;
            for at in 0..16_000_u64 {
                let (before, since) = (calls.is_long(), calls.begin());
                let is_long = at % of >= quick;
                let took = if is_long { micros } else { 3 };
                time.advance(
                    Duration::from_micros(took) + Duration::from_nanos(at * 7_919 % 10_007),
                );
                calls.end(since, if is_long { epochs } else { 0 });
                unseen += u64::from(is_long && !before);
            }
            let long = 16_000 / of * (of - quick);
            let row = format!("{quick} of {of}, {micros} µs: {unseen} of {long}");
            assert!(unseen * 1_000 <= long * most_unseen, "{row}");
        }
    }

    #[test]
    fn after_a_long_call_exchanges_without_one_have_the_worker_for_as_long_as_it_took() {
        // Exchanges without long calls, what the call took, whether the next turn is pending, in microseconds after its
        // end.
        for (others, took, after, waits) in [
            (1, 400, 0, true),
            (1, 400, 399, true),
            (1, 400, 400, false),
            (3, 400, 399, true),
            (0, 400, 0, false),
            (1, 90, 0, false),
            (1, 50_000, 1_999, true),
            (1, 50_000, 2_000, false),
        ] {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            LocalSet::new().block_on(&runtime.unwrap(), async {
                let time = ManualTime::new();
                let turns = LongCallTurns::new(time.clock());
                let calls = CallDuration::new(turns.clone());
                let others: Vec<_> = (0..others).map(|_| turns.undelayed()).collect();
                let since = calls.begin();
                time.advance(Duration::from_micros(took));
                calls.end(since, 0);
                time.advance(Duration::from_micros(after));
                let next = turns.clone();
                let waiting = tokio::task::spawn_local(async move { next.next().await });
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                let case = format!("{} others, {took} µs, {after} µs later", others.len());
                assert_eq!(!waiting.is_finished(), waits, "{case}");
                // A response of the last of the others ends the pause too.
                drop(others);
                waiting.await.unwrap();
            });
        }
    }

    /// What a call computes in each part, and how it waits in between; whether its filter counts as long afterwards.
    #[test]
    fn of_calls_that_wait_what_they_compute_counts_and_not_their_waiting() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            for (parts, waits, given_up, long) in [
                (&[4_000][..], 0, false, true),
                (&[5], 90_000, false, false),
                (&[5, 4_000], 90_000, false, true),
                (&[4_000, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5], 90_000, false, true),
                (&[30, 30, 30], 90_000, false, false),
                (&[60, 60, 60], 90_000, false, true),
                (&[4_000, 5], 90_000, true, true),
            ] {
                let time = ManualTime::new();
                let calls = CallDuration::new(LongCallTurns::new(time.clock()));
                for _ in 0..20 {
                    let (left, passed) = (Cell::new(parts), &time);
                    let call = poll_fn(|cx| {
                        let Some((part, rest)) = left.get().split_first() else {
                            return Poll::Ready(());
                        };
                        left.set(rest);
                        passed.advance(Duration::from_micros(*part));
                        if rest.is_empty() {
                            return Poll::Ready(());
                        }
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    });
                    let mut call = Box::pin(calls.in_turns(call));
                    poll_fn(|cx| {
                        let polled = call.as_mut().poll(cx);
                        passed.advance(Duration::from_micros(waits));
                        if given_up && left.get().len() < parts.len() {
                            Poll::Ready(())
                        } else {
                            polled
                        }
                    })
                    .await;
                }
                assert_eq!(calls.is_long(), long, "{parts:?}, given up: {given_up}");
            }
        });
    }
}

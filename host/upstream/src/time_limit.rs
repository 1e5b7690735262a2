//! Time limits of attempts: a timer is armed once and serves many of them.
//!
//! Most attempts end long before their limit. With a timer of its own, each would be put into the runtime's wheel and taken
//! out of it again, under its lock. A spare timer stays there, and is set to a later time when it ends, like that of a
//! client's connection.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// Timers that are kept at most; attempts beyond make their own.
const KEPT: usize = 64;

/// What had a limit took longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitReached;

/// Timers of attempts that ended.
#[derive(Debug, Default)]
pub(crate) struct SpareTimers(RefCell<Vec<Pin<Box<Sleep>>>>);

impl SpareTimers {
    /// Ready with the result of `work`, or once it took as long as `limit`.
    pub(crate) async fn within<F: Future>(
        &self,
        limit: Duration,
        work: F,
    ) -> Result<F::Output, LimitReached> {
        let mut work = pin!(work);
        let now = Instant::now();
        let until = now.checked_add(limit).unwrap_or(now);
        let mut limit = BorrowedTimer { spare: self, timer: None, until };
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => limit.poll(cx).map(|()| Err(LimitReached)),
        })
        .await
    }

    fn take(&self, until: Instant) -> Pin<Box<Sleep>> {
        let Some(mut timer) = self.0.borrow_mut().pop() else {
            return Box::pin(sleep_until(until));
        };
        if timer.is_elapsed() || timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        timer
    }

    fn give_back(&self, mut timer: Pin<Box<Sleep>>) {
        // It would keep the task that it was to wake.
        let mut nobody = Context::from_waker(Waker::noop());
        let pending = pin!(unconstrained(timer.as_mut())).poll(&mut nobody).is_pending();
        let mut spare = self.0.borrow_mut();
        if pending && spare.len() < KEPT {
            spare.push(timer);
        }
    }
}

/// A timer that goes back when it is dropped.
struct BorrowedTimer<'a> {
    spare: &'a SpareTimers,
    /// `None`: nothing was waited for yet. It may be set to an earlier time than `until`.
    timer: Option<Pin<Box<Sleep>>>,
    until: Instant,
}

impl BorrowedTimer<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| self.spare.take(self.until));
        // What is waited for may have used up the turn of its task; the limit holds even so.
        while pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
            if timer.deadline() >= self.until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.until);
        }
        Poll::Pending
    }
}

impl Drop for BorrowedTimer<'_> {
    fn drop(&mut self) {
        self.timer.take().into_iter().for_each(|timer| self.spare.give_back(timer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn a_limit_holds_whatever_the_timer_served_before() {
        let timers = SpareTimers::default();
        let ms = Duration::from_millis;
        for (limit, work) in [
            (10, 5),
            (100, 50),
            (20, 30),
            (1_000, 2_000),
            (1_000, 1),
            (5, 6),
            (3_600_000, 1),
            (10, 20),
            (60_000, 59_999),
            (60_000, 60_001),
        ] {
            let start = Instant::now();
            let done = timers.within(ms(limit), sleep(ms(work))).await;
            assert_eq!(done.is_ok(), work < limit, "{work} of {limit}");
            assert_eq!(start.elapsed(), ms(work.min(limit)), "{work} of {limit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_at_once_needs_no_timer() {
        let timers = SpareTimers::default();
        assert_eq!(timers.within(Duration::ZERO, async { 1 }).await, Ok(1));
        assert!(timers.0.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_timers_are_kept_and_none_keeps_a_task() {
        struct Task;
        impl Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let timers = SpareTimers::default();
        let task = Arc::new(Task);
        let waker = Waker::from(Arc::clone(&task));
        let limit = Duration::from_secs(60);
        let waits = || Box::pin(timers.within(limit, std::future::pending::<()>()));
        let mut waiting: Vec<_> = (0..2 * KEPT).map(|_| waits()).collect();
        for one in &mut waiting {
            assert!(one.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert!(Arc::strong_count(&task) > 2 * KEPT);
        drop(waiting);
        assert_eq!(timers.0.borrow().len(), KEPT);
        assert_eq!(Arc::strong_count(&task), 2, "the test's own, and its waker's");
    }
}

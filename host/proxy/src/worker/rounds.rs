//! The periodic work of a worker. It wakes the worker only while there is some.

#![expect(clippy::disallowed_methods, reason = "timers of the runtime, which a test pauses")]

use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How long a batch of summaries may wait (contract).
const FLUSH: Duration = Duration::from_millis(100);
/// How often filters that decide on statistics are called.
const REVIEW: Duration = Duration::from_secs(1);

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DueWork {
    /// A batch of summaries waited long enough.
    Flush,
    /// The filters that decide on statistics are to be called.
    Review,
}

/// When what is due.
pub(crate) struct WorkerRounds {
    /// Notified by the first summary of a batch.
    pending: Rc<Notify>,
    flush: Option<Instant>,
    review: Option<Instant>,
}

impl WorkerRounds {
    /// `pending` is notified when there is something to flush.
    pub(crate) fn new(pending: Rc<Notify>) -> Self {
        Self { pending, flush: None, review: None }
    }

    /// Waits until something is due. Without a summary, and without filters that decide on statistics
    /// (`reviews`), it waits for ever, without a timer.
    ///
    /// Cancel-safe: what is due later stays due.
    pub(crate) async fn next(&mut self, reviews: bool) -> DueWork {
        self.review =
            if reviews { self.review.or_else(|| Some(Instant::now() + REVIEW)) } else { None };
        loop {
            let first = [self.flush, self.review].into_iter().flatten().min();
            tokio::select! {
                () = self.pending.notified(), if self.flush.is_none() => {
                    self.flush = Some(Instant::now() + FLUSH);
                }
                () = until(first) => return self.take(first),
            }
        }
    }

    fn take(&mut self, due: Option<Instant>) -> DueWork {
        if self.flush == due {
            self.flush = None;
            return DueWork::Flush;
        }
        self.review = None;
        DueWork::Review
    }
}

/// Waits for ever without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(24 * 60 * 60);

    #[tokio::test(start_paused = true)]
    async fn an_idle_worker_is_not_woken() {
        let mut rounds = WorkerRounds::new(Rc::default());
        assert!(tokio::time::timeout(LONG, rounds.next(false)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_waits_a_tenth_of_a_second_and_then_nothing_is_due() {
        let pending: Rc<Notify> = Rc::default();
        let mut rounds = WorkerRounds::new(Rc::clone(&pending));
        for _ in 0..3 {
            let start = Instant::now();
            pending.notify_one();
            // A command comes meanwhile.
            let early = tokio::time::timeout(FLUSH / 2, rounds.next(false));
            assert!(early.await.is_err());
            assert_eq!((rounds.next(false).await, start.elapsed()), (DueWork::Flush, FLUSH));
            assert!(tokio::time::timeout(LONG, rounds.next(false)).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn statistics_are_looked_at_every_second_whatever_else_is_due() {
        let pending: Rc<Notify> = Rc::default();
        let mut rounds = WorkerRounds::new(Rc::clone(&pending));
        let start = Instant::now();
        pending.notify_one();
        assert_eq!((rounds.next(true).await, start.elapsed()), (DueWork::Flush, FLUSH));
        assert_eq!((rounds.next(true).await, start.elapsed()), (DueWork::Review, REVIEW));
        assert_eq!((rounds.next(true).await, start.elapsed()), (DueWork::Review, 2 * REVIEW));
        assert!(tokio::time::timeout(LONG, rounds.next(false)).await.is_err());
    }
}

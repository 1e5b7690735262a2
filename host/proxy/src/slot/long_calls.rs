//! Turns of calls that take long: between two of them a worker looks at its sockets, and serves the exchanges that do not
//! wait for such calls.
//!
//! A filter may use some milliseconds of a worker for each call. Exchanges that wait for such calls are all ready at
//! once, so that everybody else on the worker would wait for one call of each of them, several times for each request.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tamis_ambient::Clock;
use tamis_transport::yield_turn;
use tokio::sync::Semaphore;

/// A filter whose calls take longer on average waits for its turn. A call of a policy takes a few microseconds.
const LONG: Duration = Duration::from_micros(100);
/// Longest pause after a long call: others have the worker for as long as the call took, up to this.
const PAUSE_MAX: Duration = Duration::from_millis(2);
/// One call in so many is timed while the calls are short: two looks at a clock cost as much as a small hook.
const TIMED_EVERY: u32 = 16;
/// A call that is timed moves the average by one part in so many of the difference.
const WEIGHT: u32 = 4;

/// The turns of a worker, one for each look at its sockets.
#[derive(Debug, Clone)]
pub(crate) struct LongCallTurns(Rc<WorkerTurns>);

#[derive(Debug)]
struct WorkerTurns {
    turn: Semaphore,
    clock: Clock,
    /// Exchanges that wait for a response and for no long call.
    others: Cell<usize>,
    /// End of the pause after the last long call.
    pause_end: Cell<Option<Instant>>,
}

/// An exchange that waits for a response, and for no long call. The pause after each long call is for these exchanges.
#[derive(Debug)]
pub(crate) struct UndelayedExchange(LongCallTurns);

impl Drop for UndelayedExchange {
    fn drop(&mut self) {
        let others = &self.0.0.others;
        others.set(others.get().saturating_sub(1));
    }
}

impl LongCallTurns {
    /// The turns of a worker.
    pub(crate) fn new(clock: Clock) -> Self {
        let (others, pause_end) = (Cell::new(0), Cell::new(None));
        Self(Rc::new(WorkerTurns { turn: Semaphore::new(1), clock, others, pause_end }))
    }

    /// Counts an exchange until the result is dropped: at its response, or when it waits for a long call itself.
    pub(crate) fn undelayed(&self) -> UndelayedExchange {
        let others = &self.0.others;
        others.set(others.get().saturating_add(1));
        UndelayedExchange(self.clone())
    }

    /// Waits for the next turn: those before it have had theirs, then all tasks that are ready have run and the sockets
    /// were looked at. While there are exchanges that wait for no long call, the worker serves these for as long as the
    /// last long call took.
    pub(crate) async fn next(&self) {
        // It is never closed.
        let Ok(_turn) = self.0.turn.acquire().await else { return };
        let mut looked = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut looked, true) && !self.is_pause() {
                return Poll::Ready(());
            }
            yield_turn(cx);
            Poll::Pending
        })
        .await;
    }

    /// Whether the last long call was so recent that others come first.
    fn is_pause(&self) -> bool {
        let WorkerTurns { clock, others, pause_end, .. } = &*self.0;
        let Some(end) = pause_end.get().filter(|_| others.get() > 0) else { return false };
        let lasts = clock.now() < end;
        if !lasts {
            pause_end.set(None);
        }
        lasts
    }

    /// A long call ended.
    fn call_ended(&self, now: Instant, took: Duration) {
        self.0.pause_end.set(now.checked_add(took.min(PAUSE_MAX)));
    }
}

/// How long the calls of a filter take in one worker.
#[derive(Debug)]
pub(crate) struct CallDuration {
    turns: LongCallTurns,
    /// Calls until the next one that is timed.
    left: Cell<u32>,
    average: Cell<Duration>,
}

impl CallDuration {
    pub(crate) fn new(turns: LongCallTurns) -> Self {
        Self { turns, left: Cell::default(), average: Cell::default() }
    }

    /// A call begins; pass the result to [`Self::end`].
    pub(crate) fn begin(&self) -> Option<Instant> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.unwrap_or(TIMED_EVERY - 1));
        (left.is_none() || self.is_long()).then(|| self.turns.0.clock.now())
    }

    /// The call ended.
    pub(crate) fn end(&self, since: Option<Instant>) {
        let Some(since) = since else { return };
        let now = self.turns.0.clock.now();
        let (took, average) = (now.saturating_duration_since(since), self.average.get());
        let kept = average.saturating_sub(average / WEIGHT);
        self.average.set(kept.saturating_add(took / WEIGHT));
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
        self.average.get() > LONG
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_ambient::ManualTime;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    #[test]
    fn calls_are_long_by_their_average_and_one_outlier_is_forgotten() {
        let time = ManualTime::new();
        let calls = CallDuration::new(LongCallTurns::new(time.clock()));
        let call = |micros: u64, times: u32| {
            for _ in 0..times {
                let since = calls.begin();
                time.advance(Duration::from_micros(micros));
                calls.end(since);
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
            (5, 20, false),
            (0, 1_000, false),
        ] {
            assert_eq!(call(micros, times), long, "{times} calls of {micros} µs");
        }
    }

    #[test]
    fn a_short_call_is_timed_once_in_sixteen_and_a_long_one_always() {
        let time = ManualTime::new();
        let calls = CallDuration::new(LongCallTurns::new(time.clock()));
        let timed = || (0..160).filter(|_| calls.begin().is_some()).count();
        assert_eq!(timed(), 10);
        calls.average.set(Duration::from_millis(1));
        assert_eq!(timed(), 160);
    }

    /// Tasks that are always ready for a long call, and one that needs its socket looked at for each message.
    #[test]
    fn sockets_are_looked_at_between_two_long_calls_whatever_their_number() {
        const MESSAGES: u32 = 50;
        for waiting in [1, 4, 32] {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let calls = Rc::new(Cell::new(0_u32));
            let counted = Rc::clone(&calls);
            LocalSet::new().block_on(&runtime, async move {
                let turns = LongCallTurns::new(Clock::system());
                let callers: Vec<_> = (0..waiting)
                    .map(|_| {
                        let (turns, calls) = (turns.clone(), Rc::clone(&counted));
                        tokio::task::spawn_local(async move {
                            loop {
                                turns.next().await;
                                calls.set(calls.get() + 1);
                            }
                        })
                    })
                    .collect();
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (mut server, _) = listener.accept().await.unwrap();
                drop(tokio::task::spawn_local(async move {
                    let mut octet = [0];
                    while server.read_exact(&mut octet).await.is_ok() {
                        server.write_all(&octet).await.unwrap();
                    }
                }));
                counted.set(0);
                for _ in 0..MESSAGES {
                    client.write_all(b"x").await.unwrap();
                    client.read_exact(&mut [0]).await.unwrap();
                }
                callers.iter().for_each(tokio::task::JoinHandle::abort);
            });
            // A message needs two looks at the sockets, and loopback may need some more.
            let most = MESSAGES * 6;
            assert!(calls.get() >= MESSAGES, "{waiting} wait: {} calls", calls.get());
            assert!(calls.get() <= most, "{waiting} wait: {} calls, at most {most}", calls.get());
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
                calls.end(since);
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

    #[test]
    fn whoever_waits_for_a_turn_and_leaves_takes_none() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let turns = LongCallTurns::new(Clock::system());
            for _ in 0..100 {
                let turns = turns.clone();
                let waits = tokio::task::spawn_local(async move { turns.next().await });
                tokio::task::yield_now().await;
                waits.abort();
            }
            turns.next().await;
            assert_eq!(turns.0.turn.available_permits(), 1);
        });
    }
}

//! Turns of calls that take long: between two of them a worker looks at its sockets, and serves the exchanges that do not
//! wait for such calls.
//!
//! A filter may use some milliseconds of a worker for each call. Exchanges that wait for such calls are all ready at
//! once, so that everybody else on the worker would wait for one call of each of them, several times for each request.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tamis_ambient::Clock;
use tamis_transport::yield_turn;
use tokio::sync::{Notify, Semaphore};

/// Longest pause after a long call: others have the worker for as long as the call took, up to this.
const PAUSE_MAX: Duration = Duration::from_millis(2);
/// The turns of a worker, one for each look at its sockets.
#[derive(Debug, Clone)]
pub(crate) struct LongCallTurns(Rc<WorkerTurns>);

#[derive(Debug)]
struct WorkerTurns {
    turn: Semaphore,
    clock: Clock,
    /// When it was made.
    since: Instant,
    /// Exchanges that wait for a response and for no long call.
    others: Cell<usize>,
    /// End of the pause after the last long call.
    pause_end: Cell<Option<Instant>>,
    /// Calls whose results nobody waits for.
    later: LaterCalls,
}

/// Calls that have their turns when they come: nobody waits for their results.
#[derive(Default)]
struct LaterCalls {
    calls: RefCell<VecDeque<Box<dyn FnOnce()>>>,
    more: Notify,
}

impl std::fmt::Debug for LaterCalls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaterCalls").field("calls", &self.calls.borrow().len()).finish()
    }
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
        let (turn, later) = (Semaphore::new(1), LaterCalls::default());
        let since = clock.now();
        Self(Rc::new(WorkerTurns { turn, clock, since, others, pause_end, later }))
    }

    /// Makes a call in a turn of its own, some time. Who asks bounds how many wait.
    pub(crate) fn later(&self, call: Box<dyn FnOnce()>) {
        self.0.later.calls.borrow_mut().push_back(call);
        self.0.later.more.notify_one();
    }

    /// Makes all of them now: the worker ends.
    pub(crate) fn make_last_calls(&self) {
        let calls = self.0.later.calls.take();
        calls.into_iter().for_each(|call| call());
    }

    /// Makes those calls, one for each turn. Never ends.
    pub(crate) async fn make_later_calls(&self) {
        loop {
            let next = self.0.later.calls.borrow_mut().pop_front();
            match next {
                Some(call) => {
                    self.next().await;
                    call();
                }
                None => self.0.later.more.notified().await,
            }
        }
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

    /// The time of the worker.
    pub(super) fn clock(&self) -> Clock {
        self.0.clock
    }

    /// When they were made.
    pub(super) fn since(&self) -> Instant {
        self.0.since
    }

    /// A long call ended.
    pub(super) fn call_ended(&self, now: Instant, took: Duration) {
        self.0.pause_end.set(now.checked_add(took.min(PAUSE_MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

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
    fn calls_for_later_are_made_in_their_order_and_one_for_each_turn() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let turns = LongCallTurns::new(Clock::system());
            let made: Rc<RefCell<Vec<usize>>> = Rc::default();
            let making = turns.clone();
            let task = tokio::task::spawn_local(async move { making.make_later_calls().await });
            for at in 0..20 {
                let made = Rc::clone(&made);
                turns.later(Box::new(move || made.borrow_mut().push(at)));
            }
            assert!(made.borrow().is_empty(), "none is made by who asks");
            let mut most = 0;
            while made.borrow().len() < 20 {
                let before = made.borrow().len();
                tokio::task::yield_now().await;
                most = most.max(made.borrow().len() - before);
            }
            assert_eq!((&made.borrow()[..], most), (&(0..20).collect::<Vec<_>>()[..], 1));
            task.abort();
        });
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

//! The thread that advances the epoch of an engine. It sleeps while no call runs.
//!
//! Invariant: **while a call runs, the thread is awake**, so every call reaches its deadline. Each store has a
//! mark, one atomic word. A call swaps it to `RUNNING`; the thread parks only after a look at which every mark
//! was `QUIET`. If a call begins after that look, its swap returns `QUIET`, and it unparks the thread. If a
//! look reads `QUIET` from a mark whose call has just begun, the swap of that call has read this same
//! `QUIET`, and again it unparks. The token of `unpark` outlives a race with `park`. Only one location is
//! involved in each argument, so it holds in any memory order.
//!
//! A mark is `QUIET` when it is made, so a store that the last look did not see wakes the thread as well.

use crate::EngineError;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// Length of an epoch: time limits are rounded up to it.
pub(crate) const EPOCH: Duration = Duration::from_millis(1);

/// Epochs between two looks at the marks. Waking a thread costs a caller microseconds, so the thread stays
/// awake as long as calls come more often than this.
const LINGER: u32 = 32;

/// No call runs, and the next one wakes the thread.
const QUIET: u8 = 0;
/// A call runs.
const RUNNING: u8 = 1;
/// A call ended since the thread last looked.
const ENDED: u8 = 2;

/// The epoch thread of an engine; it ends when this is dropped.
pub(crate) struct Epochs {
    shared: Arc<EpochState>,
    thread: Thread,
}

#[derive(Default)]
struct EpochState {
    marks: Mutex<Vec<Arc<AtomicU8>>>,
    ended: AtomicBool,
    resting: AtomicBool,
    /// Epochs since the start.
    passed: AtomicU64,
}

/// Says whether a call runs in one store. The thread that counts epochs lives as long as any mark.
pub(crate) struct CallMark {
    state: Arc<AtomicU8>,
    epochs: Arc<Epochs>,
}

/// A call that runs; it ends when this is dropped, also by a future that is dropped halfway.
pub(crate) struct RunningCall(Arc<AtomicU8>);

impl Epochs {
    /// Starts the thread. `advance` increments the epoch.
    pub(crate) fn start(advance: impl Fn() + Send + 'static) -> Result<Arc<Self>, EngineError> {
        let shared = Arc::new(EpochState::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("tamis-epoch".to_owned())
            .spawn(move || of_thread.run(&advance))
            .map_err(|e| EngineError::Start(format!("the epoch thread cannot start: {e}")))?;
        Ok(Arc::new(Self { shared, thread: thread.thread().clone() }))
    }

    /// A mark for a new store.
    pub(crate) fn mark(self: &Arc<Self>) -> CallMark {
        let state = Arc::new(AtomicU8::new(QUIET));
        self.shared.lock().push(Arc::clone(&state));
        CallMark { state, epochs: Arc::clone(self) }
    }

    /// Whether the thread sleeps until a call begins.
    pub(crate) fn rest(&self) -> bool {
        self.shared.resting.load(Ordering::Acquire)
    }

    /// Epochs since the start.
    pub(crate) fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Epochs {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl EpochState {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<AtomicU8>>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, advance: &impl Fn()) {
        loop {
            for _ in 0..LINGER {
                std::thread::sleep(EPOCH);
                if self.ended.load(Ordering::Acquire) {
                    return;
                }
                advance();
                self.passed.fetch_add(1, Ordering::Relaxed);
            }
            if self.is_quiet() {
                self.resting.store(true, Ordering::Release);
                std::thread::park();
                self.resting.store(false, Ordering::Release);
            }
        }
    }

    /// Looks at every mark; marks of calls that ended become quiet for the next look.
    fn is_quiet(&self) -> bool {
        let mut marks = self.lock();
        // The other owner of a mark is its store; without it no call can begin.
        marks.retain(|mark| Arc::strong_count(mark) > 1);
        marks.iter().fold(true, |quiet, mark| {
            // The exchange fails while a call runs, and where no call ran since the last look.
            let ended =
                mark.compare_exchange(ENDED, QUIET, Ordering::AcqRel, Ordering::Acquire).err();
            ended == Some(QUIET) && quiet
        })
    }
}

impl CallMark {
    /// A call begins: until [`Self::end`] the epoch advances.
    pub(crate) fn begin(&self) {
        if self.state.swap(RUNNING, Ordering::AcqRel) == QUIET {
            self.epochs.thread.unpark();
        }
    }

    /// The call ended. Without it (a host function that panics) the thread only stays awake.
    pub(crate) fn end(&self) {
        self.state.store(ENDED, Ordering::Release);
    }

    /// A call begins that may suspend.
    pub(crate) fn running(&self) -> RunningCall {
        self.begin();
        RunningCall(Arc::clone(&self.state))
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.0.store(ENDED, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until_rest(epochs: &Epochs) {
        while !epochs.rest() {
            std::thread::yield_now();
        }
    }

    /// Waits for the next epoch; hangs if the thread sleeps.
    fn next_epoch(epochs: &Epochs) {
        let before = epochs.passed();
        while epochs.passed() == before {
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_sleeps_while_no_call_runs_and_wakes_for_each() {
        let epochs = Epochs::start(|| ()).unwrap();
        let (one, other) = (epochs.mark(), epochs.mark());
        for mark in [&one, &other, &one] {
            until_rest(&epochs);
            let before = epochs.passed();
            mark.begin();
            next_epoch(&epochs);
            mark.end();
            assert!(epochs.passed() > before);
        }
        until_rest(&epochs);
        let (before, late) = (epochs.passed(), epochs.mark());
        assert_eq!(epochs.passed(), before, "a new store does not wake it");
        let running = late.running();
        next_epoch(&epochs);
        drop(running);
        until_rest(&epochs);
    }

    #[test]
    fn a_call_that_outlasts_many_looks_keeps_it_awake() {
        let epochs = Epochs::start(|| ()).unwrap();
        let (long, short) = (epochs.mark(), epochs.mark());
        long.begin();
        let start = epochs.passed();
        while epochs.passed() < start + u64::from(3 * LINGER) {
            short.begin();
            short.end();
            assert_eq!(long.state.load(Ordering::Relaxed), RUNNING);
            std::thread::yield_now();
        }
        assert!(!epochs.rest());
        long.end();
        until_rest(&epochs);
    }

    /// Calls begin at every moment relative to the look and the park: each must see an epoch pass.
    #[test]
    fn calls_that_race_with_falling_asleep_get_their_epochs() {
        let epochs = Epochs::start(|| ()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3_u64 {
                let epochs = &epochs;
                scope.spawn(move || {
                    let mark = epochs.mark();
                    for round in 0..40_u64 {
                        // Around the length of a linger, in steps of some microseconds.
                        let from = epochs.passed();
                        while !epochs.rest() && epochs.passed() < from + u64::from(LINGER) {
                            std::hint::spin_loop();
                        }
                        for _ in 0..(round * 37 + thread * 11) % 400 {
                            std::hint::spin_loop();
                        }
                        mark.begin();
                        next_epoch(epochs);
                        mark.end();
                    }
                });
            }
        });
        until_rest(&epochs);
    }

    #[test]
    fn it_ends_with_the_last_mark_and_not_before() {
        let (send, ended) = std::sync::mpsc::channel::<()>();
        let epochs = Epochs::start(move || drop(send.clone())).unwrap();
        let mark = epochs.mark();
        until_rest(&epochs);
        drop(epochs);
        mark.begin();
        next_epoch(&mark.epochs);
        mark.end();
        drop(mark);
        assert!(ended.recv().is_err(), "the thread dropped its end");
    }
}

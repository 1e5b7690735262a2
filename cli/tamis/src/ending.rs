//! The end of long-running commands: the first Ctrl-C asks for it, the second forces it.

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tamis_ambient::Clock;

/// Exit code of a process that was interrupted, as shells write it: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// Whether the end has been requested.
pub(crate) struct EndSignal {
    asked: Arc<AtomicBool>,
    /// Set by SIGTERM, which service managers send; Ctrl-C comes from a person who waits.
    gently: Arc<AtomicBool>,
    /// A byte arrives here with each signal and each ring: whoever waits sleeps until then.
    waits: UnixStream,
    rings: UnixStream,
}

/// Wakes the thread that waits in [`EndSignal::wait`].
pub(crate) struct EndWaker(UnixStream);

impl EndWaker {
    /// Wakes it now, or makes its next wait end at once.
    pub(crate) fn ring(&self) {
        // A write fails only where unread bytes fill the pipe, and those wake the reader too.
        let _ = (&self.0).write(&[0]);
    }
}

impl EndSignal {
    /// Starts to listen for SIGINT and SIGTERM.
    pub(crate) fn new() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let gently = Arc::new(AtomicBool::new(false));
        let (waits, rings) = UnixStream::pair().context("cannot listen for signals")?;
        rings.set_nonblocking(true).context("cannot listen for signals")?;
        // This flag is set before the other: whoever finds the other one set can rely on this one.
        flag::register(SIGTERM, Arc::clone(&gently)).context("cannot listen for signals")?;
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag clear and sets it, the second finds it set.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                // Last: whoever it wakes finds the flags set.
                .and_then(|_| pipe::register(signal, rings.try_clone()?))
                .context("cannot listen for signals")?;
        }
        Ok(Self { asked, gently, waits, rings })
    }

    /// Whether the end has been requested.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether SIGTERM requested it.
    pub(crate) fn gently(&self) -> bool {
        self.gently.load(Ordering::Relaxed)
    }

    /// What wakes [`Self::wait`] for another reason than a signal.
    ///
    /// # Errors
    /// The process has too many open files.
    pub(crate) fn bell(&self) -> std::io::Result<EndWaker> {
        self.rings.try_clone().map(EndWaker)
    }

    /// Sleeps until a signal arrives or the bell rings; may return early.
    pub(crate) fn wait(&self) {
        self.sleep(None);
    }

    /// Waits for at most `time`; true as soon as the end is requested.
    pub(crate) fn within(&self, time: Duration) -> bool {
        let clock = Clock::system();
        let until = clock.now() + time;
        loop {
            if self.asked() {
                return true;
            }
            let Some(left) = clock.until(until) else { return false };
            self.sleep(Some(left));
        }
    }

    fn sleep(&self, limit: Option<Duration>) {
        // An error (time is over, a signal interrupts) ends the sleep, as a byte does.
        let _ = self.waits.set_read_timeout(limit);
        let _ = (&self.waits).read(&mut [0; 64]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_a_ring_and_one_that_came_before_counts() {
        let ending = EndSignal::new().unwrap();
        let bell = ending.bell().unwrap();
        bell.ring();
        ending.wait();
        let ringing = std::thread::spawn(move || bell.ring());
        ending.wait();
        ringing.join().unwrap();
        assert!(!ending.within(Duration::from_millis(1)), "nobody asked for the end");
    }
}

//! The end of long-running commands: the first Ctrl-C asks for it, the second forces it.

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Exit code of a process that was interrupted, as shells write it: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// Whether the end has been requested.
pub(crate) struct Ending {
    asked: Arc<AtomicBool>,
    /// Set by SIGTERM, which service managers send; Ctrl-C comes from a person who waits.
    gently: Arc<AtomicBool>,
}

impl Ending {
    /// Starts to listen for SIGINT and SIGTERM.
    pub(crate) fn new() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let gently = Arc::new(AtomicBool::new(false));
        // Set before the other flag, so that whoever finds that one set can read this one.
        flag::register(SIGTERM, Arc::clone(&gently)).context("cannot listen for signals")?;
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag clear and sets it, the second finds it set.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .context("cannot listen for signals")?;
        }
        Ok(Self { asked, gently })
    }

    /// Whether the end has been requested.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether SIGTERM requested it.
    pub(crate) fn gently(&self) -> bool {
        self.gently.load(Ordering::Relaxed)
    }

    /// Waits for at most `time`; true as soon as the end is requested.
    pub(crate) fn within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            if self.asked() {
                return true;
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }
}

//! The end of commands that go on: the first Ctrl-C asks for it, the second takes it.

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Exit code of a process that was interrupted, as shells write it: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// Whether somebody asked for the end.
pub(crate) struct Ending {
    asked: Arc<AtomicBool>,
    /// By SIGTERM, as who runs services does; Ctrl-C is somebody who waits.
    gently: Arc<AtomicBool>,
}

impl Ending {
    /// Listens to SIGINT and SIGTERM from now on.
    pub(crate) fn new() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let gently = Arc::new(AtomicBool::new(false));
        // Before the other flag is: whoever finds that one up may ask for this one.
        flag::register(SIGTERM, Arc::clone(&gently)).context("signals cannot be listened to")?;
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it, the second finds it up.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .context("signals cannot be listened to")?;
        }
        Ok(Self { asked, gently })
    }

    /// Whether it was asked for.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether it was asked for by SIGTERM.
    pub(crate) fn gently(&self) -> bool {
        self.gently.load(Ordering::Relaxed)
    }

    /// Waits for a while; true as soon as somebody asks.
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

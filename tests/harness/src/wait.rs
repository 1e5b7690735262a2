//! Waiting by asking, never by sleeping a fixed time.

use std::time::{Duration, Instant};

/// How long a test waits for an expected event.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Calls `ask` until it returns a value; fails with `what` after three minutes.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    eventually_or(what, || ask().ok_or_else(String::new))
}

/// The same, with each unexpected answer in the message of the failure.
pub fn eventually_or<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(found) => return found,
            Err(last) => {
                assert!(Instant::now() < until, "not within three minutes: {what}; last: {last}");
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

//! Sends requests, one after the other, for as long as a test runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tamis_e2e::{eventually, get};

/// Pause between two requests, so that the load leaves processor time to the system under test.
const PACE: Duration = Duration::from_millis(3);

#[derive(Default)]
struct LoadResult {
    over: AtomicBool,
    done: AtomicU64,
    failed: Mutex<Vec<String>>,
}

/// A client of a gateway; ends when dropped.
pub(super) struct Load {
    seen: Arc<LoadResult>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts to request `/load`.
    pub(super) fn start(address: &str) -> Self {
        let seen = Arc::new(LoadResult::default());
        let (shared, address) = (Arc::clone(&seen), address.to_owned());
        let thread = std::thread::spawn(move || {
            while !shared.over.load(Ordering::Relaxed) {
                let reply = get(&address, "/load");
                if reply.status != 200 {
                    let failed = format!("{} {:?}", reply.status, reply.headers);
                    shared.failed.lock().unwrap().push(failed);
                }
                shared.done.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(PACE);
            }
        });
        Self { seen, thread: Some(thread) }
    }

    /// Waits for `count` more responses.
    pub(super) fn more(&self, count: u64) {
        let until = self.seen.done.load(Ordering::Relaxed) + count;
        eventually("requests are answered", || {
            (self.seen.done.load(Ordering::Relaxed) >= until).then_some(())
        });
    }

    /// The responses other than 200 so far.
    pub(super) fn failed(&self) -> Vec<String> {
        self.seen.failed.lock().unwrap().clone()
    }

    /// Waits a little longer; no request may have failed since the start.
    pub(super) fn nothing_failed(&self) {
        self.more(20);
        assert_eq!(self.failed(), Vec::<String>::new());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A failure in the thread is reported where its result is read.
            let _ = thread.join();
        }
    }
}

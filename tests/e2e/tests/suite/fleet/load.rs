//! Requests, one after the other, for as long as a test looks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tamis_e2e::{eventually, get};

/// Between two requests, so that the load leaves something to those it looks at.
const PACE: Duration = Duration::from_millis(3);

#[derive(Default)]
struct Seen {
    over: AtomicBool,
    done: AtomicU64,
    failed: Mutex<Vec<String>>,
}

/// A client of a gateway; ends when dropped.
pub(super) struct Load {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts to ask for `/load`.
    pub(super) fn start(address: &str) -> Self {
        let seen = Arc::new(Seen::default());
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

    /// Waits for so many more answers.
    pub(super) fn more(&self, count: u64) {
        let until = self.seen.done.load(Ordering::Relaxed) + count;
        eventually("requests are answered", || {
            (self.seen.done.load(Ordering::Relaxed) >= until).then_some(())
        });
    }

    /// The answers that were not 200, so far.
    pub(super) fn failed(&self) -> Vec<String> {
        self.seen.failed.lock().unwrap().clone()
    }

    /// Looks a little longer at what is now; not one request may have failed since it started.
    pub(super) fn nothing_failed(&self) {
        self.more(20);
        assert_eq!(self.failed(), Vec::<String>::new());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What went wrong in it is told where it is asked for.
            let _ = thread.join();
        }
    }
}

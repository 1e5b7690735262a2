//! Work that goes on beside the proxy, on a thread of its own, until it is dropped.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A thread that works until this is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts the work, on a runtime that the thread owns from now on.
    pub(crate) fn start(
        runtime: Runtime,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let run = move || runtime.block_on(until(stopped, work));
        let thread = std::thread::Builder::new().name("tamis-identity".to_owned()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // Its messages are in the log.
            let _ = thread.join();
        }
    }
}

async fn until(mut stopped: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

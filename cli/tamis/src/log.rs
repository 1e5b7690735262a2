//! Log lines on stderr; `TAMIS_LOG` sets the level (default: `warn`).

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that may wait for whoever reads stderr. Those beyond are dropped, and their number is reported at the end.
const WAITING_LINES_MAX: usize = 4 * 1024;

/// Warnings, but not those of `h2`, which writes a line for each frame that a stranger sends without need.
const DEFAULT: &str = "warn,h2=error";

/// The writer of log lines. Its drop writes those that wait.
pub(crate) struct LogWriter {
    guard: Option<WorkerGuard>,
    dropped: ErrorCounter,
}

/// Starts logging until the writer is dropped.
///
/// A thread of its own writes the lines: whoever holds up stderr, a terminal that is stopped or a pipe that nobody
/// reads, holds up no worker and so no request.
pub(crate) fn start() -> LogWriter {
    let (lines, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES_MAX)
        .thread_name("tamis-log")
        .finish(std::io::stderr());
    let dropped = lines.error_counter();
    let filter = EnvFilter::try_from_env("TAMIS_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    // Fails only when logging is already started, which is fine.
    let _ = builder.with_target(false).try_init();
    LogWriter { guard: Some(guard), dropped }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let dropped = self.dropped.dropped_lines();
        if dropped > 0 {
            tracing::warn!(dropped, "log lines were dropped, because stderr was read too slowly");
        }
        drop(self.guard.take());
    }
}

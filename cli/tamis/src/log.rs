//! Log lines on stderr; `TAMIS_LOG` sets the level (default: `warn`).

use tracing_subscriber::EnvFilter;

/// Starts logging for the life of the process.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("TAMIS_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails only when logging is already started, which is fine.
    let _ = builder.with_target(false).try_init();
}

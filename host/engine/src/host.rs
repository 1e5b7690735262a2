//! The data of an instance's store, which the imports use.

use crate::deadline::{self, Deadline};
use crate::epoch::CallMark;
use crate::fetch::HttpFetch;
use crate::key::Key;
use crate::limiter::{MAX_MEMORY_BYTES, MemoryLimiter};
use crate::{FilterState, Grant, Hook};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tamis_observe::{Family, Series};
use wasmtime::Store;

/// Constants that all instances of a filter share.
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) version: String,
    pub(crate) grant: Grant,
    pub(crate) fetch: Option<Arc<dyn HttpFetch>>,
    /// Upper bounds of histograms by name, as its first `configure` declared them.
    pub(crate) buckets: OnceLock<HashMap<String, Vec<f64>>>,
}

impl Settings {
    /// The bounds declared for a histogram.
    pub(crate) fn buckets(&self, metric: &str) -> Option<&[f64]> {
        self.buckets.get()?.get(metric).map(Vec::as_slice)
    }
}

/// Data of one store.
pub(crate) struct Host {
    pub(crate) settings: Arc<Settings>,
    pub(crate) state: Arc<FilterState>,
    pub(crate) limiter: MemoryLimiter,
    /// The exchange in progress; 0 between exchanges.
    pub(crate) exchange: u64,
    /// The hook in progress; `None` while the filter is configured.
    pub(crate) hook: Option<Hook>,
    /// Whether `configure` runs, the only function that may call `metrics.define`.
    pub(crate) configuring: bool,
    /// By handle.
    pub(crate) keys: Vec<Option<Key>>,
    /// By handle.
    pub(crate) families: Vec<Arc<Family>>,
    /// By handle.
    pub(crate) series: Vec<Series>,
    /// Names of opened secrets, by handle.
    pub(crate) secrets: Vec<String>,
    /// Requests sent during the current call.
    pub(crate) sends: u32,
    /// Passwords compared during the current call.
    pub(crate) comparisons: u32,
    /// Time that the current call waited for answers.
    pub(crate) waited: Duration,
    /// What it wrote to standard output or error, until the line ends.
    pub(crate) unfinished_line: Vec<u8>,
    /// The last error line that the filter logged during the current call, or what it wrote to standard output or error.
    pub(crate) last_words: Option<String>,
    /// Time limit of the current call.
    pub(crate) deadline: Deadline,
    /// Whether a call runs; keeps the epoch advancing while one does.
    pub(crate) mark: CallMark,
}

impl Host {
    pub(crate) fn new(settings: Arc<Settings>, state: Arc<FilterState>, mark: CallMark) -> Self {
        let limit = settings.grant.limits.memory_bytes.min(MAX_MEMORY_BYTES);
        Self {
            settings,
            state,
            limiter: MemoryLimiter::new(limit),
            exchange: 0,
            hook: None,
            configuring: true,
            keys: Vec::new(),
            families: Vec::new(),
            series: Vec::new(),
            secrets: Vec::new(),
            sends: 0,
            comparisons: 0,
            waited: Duration::ZERO,
            unfinished_line: Vec::new(),
            last_words: None,
            deadline: Deadline::default(),
            mark,
        }
    }
}

/// Gives the next call this time limit.
pub(crate) fn arm(store: &mut Store<Host>, limit_us: u64) {
    let epochs = store.data_mut().deadline.again(limit_us);
    store.set_epoch_deadline(epochs);
}

/// Makes the store call back when epochs run out. Once for each store.
pub(crate) fn watch(store: &mut Store<Host>) {
    store.epoch_deadline_callback(|mut store| {
        Ok(store.data_mut().deadline.passed(deadline::used()))
    });
}

//! What outlives instances and generations of one attachment.

use crate::Hook;
use crate::breaker::Breaker;
use crate::imports::{counters::Counters, kv::Store, quota::Buckets};
use crate::limiter::RateLimiter;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tamis_observe::Metrics;

/// Where finished spans and access records of filters go.
pub trait Exporter: Send + Sync {
    /// One access record: a JSON object without line breaks.
    fn record(&self, filter: &str, json: &str);
    /// One finished span.
    fn span(&self, filter: &str, span: &FilterSpan);
}

/// A span a telemetry filter finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSpan {
    /// Exchange it belongs to.
    pub exchange: u64,
    /// What was done.
    pub name: String,
    /// Begin.
    pub start_unix_us: u64,
    /// Length.
    pub duration_us: u32,
    /// Names and values.
    pub attributes: Vec<(String, String)>,
}

/// Host state of one attachment: keep it as long as the attachment lives, hand it to every new generation's filter.
pub struct FilterState {
    pub(crate) kv: Store,
    pub(crate) counters: Counters,
    pub(crate) quotas: Buckets,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) exporter: Option<Arc<dyn Exporter>>,
    pub(crate) secrets: HashMap<String, Vec<u8>>,
    pub(crate) log: RateLimiter,
    pub(crate) spans: RateLimiter,
    pub(crate) records: RateLimiter,
    pub(crate) fetches: RateLimiter,
    pub(crate) breaker: Breaker,
    /// Of a shadow: the state of what it is the shadow of, to look at.
    pub(crate) of: Option<Arc<Self>>,
    statistics: [HookStatistics; Hook::ALL.len()],
    memory_high_bytes: AtomicU64,
    instances: AtomicU64,
}

/// Forgets what self-tests and shadows export.
struct Nowhere;

impl Exporter for Nowhere {
    fn record(&self, _filter: &str, _json: &str) {}
    fn span(&self, _filter: &str, _span: &FilterSpan) {}
}

#[derive(Debug, Default)]
struct HookStatistics {
    calls: AtomicU64,
    faults: AtomicU64,
    timed_calls: AtomicU64,
    time_ns: AtomicU64,
}

/// Numbers of one hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookNumbers {
    /// Which.
    pub hook: Hook,
    /// Calls made.
    pub calls: u64,
    /// Calls that gave no answer.
    pub faults: u64,
    /// Mean time of a call, from a sample.
    pub mean_ns: u64,
}

/// What is known about an attachment's filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// Hooks called at least once.
    pub hooks: Vec<HookNumbers>,
    /// Most memory an instance had.
    pub memory_high_bytes: u64,
    /// Instances made since the start.
    pub instances: u64,
    /// Whether the filter's own breaker lets calls pass.
    pub breaker: crate::BreakerStatus,
    /// Log lines, spans and records that were over their rate.
    pub dropped: u64,
}

impl FilterState {
    /// Empty state; metrics the filter defines go into `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            kv: Store::default(),
            counters: Counters::default(),
            quotas: Buckets::default(),
            metrics,
            exporter: None,
            secrets: HashMap::new(),
            log: RateLimiter::default(),
            spans: RateLimiter::default(),
            records: RateLimiter::default(),
            fetches: RateLimiter::default(),
            breaker: Breaker::default(),
            of: None,
            statistics: Default::default(),
            memory_high_bytes: AtomicU64::new(0),
            instances: AtomicU64::new(0),
        }
    }

    /// Sends spans and records there instead of to the log.
    #[must_use]
    pub fn with_exporter(mut self, exporter: Arc<dyn Exporter>) -> Self {
        self.exporter = Some(exporter);
        self
    }

    /// The secrets there are; the grant says which of them the filter may open.
    #[must_use]
    pub fn with_secrets(mut self, secrets: HashMap<String, Vec<u8>>) -> Self {
        self.secrets = secrets;
        self
    }

    /// Empty state with the same secrets, for a self-test: nothing it does is seen.
    pub(crate) fn scratch(&self) -> Self {
        Self::new(Arc::new(Metrics::new()))
            .with_secrets(self.secrets.clone())
            .with_exporter(Arc::new(Nowhere))
    }

    /// State for a candidate in the shadow of the filter with this one: the same secrets, the values of `kv` as that
    /// filter has them until the candidate writes its own, counters and quotas of its own that begin empty. What it
    /// measures, exports and logs reaches nobody.
    pub(crate) fn shadow(self: &Arc<Self>) -> Self {
        Self { of: Some(Arc::clone(self)), ..self.scratch() }
    }

    /// Whether nobody is to hear of what the filter does.
    pub(crate) fn is_shadow(&self) -> bool {
        self.of.is_some()
    }

    /// A snapshot of the numbers.
    pub fn statistics(&self) -> Statistics {
        let hooks = Hook::ALL.iter().zip(&self.statistics).filter_map(|(&hook, numbers)| {
            let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
            let calls = read(&numbers.calls);
            let timed = read(&numbers.timed_calls).max(1);
            (calls > 0).then(|| HookNumbers {
                hook,
                calls,
                faults: read(&numbers.faults),
                mean_ns: read(&numbers.time_ns) / timed,
            })
        });
        Statistics {
            hooks: hooks.collect(),
            memory_high_bytes: self.memory_high_bytes.load(Ordering::Relaxed),
            instances: self.instances.load(Ordering::Relaxed),
            breaker: self.breaker.status(),
            dropped: self.log.dropped() + self.spans.dropped() + self.records.dropped(),
        }
    }

    pub(crate) fn count(&self, hook: Hook, tally: &Tally) {
        if let Some(numbers) = self.statistics.get(hook as usize) {
            numbers.calls.fetch_add(tally.calls, Ordering::Relaxed);
            numbers.timed_calls.fetch_add(tally.timed_calls, Ordering::Relaxed);
            numbers.time_ns.fetch_add(tally.time_ns, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_fault(&self, hook: Hook) {
        if let Some(numbers) = self.statistics.get(hook as usize) {
            numbers.faults.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_instance(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn saw_memory(&self, bytes: u64) {
        self.memory_high_bytes.fetch_max(bytes, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for FilterState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilterState")
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}

/// Calls an instance has not yet told its [`FilterState`] of: workers would fight for the line otherwise.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    pub(crate) timed_calls: u64,
    pub(crate) time_ns: u64,
}

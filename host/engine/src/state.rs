//! The state of one attachment that outlives its instances and generations.

pub(crate) mod bounds;
pub(crate) mod counters;
mod exchange_values;
mod kv;
mod quota;
pub(crate) mod responses;

use crate::breaker::FilterBreaker;
use crate::limiter::RateLimiter;
use crate::room::InstanceOwner;
use crate::{Hook, Secrets};
use counters::Counters;
use exchange_values::ExchangeValues;
use kv::KvStore;
use quota::Buckets;
use responses::KeptResponses;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tamis_ambient::{Clock, Random};
use tamis_observe::Metrics;

/// Receives finished spans and access records of filters.
pub trait Exporter: Send + Sync {
    /// One access record: a JSON object without line breaks.
    fn record(&self, filter: &str, json: &str);
    /// One finished span.
    fn span(&self, filter: &str, span: &FilterSpan);
}

/// A span a telemetry filter finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSpan {
    /// The exchange it belongs to.
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

/// Host state of one attachment: keep it as long as the attachment lives, pass it to the filter of every
/// new generation.
pub struct FilterState {
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) kv: KvStore,
    pub(crate) counters: Counters,
    pub(crate) quotas: Buckets,
    pub(crate) kept: ExchangeValues,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) exporter: Option<Arc<dyn Exporter>>,
    pub(crate) secrets: Secrets,
    pub(crate) log: RateLimiter,
    pub(crate) spans: RateLimiter,
    pub(crate) records: RateLimiter,
    pub(crate) span_octets: RateLimiter,
    pub(crate) record_octets: RateLimiter,
    pub(crate) fetches: RateLimiter,
    pub(crate) responses: KeptResponses,
    pub(crate) breaker: FilterBreaker,
    /// In whose name its instances and comparisons take room.
    pub(crate) owner: InstanceOwner,
    /// Attachment that it belongs to, as `namespace/name`; empty: none.
    pub(crate) attachment: Box<str>,
    /// Set for a shadow: the state of the filter it shadows, read only.
    pub(crate) of: Option<Arc<Self>>,
    /// Whether what the filter logs is dropped.
    silent: bool,
    /// Faults by hook, of all instances.
    faults: [AtomicU64; Hook::ALL.len()],
    calls: Mutex<Calls>,
    memory_high_bytes: AtomicU64,
    instances: AtomicU64,
}

/// An exporter for self-tests and shadows that discards everything.
struct NullExporter;

impl Exporter for NullExporter {
    fn record(&self, _filter: &str, _json: &str) {}
    fn span(&self, _filter: &str, _span: &FilterSpan) {}
}

/// Counts of current instances and of past ones.
#[derive(Debug, Default)]
struct Calls {
    live: Vec<Arc<Tally>>,
    gone: [HookCalls; Hook::ALL.len()],
}

#[derive(Debug, Default, Clone, Copy)]
struct HookCalls {
    calls: u64,
    timed_calls: u64,
    time_ns: u64,
}

impl HookCalls {
    fn add(&mut self, other: Self) {
        self.calls = self.calls.wrapping_add(other.calls);
        self.timed_calls = self.timed_calls.wrapping_add(other.timed_calls);
        self.time_ns = self.time_ns.wrapping_add(other.time_ns);
    }
}

/// Counts of one instance. Only that instance writes, so counting is a load and a store and never a locked
/// instruction, and a reader finds every call that has ended. Aligned to cache lines of its own, so that no
/// other worker writes near it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally([TallyCell; Hook::ALL.len()]);

#[derive(Debug, Default)]
struct TallyCell {
    calls: AtomicU64,
    timed_calls: AtomicU64,
    time_ns: AtomicU64,
}

/// One in this many calls is timed.
const SAMPLE: u64 = 32;

impl Tally {
    /// Whether the next call of that hook is timed.
    pub(crate) fn times_next(&self, hook: Hook) -> bool {
        self.0
            .get(hook as usize)
            .is_some_and(|cell| cell.calls.load(Ordering::Relaxed).is_multiple_of(SAMPLE))
    }

    /// Counts a call that ended, and its duration if it was timed. Only the owner of the tally may call
    /// this.
    pub(crate) fn count(&self, hook: Hook, took: Option<Duration>) {
        let Some(cell) = self.0.get(hook as usize) else { return };
        let add = |number: &AtomicU64, more: u64| {
            number.store(number.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        };
        add(&cell.calls, 1);
        if let Some(took) = took {
            add(&cell.timed_calls, 1);
            add(&cell.time_ns, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    fn read(&self, hook: usize) -> HookCalls {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        self.0.get(hook).map_or_else(HookCalls::default, |cell| HookCalls {
            calls: read(&cell.calls),
            timed_calls: read(&cell.timed_calls),
            time_ns: read(&cell.time_ns),
        })
    }
}

/// Numbers of one hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookNumbers {
    /// The hook.
    pub hook: Hook,
    /// Calls made.
    pub calls: u64,
    /// Calls that gave no answer.
    pub faults: u64,
    /// Mean time of a call, from a sample.
    pub mean_ns: u64,
}

/// Statistics of an attachment's filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterStatistics {
    /// Hooks called at least once.
    pub hooks: Vec<HookNumbers>,
    /// Largest memory of an instance.
    pub memory_high_bytes: u64,
    /// Instances made since the start.
    pub instances: u64,
    /// Whether the filter's own breaker lets calls pass.
    pub breaker: crate::BreakerStatus,
    /// Log lines, spans and records dropped because they exceeded their rate.
    pub dropped: u64,
}

impl FilterState {
    /// Empty state; metrics that the filter defines go into `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            clock: Clock::system(),
            random: Random::system(),
            kv: KvStore::default(),
            counters: Counters::default(),
            quotas: Buckets::default(),
            kept: ExchangeValues::default(),
            metrics,
            exporter: None,
            secrets: Secrets::default(),
            log: RateLimiter::default(),
            spans: RateLimiter::default(),
            records: RateLimiter::default(),
            span_octets: RateLimiter::default(),
            record_octets: RateLimiter::default(),
            fetches: RateLimiter::default(),
            responses: KeptResponses::default(),
            breaker: FilterBreaker::default(),
            owner: InstanceOwner::default(),
            attachment: Box::default(),
            of: None,
            silent: false,
            faults: Default::default(),
            calls: Mutex::default(),
            memory_high_bytes: AtomicU64::new(0),
            instances: AtomicU64::new(0),
        }
    }

    /// Takes time and randomness from these, for everything that expires, is limited by a rate, or is given to the filter.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock, random: Random) -> Self {
        (self.clock, self.random) = (clock, random);
        self.breaker = FilterBreaker::new(clock);
        for limiter in [
            &mut self.log,
            &mut self.spans,
            &mut self.records,
            &mut self.span_octets,
            &mut self.record_octets,
            &mut self.fetches,
        ] {
            *limiter = RateLimiter::new(clock);
        }
        self
    }

    /// Takes room for instances, for that many workers, and turns of comparisons in the name of `owner`: the namespace of
    /// the attachment. Nobody gets more than is left for others.
    #[must_use]
    pub fn with_owner(mut self, owner: &str, workers: usize) -> Self {
        self.owner = InstanceOwner { name: Arc::from(owner), workers };
        self
    }

    /// Names the attachment, as `namespace/name`, in what is logged about its failed calls.
    #[must_use]
    pub fn with_attachment(mut self, key: &str) -> Self {
        self.attachment = key.into();
        self
    }

    /// Sends spans and records to `exporter` instead of the log.
    #[must_use]
    pub fn with_exporter(mut self, exporter: Arc<dyn Exporter>) -> Self {
        self.exporter = Some(exporter);
        self
    }

    /// Sets the available secrets; the grant states which of them the filter may open.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// Empty state with the same secrets, for a self-test: its effects are discarded, and so is what the filter logs. Nothing
    /// can be fetched in a self-test, and a line about that is a false alarm.
    pub(crate) fn scratch(&self) -> Self {
        let mut scratch = Self::new(Arc::new(Metrics::new()))
            .with_clock(self.clock, self.random)
            .with_secrets(self.secrets.clone())
            .with_exporter(Arc::new(NullExporter));
        scratch.silent = true;
        // The exchange of a self-test.
        scratch.begin(0, Some(0));
        scratch
    }

    /// An exchange begins in which the filter may keep values ([`crate::Filter::keeps`]), on that
    /// connection. Call [`Self::end`] when it ended: its values are dropped then.
    pub fn begin(&self, exchange: u64, connection: Option<u64>) {
        self.kept.begin(exchange, connection);
    }

    /// An exchange ended.
    pub fn end(&self, exchange: u64) {
        self.kept.end(exchange);
    }

    /// A connection ended on which an exchange began.
    pub fn leave(&self, connection: u64) {
        self.kept.leave(connection);
    }

    /// State for a candidate in the shadow of the filter with this state: the same secrets, the `kv` values of that
    /// filter until the candidate writes its own, and empty counters and quotas of its own. The candidate's metrics,
    /// exports and log lines are dropped.
    pub(crate) fn shadow(self: &Arc<Self>) -> Self {
        // One thread calls it.
        let owner = InstanceOwner { workers: 1, ..self.owner.clone() };
        Self { of: Some(Arc::clone(self)), owner, ..self.scratch() }
    }

    /// Whether the effects of the filter are hidden.
    pub(crate) fn is_shadow(&self) -> bool {
        self.of.is_some()
    }

    /// Whether what the filter logs reaches nobody: in a self-test, and in the shadow.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// A snapshot of the numbers; it includes every call that has ended.
    pub fn statistics(&self) -> FilterStatistics {
        let calls = self.calls();
        let sums = (0..Hook::ALL.len()).map(|hook| {
            let mut sum = calls.gone.get(hook).copied().unwrap_or_default();
            calls.live.iter().for_each(|tally| sum.add(tally.read(hook)));
            sum
        });
        let sums: Vec<HookCalls> = sums.collect();
        drop(calls);
        let hooks = Hook::ALL.iter().zip(sums).zip(&self.faults);
        let hooks = hooks.filter(|((_, sum), _)| sum.calls > 0).map(|((&hook, sum), faults)| {
            let mean_ns = sum.time_ns.checked_div(sum.timed_calls).unwrap_or_default();
            HookNumbers { hook, calls: sum.calls, faults: faults.load(Ordering::Relaxed), mean_ns }
        });
        let limits =
            [&self.log, &self.spans, &self.records, &self.span_octets, &self.record_octets];
        FilterStatistics {
            hooks: hooks.collect(),
            memory_high_bytes: self.memory_high_bytes.load(Ordering::Relaxed),
            instances: self.instances.load(Ordering::Relaxed),
            breaker: self.breaker.status(),
            dropped: limits.iter().map(|limit| limit.dropped()).sum(),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts of a new instance.
    pub(crate) fn tally(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        self.calls().live.push(Arc::clone(&tally));
        tally
    }

    /// The instance is gone; its counts are kept.
    pub(crate) fn close(&self, tally: &Arc<Tally>) {
        let mut calls = self.calls();
        let Some(at) = calls.live.iter().position(|one| Arc::ptr_eq(one, tally)) else { return };
        calls.live.swap_remove(at);
        for (hook, gone) in calls.gone.iter_mut().enumerate() {
            gone.add(tally.read(hook));
        }
    }

    pub(crate) fn count_fault(&self, hook: Hook) {
        if let Some(faults) = self.faults.get(hook as usize) {
            faults.fetch_add(1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_counted_at_once_and_none_is_lost_with_its_instance() {
        let state = FilterState::new(Arc::default());
        let calls = || state.statistics().hooks.first().map_or(0, |hook| hook.calls);
        let (first, second) = (state.tally(), state.tally());
        for n in 1..=100 {
            first.count(Hook::Request, (n == 1).then(|| Duration::from_micros(3)));
            assert_eq!(calls(), n);
        }
        second.count(Hook::Request, None);
        state.close(&first);
        assert_eq!(calls(), 101);
        state.close(&second);
        state.close(&second);
        assert_eq!((calls(), state.statistics().hooks[0].mean_ns), (101, 3_000));
    }
}

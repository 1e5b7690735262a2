//! What each digest did in each slot: counted by each worker for itself, added up when somebody asks.
//!
//! A worker alone writes its cells, so a count is a load and a store, never a locked instruction. Cells belong to
//! slot, digest and worker, not to a generation: one that is swapped out counts on in the same cells until its last
//! exchange has ended.

use crate::local::Local;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tamis_engine::CallFault;

/// What one digest did in one slot since the proxy started. Numbers only rise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotCounts {
    /// Attachment name.
    pub slot: String,
    /// Of the filter's manifest, `sha256:HEX`.
    pub digest: String,
    /// Exchanges in which a hook was asked, each counted once when it ends; for connection hooks, connections.
    pub exchanges: u64,
    /// Calls without a verdict: traps, limits, answers the contract does not allow, and calls not made because
    /// the filter failed too often or its next instance was not ready. A head larger than a view is the client's fault and not counted.
    pub traps: u64,
    /// Those of `exchanges` that were answered with a status of 500 to 599, by whomever.
    pub server_errors: u64,
    /// Those of `exchanges` that the filter answered itself with a status of 400 or more, and connections and
    /// response bodies that it broke off.
    pub denials: u64,
    /// How many exchanges were held up for how long by its calls, all hooks together, waiting included: bucket
    /// `n`, 0 to 32, counts those of up to 2^n µs that are in no bucket before. Of one exchange in 16 only, for
    /// reading the clock is dear; hooks that see bodies chunk by chunk are not timed.
    pub added: BTreeMap<u8, u64>,
}

/// One exchange in this many is timed.
const TIMED_BITS: u32 = 4;
const BUCKETS: usize = 33;
/// Slots and digests remembered. Those in use always are, whatever their number.
const ENTRIES_MAX: usize = 1_024;

/// One worker's numbers of a slot and digest. On lines of its own: no other worker writes near it.
#[repr(align(128))]
pub(crate) struct Cells {
    exchanges: AtomicU64,
    traps: AtomicU64,
    server_errors: AtomicU64,
    denials: AtomicU64,
    added: [AtomicU64; BUCKETS],
}

impl Default for Cells {
    fn default() -> Self {
        Self {
            exchanges: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            server_errors: AtomicU64::new(0),
            denials: AtomicU64::new(0),
            added: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// Only the worker that owns the cell may: two of them would lose counts.
fn count(cell: &AtomicU64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl Cells {
    /// It was asked about something.
    pub(crate) fn asked(&self) {
        count(&self.exchanges);
    }

    /// It denied.
    pub(crate) fn denied(&self) {
        count(&self.denials);
    }

    /// A call gave no verdict.
    pub(crate) fn faulted(&self, fault: &CallFault) {
        match fault {
            CallFault::NoHook(_) | CallFault::ViewTruncated => {}
            CallFault::Trap(_)
            | CallFault::Deadline { .. }
            | CallFault::Memory { .. }
            | CallFault::Stack
            | CallFault::Lift(_)
            | CallFault::BreakerOpen
            | CallFault::Remaking
            | CallFault::Instantiate(_) => count(&self.traps),
        }
    }

    fn took(&self, time: Duration) {
        let micros = time.as_nanos().div_ceil(1_000).max(1);
        // The exponent of the next power of two: 1 is in bucket 0, 2 in 1, 3 and 4 in 2.
        let bucket = (u128::BITS - (micros - 1).leading_zeros()) as usize;
        if let Some(cell) = self.added.get(bucket.min(BUCKETS - 1)) {
            count(cell);
        }
    }

    fn add_to(&self, sum: &mut SlotCounts) {
        for (sum, cell) in [
            (&mut sum.exchanges, &self.exchanges),
            (&mut sum.traps, &self.traps),
            (&mut sum.server_errors, &self.server_errors),
            (&mut sum.denials, &self.denials),
        ] {
            *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
        }
        for (bucket, cell) in (0..).zip(&self.added) {
            let more = cell.load(Ordering::Relaxed);
            if more > 0 {
                *sum.added.entry(bucket).or_default() += more;
            }
        }
    }
}

/// All cells of a proxy.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// By slot and digest.
    entries: BTreeMap<(String, String), Entry>,
    last: u64,
}

#[derive(Default)]
struct Entry {
    /// By worker.
    cells: BTreeMap<u64, Arc<Cells>>,
    /// Rises with every generation that asks for it.
    wanted: u64,
}

impl Ledger {
    /// Where that worker counts what the digest does in the slot.
    pub(crate) fn cells(&self, worker: u64, slot: &str, digest: &str) -> Arc<Cells> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        inner.last += 1;
        let entry = inner.entries.entry((slot.to_owned(), digest.to_owned())).or_default();
        entry.wanted = inner.last;
        let cells = Arc::clone(entry.cells.entry(worker).or_default());
        if inner.entries.len() > ENTRIES_MAX {
            inner.forget_oldest();
        }
        cells
    }

    /// What all workers counted, by slot and digest.
    pub(crate) fn sum(&self) -> Vec<SlotCounts> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = inner.entries.iter().map(|((slot, digest), entry)| {
            let (slot, digest) = (slot.clone(), digest.clone());
            let mut sum = SlotCounts { slot, digest, ..SlotCounts::default() };
            entry.cells.values().for_each(|cells| cells.add_to(&mut sum));
            sum
        });
        sum.collect()
    }
}

impl Entries {
    /// Forgets what was wanted longest ago of what no generation holds any more.
    fn forget_oldest(&mut self) {
        let idle = |entry: &Entry| entry.cells.values().all(|cells| Arc::strong_count(cells) == 1);
        let oldest = self.entries.iter().filter(|(_, entry)| idle(entry));
        let oldest = oldest.min_by_key(|(_, entry)| entry.wanted).map(|(key, _)| key.clone());
        oldest.and_then(|key| self.entries.remove(&key));
    }
}

/// Whom an exchange asked on its way, and how long that took if it is one of those that are timed.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Slots 0 to 63, by bit.
    low: u64,
    /// The others.
    high: Vec<usize>,
    timed: bool,
    times: Vec<(usize, Duration)>,
    denied: Option<usize>,
}

impl Asked {
    pub(crate) fn new(exchange: u64) -> Self {
        // Multiples of the golden ratio fall evenly, and in step with no pattern of requests.
        let timed = exchange.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - TIMED_BITS) == 0;
        Self { timed, ..Self::default() }
    }

    /// The slot has a say.
    pub(crate) fn note(&mut self, index: usize) {
        match u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)) {
            Some(bit) => self.low |= bit,
            None if self.high.contains(&index) => {}
            None => self.high.push(index),
        }
    }

    /// The slot is asked now; hand what this gives to [`Self::end`].
    pub(crate) fn begin(&mut self, index: usize) -> Option<Instant> {
        self.note(index);
        self.timed.then(Instant::now)
    }

    /// It answered.
    pub(crate) fn end(&mut self, index: usize, since: Option<Instant>) {
        let Some(since) = since else { return };
        let took = since.elapsed();
        match self.times.iter_mut().find(|(slot, _)| *slot == index) {
            Some((_, time)) => *time += took,
            None => self.times.push((index, took)),
        }
    }

    /// Its answer, with that status, goes to the client.
    pub(crate) fn answered(&mut self, index: usize, status: u16) {
        if status >= 400 {
            self.denied = Some(index);
        }
    }

    /// The exchange ended with that status; 0 when there was none.
    pub(crate) fn settle(&mut self, local: &Local, status: u16) {
        let failed = (500..600).contains(&status);
        let mut low = std::mem::take(&mut self.low);
        while low != 0 {
            self.count(local, low.trailing_zeros() as usize, failed);
            low &= low - 1;
        }
        for index in std::mem::take(&mut self.high) {
            self.count(local, index, failed);
        }
        for (index, time) in std::mem::take(&mut self.times) {
            if let Some(cells) = local.cells(index) {
                cells.took(time);
            }
        }
    }

    fn count(&self, local: &Local, index: usize, failed: bool) {
        let Some(cells) = local.cells(index) else { return };
        cells.asked();
        if failed {
            count(&cells.server_errors);
        }
        if self.denied == Some(index) {
            cells.denied();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(micros: &[u64]) -> Vec<u8> {
        let ledger = Ledger::default();
        let cells = ledger.cells(0, "a/b", "sha256:00");
        micros.iter().for_each(|us| cells.took(Duration::from_micros(*us)));
        ledger.sum().remove(0).added.into_keys().collect()
    }

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        for (us, bucket) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1024, 10), (1025, 11)]
        {
            assert_eq!(buckets(&[us]), [bucket], "{us} us");
        }
        assert_eq!(buckets(&[u64::MAX, 1 << 40]), [32]);
        let cells = Cells::default();
        cells.took(Duration::from_nanos(1_001));
        assert_eq!(cells.added[1].load(Ordering::Relaxed), 1, "more than a microsecond");
    }

    #[test]
    fn one_exchange_in_16_is_timed_whatever_its_neighbours() {
        for (first, step) in [(1_u64, 1), (1, 2), (2, 2), (3, 16), ((5 << 48) | 1, 1), (7, 10)] {
            let ids = (0..16_000_u64).map(|n| first + n * step);
            let timed = ids.filter(|id| Asked::new(*id).timed).count();
            assert!((950..=1_050).contains(&timed), "{timed} of 16,000 from {first} by {step}");
        }
    }

    #[test]
    fn workers_add_up_and_a_digest_that_comes_back_counts_on() {
        let ledger = Ledger::default();
        for worker in [0, 1, 0] {
            ledger.cells(worker, "a/b", "sha256:00").asked();
        }
        ledger.cells(1, "a/b", "sha256:01").denied();
        let told = |digest: &str, exchanges, denials| SlotCounts {
            slot: "a/b".into(),
            digest: digest.into(),
            exchanges,
            denials,
            ..SlotCounts::default()
        };
        assert_eq!(ledger.sum(), [told("sha256:00", 3, 0), told("sha256:01", 0, 1)]);
    }

    #[test]
    fn what_serves_is_never_forgotten_and_the_rest_is_bounded() {
        let ledger = Ledger::default();
        let held = ledger.cells(0, "a/b", "held");
        held.asked();
        for n in 0..ENTRIES_MAX * 2 {
            ledger.cells(0, "a/b", &n.to_string());
        }
        let sum = ledger.sum();
        assert_eq!(sum.len(), ENTRIES_MAX);
        assert!(sum.iter().any(|one| one.digest == "held" && one.exchanges == 1));
        assert!(sum.iter().any(|one| one.digest == (ENTRIES_MAX * 2 - 1).to_string()));
    }
}

//! Counts of what each digest did in each slot: each worker counts for itself, readers add up.
//!
//! Only one worker writes its cells, so a count is a load and a store and never a locked instruction. SlotCells
//! belong to slot, digest and worker, not to a generation: a filter that was replaced continues to count in
//! the same cells until its last exchange has ended.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tamis_engine::CallFault;

/// What one digest did in one slot since the proxy started. Numbers only rise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotCounts {
    /// Attachment name.
    pub slot: String,
    /// Digest of the filter's manifest, `sha256:HEX`.
    pub digest: String,
    /// Exchanges in which a hook was called, each counted once when it ends; for connection hooks,
    /// connections.
    pub exchanges: u64,
    /// Calls without a verdict: traps, limits, answers that break the contract, and calls that were not
    /// made because the filter failed too often or its next instance was not ready. A head larger than a
    /// view is the client's fault and not counted.
    pub traps: u64,
    /// Those of `exchanges` that ended with a status of 500 to 599, whatever the cause.
    pub server_errors: u64,
    /// Those of `exchanges` that the filter answered itself with a status of 400 or more, and connections
    /// and response bodies that it ended.
    pub denials: u64,
    /// How long its calls delayed exchanges, all hooks together, including waiting: bucket `n`, 0 to 32,
    /// counts exchanges delayed by up to 2^n µs that are in no lower bucket. Only one exchange in 16 is
    /// measured, because reading the clock is expensive; hooks that see bodies chunk by chunk are not
    /// measured.
    pub added: BTreeMap<u8, u64>,
}

const BUCKETS: usize = 33;
/// Slots and digests remembered. Those in use always are, whatever their number.
const ENTRIES_MAX: usize = 1_024;

/// One worker's counts of a slot and digest. Aligned to cache lines of its own, so that no other worker
/// writes near it.
#[repr(align(128))]
pub(crate) struct SlotCells {
    exchanges: AtomicU64,
    traps: AtomicU64,
    server_errors: AtomicU64,
    denials: AtomicU64,
    added: [AtomicU64; BUCKETS],
}

impl Default for SlotCells {
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

/// Only the worker that owns the cell may call this: two of them would lose counts.
fn count(cell: &AtomicU64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl SlotCells {
    /// An exchange called it.
    pub(crate) fn count_exchange(&self) {
        count(&self.exchanges);
    }

    /// It denied.
    pub(crate) fn denied(&self) {
        count(&self.denials);
    }

    /// A call gave no verdict.
    pub(crate) fn faulted(&self, fault: &CallFault) {
        match fault {
            // A body that lost its instance is no failure of the next one.
            CallFault::NoHook(_) | CallFault::ViewTruncated | CallFault::Lost => {}
            CallFault::Trap(_)
            | CallFault::Deadline { .. }
            | CallFault::Memory { .. }
            | CallFault::Stack
            | CallFault::BadAnswer(_)
            | CallFault::BreakerOpen
            | CallFault::Remaking
            | CallFault::Instantiate(_) => count(&self.traps),
        }
    }

    /// An exchange that called it ended with a status of 500 to 599.
    pub(crate) fn server_error(&self) {
        count(&self.server_errors);
    }

    /// An exchange that is timed was held up by its calls for so long.
    pub(crate) fn took(&self, time: Duration) {
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
pub(crate) struct SlotLedger(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// By slot and digest.
    entries: BTreeMap<(String, String), Entry>,
    last: u64,
}

#[derive(Default)]
struct Entry {
    /// By worker.
    cells: BTreeMap<u64, Arc<SlotCells>>,
    /// When the entry was last asked for, as a running number: the entry with the lowest one is forgotten first.
    wanted: u64,
}

impl SlotLedger {
    /// The cells in which that worker counts for the digest in the slot.
    pub(crate) fn cells(&self, worker: u64, slot: &str, digest: &str) -> Arc<SlotCells> {
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

    /// The sums over all workers, by slot and digest.
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
    /// Removes the entries that were used longest ago and that no generation uses any more.
    fn forget_oldest(&mut self) {
        let idle = |entry: &Entry| entry.cells.values().all(|cells| Arc::strong_count(cells) == 1);
        let oldest = self.entries.iter().filter(|(_, entry)| idle(entry));
        let oldest = oldest.min_by_key(|(_, entry)| entry.wanted).map(|(key, _)| key.clone());
        oldest.and_then(|key| self.entries.remove(&key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(micros: &[u64]) -> Vec<u8> {
        let ledger = SlotLedger::default();
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
        let cells = SlotCells::default();
        cells.took(Duration::from_nanos(1_001));
        assert_eq!(cells.added[1].load(Ordering::Relaxed), 1, "more than a microsecond");
    }

    #[test]
    fn workers_add_up_and_a_digest_that_comes_back_counts_on() {
        let ledger = SlotLedger::default();
        for worker in [0, 1, 0] {
            ledger.cells(worker, "a/b", "sha256:00").count_exchange();
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
        let ledger = SlotLedger::default();
        let held = ledger.cells(0, "a/b", "held");
        held.count_exchange();
        for n in 0..ENTRIES_MAX * 2 {
            ledger.cells(0, "a/b", &n.to_string());
        }
        let sum = ledger.sum();
        assert_eq!(sum.len(), ENTRIES_MAX);
        assert!(sum.iter().any(|one| one.digest == "held" && one.exchanges == 1));
        assert!(sum.iter().any(|one| one.digest == (ENTRIES_MAX * 2 - 1).to_string()));
    }
}

//! Totals of a proxy: responses by direction and class, refusals by reason, durations of exchanges.
//!
//! Only one worker writes its cells, so a count is a load and a store. Refusals are counted under a lock:
//! they are rare, or caused by an attack.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tamis_resources::plan::TrafficDirection;

/// Classes of status: no response, and 1xx to 5xx.
pub(crate) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
pub(crate) const DIRECTIONS: [TrafficDirection; 3] =
    [TrafficDirection::Gateway, TrafficDirection::Inbound, TrafficDirection::Outbound];
/// Reasons that are counted separately in each direction; further ones are `other`. Filters define their
/// own.
const REASONS_MAX: usize = 200;
/// Eight buckets share each doubling of microseconds, so that a quantile is at most an eighth too high.
const BUCKETS: usize = 16 + 28 * 8;
const LINEAR: u32 = 16;

/// One worker's counts. Aligned to cache lines of its own, so that no other worker writes near it.
#[repr(align(128))]
struct TrafficCells {
    responses: [[AtomicU64; CLASSES.len()]; DIRECTIONS.len()],
    durations: [AtomicU64; BUCKETS],
}

/// Totals of all workers.
pub(crate) struct Traffic {
    workers: Vec<TrafficCells>,
    refusals: Mutex<BTreeMap<(&'static str, String), u64>>,
}

/// Counts since the start. Numbers only rise: compute differences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// By direction, in the order gateway, inbound, outbound; then by class: no response, 1xx, 2xx, 3xx,
    /// 4xx, 5xx.
    pub responses: [[u64; 6]; 3],
    durations: Vec<u64>,
}

impl TrafficCounts {
    /// All responses of one class, 1 to 5; 0 counts exchanges without a response.
    #[must_use]
    pub fn class(&self, class: usize) -> u64 {
        self.responses.iter().filter_map(|row| row.get(class)).sum()
    }

    /// What happened since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut now = self.clone();
        for (row, before) in now.responses.iter_mut().zip(&before.responses) {
            for (count, before) in row.iter_mut().zip(before) {
                *count = count.saturating_sub(*before);
            }
        }
        for (count, before) in now.durations.iter_mut().zip(&before.durations) {
            *count = count.saturating_sub(*before);
        }
        now
    }

    /// The duration that this share of the exchanges did not exceed, at most an eighth too high; `None` if
    /// there were no exchanges.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.durations.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "a rank is rounded anyway")]
        let wanted = (share * all as f64).ceil().max(1.0);
        let mut seen = 0_u64;
        for (bucket, count) in self.durations.iter().enumerate() {
            seen = seen.saturating_add(*count);
            #[expect(clippy::cast_precision_loss, reason = "as above")]
            if *count > 0 && seen as f64 >= wanted {
                return Some(Duration::from_micros(upper(bucket)));
            }
        }
        None
    }
}

impl Traffic {
    pub(crate) fn new(workers: usize) -> Self {
        let cells = || TrafficCells {
            responses: Default::default(),
            durations: std::array::from_fn(|_| AtomicU64::new(0)),
        };
        let workers = (0..workers.max(1)).map(|_| cells()).collect();
        Self { workers, refusals: Mutex::default() }
    }

    /// Counts an exchange of that worker that ended with this status, 0 if no response was sent.
    pub(crate) fn ended(
        &self,
        worker: u64,
        direction: TrafficDirection,
        status: u16,
        took: Duration,
    ) {
        // Workers are few: their number is an index.
        let Some(cells) = usize::try_from(worker).ok().and_then(|at| self.workers.get(at)) else {
            return;
        };
        let class = usize::from(status / 100);
        let class = if class < CLASSES.len() { class } else { 0 };
        let row = cells.responses.get(place(direction));
        row.and_then(|row| row.get(class)).inspect(|cell| count(cell));
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        cells.durations.get(bucket(micros)).inspect(|cell| count(cell));
    }

    /// Counts an exchange that was refused, or answered by a filter, with that reason.
    pub(crate) fn refused(&self, direction: TrafficDirection, reason: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let word = direction.as_str();
        if let Some(count) = refusals.get_mut(&(word, reason.to_owned())) {
            *count = count.saturating_add(1);
            return;
        }
        let known = refusals.keys().filter(|(direction, _)| *direction == word).count();
        let reason = if known < REASONS_MAX { reason } else { "other" };
        let count = refusals.entry((word, reason.to_owned())).or_default();
        *count = count.saturating_add(1);
    }

    /// Refusals by direction and reason.
    pub(crate) fn refusals(&self) -> BTreeMap<(&'static str, String), u64> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All workers together.
    pub(crate) fn sum(&self) -> TrafficCounts {
        let mut sum = TrafficCounts { responses: [[0; 6]; 3], durations: vec![0; BUCKETS] };
        for cells in &self.workers {
            for (sum, row) in sum.responses.iter_mut().zip(&cells.responses) {
                add(sum, row);
            }
            add(&mut sum.durations, &cells.durations);
        }
        sum
    }
}

fn add(sum: &mut [u64], cells: &[AtomicU64]) {
    for (sum, cell) in sum.iter_mut().zip(cells) {
        *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
    }
}

/// Only the worker that owns the cell may call this: two of them would lose counts.
fn count(cell: &AtomicU64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

fn place(direction: TrafficDirection) -> usize {
    match direction {
        TrafficDirection::Gateway => 0,
        TrafficDirection::Inbound => 1,
        TrafficDirection::Outbound => 2,
    }
}

fn bucket(micros: u32) -> usize {
    if micros < LINEAR {
        return micros as usize;
    }
    // The position of the highest bit, 4 to 31, and the three bits below it.
    let high = micros.ilog2();
    let eighth = (micros >> (high - 3)) & 7;
    (LINEAR + (high - 4) * 8 + eighth) as usize
}

/// The largest number of microseconds that a bucket counts.
fn upper(bucket: usize) -> u64 {
    let linear = LINEAR as usize;
    if bucket < linear {
        return bucket as u64;
    }
    let (doubling, eighth) = ((bucket - linear) / 8, (bucket - linear) % 8);
    ((9 + eighth as u64) << (doubling + 1)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_counted_at_most_an_eighth_too_high() {
        for micros in (0..5_000).chain([1 << 20, (1 << 31) - 1, 1 << 31, u32::MAX]) {
            let upper = upper(bucket(micros));
            let (least, most) = (u64::from(micros), u64::from(micros) + u64::from(micros / 8));
            assert!((least..=most).contains(&upper), "{micros}: {upper}");
        }
    }

    #[test]
    fn workers_add_up_and_only_what_happened_since_counts() {
        let traffic = Traffic::new(2);
        let millis = Duration::from_millis;
        traffic.ended(0, TrafficDirection::Gateway, 200, millis(1));
        let before = traffic.sum();
        assert_eq!(before.since(&before).quantile(0.5), None);
        for worker in [0, 1] {
            traffic.ended(worker, TrafficDirection::Gateway, 200, millis(2));
            traffic.ended(worker, TrafficDirection::Outbound, 401, millis(4));
        }
        traffic.ended(1, TrafficDirection::Inbound, 0, millis(100));
        // Nobody has these; they are not counted as somebody else's.
        traffic.ended(2, TrafficDirection::Inbound, 999, millis(100));
        let since = traffic.sum().since(&before);
        assert_eq!([0, 2, 4, 5].map(|class| since.class(class)), [1, 2, 2, 0]);
        let about = |share, wanted: u64| {
            let took = since.quantile(share).unwrap().as_micros();
            assert!((wanted..=wanted * 9 / 8).contains(&u64::try_from(took).unwrap()), "{took}");
        };
        about(0.4, 2_000);
        about(0.5, 4_000);
        about(0.99, 100_000);
    }

    #[test]
    fn reasons_that_somebody_invents_take_no_memory_without_end() {
        let traffic = Traffic::new(1);
        for reason in 0..1_000 {
            traffic.refused(TrafficDirection::Inbound, &format!("r{reason}"));
        }
        traffic.refused(TrafficDirection::Gateway, "r1");
        let refusals = traffic.refusals();
        assert_eq!(refusals.len(), REASONS_MAX + 2);
        assert_eq!(refusals[&("inbound", "other".to_owned())], 800);
    }
}

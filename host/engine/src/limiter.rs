//! The limits of a filter: its memory, and the rates of what it may do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tamis_ambient::Clock;

/// No component's memory grows beyond this, whatever its grant says.
pub const MAX_MEMORY_BYTES: u64 = 128 * 1024 * 1024;

/// Table elements of an instance, all tables together.
const MAX_TABLE_ELEMENTS: usize = 200_000;

/// Sums all memories of a store.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    pub(crate) limit_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) refused: bool,
    /// All memory that it would have had, had the last request not been refused.
    pub(crate) wanted_bytes: u64,
    elements: usize,
}

impl MemoryLimiter {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, used_bytes: 0, refused: false, wanted_bytes: 0, elements: 0 }
    }
}

impl wasmtime::ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        let allowed = self.used_bytes.saturating_add(more) <= self.limit_bytes;
        if allowed {
            self.used_bytes = self.used_bytes.saturating_add(more);
        } else {
            self.refused = true;
            self.wanted_bytes = self.used_bytes.saturating_add(more);
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let allowed = self.elements.saturating_add(more) <= MAX_TABLE_ELEMENTS;
        if allowed {
            self.elements = self.elements.saturating_add(more);
        }
        Ok(allowed)
    }
}

/// Counts events in spans of a second or a minute; events above the rate are dropped and counted.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter {
    clock: Clock,
    span: Mutex<Option<(Instant, u32)>>,
    dropped: AtomicU64,
}

impl RateLimiter {
    /// Nothing was counted yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Whether `count` more events fit into the current span of length `every`.
    pub(crate) fn take(&self, count: u32, rate: u32, every: Duration) -> bool {
        let now = self.clock.now();
        let mut span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        let used = match *span {
            Some((start, used)) if now.saturating_duration_since(start) < every => used,
            _ => {
                *span = Some((now, 0));
                0
            }
        };
        let sum = used.saturating_add(count);
        if sum > rate {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if let Some((_, used)) = span.as_mut() {
            *used = sum;
        }
        true
    }

    /// Counts one event that was dropped for another reason than its rate.
    pub(crate) fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

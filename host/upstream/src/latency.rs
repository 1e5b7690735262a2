//! How long attempts to an endpoint take, as averages that all workers write.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Half-life of the latency for picking without new samples, so that an endpoint that was slow once is
/// tried again soon.
const HALF_LIFE_MS: u64 = 1_000;

/// The latency of an endpoint.
pub(crate) struct EndpointLatency {
    born: Instant,
    /// Average latency in microseconds, for people and filters; 0 while unknown.
    average_us: AtomicU32,
    /// Of the last success, in microseconds.
    last_us: AtomicU32,
    /// The latency for picking (high half, microseconds; 0 while unknown) and when it was updated (low
    /// half, milliseconds since `born`; 0 before the first attempt ended).
    steady: AtomicU64,
}

impl EndpointLatency {
    /// That of an endpoint first seen at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        let (average_us, last_us) = (AtomicU32::default(), AtomicU32::default());
        Self { born: now, average_us, last_us, steady: AtomicU64::default() }
    }

    /// Time since it was first seen.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }

    /// Whether an attempt has ended, successfully or not.
    pub(crate) fn is_known(&self) -> bool {
        self.steady.load(Ordering::Relaxed) > 0
    }

    /// Adds one attempt's time. A failure never makes an endpoint look faster.
    ///
    /// Two workers may overwrite each other: an average without some random samples is the same average.
    pub(crate) fn add(&self, latency: Duration, failed: bool, now: Instant) {
        let sample = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX).max(1);
        let before = self.ewma_us();
        let counts = match (failed, before) {
            // Only a failure is known so far.
            (true, 0) => None,
            (true, _) => Some(sample.max(before)),
            (false, _) => Some(sample),
        };
        if let Some(sample) = counts {
            // Weight 1/8, as TCP's smoothed round-trip time (RFC 6298 §2.3).
            let after = if before == 0 { sample } else { before - before / 8 + sample / 8 };
            self.average_us.store(after.max(1), Ordering::Relaxed);
        }
        let steady = self.steadied(sample, failed, now);
        let packed = u64::from(steady) << 32 | u64::from(self.age_ms(now).max(1));
        self.steady.store(packed, Ordering::Relaxed);
    }

    /// The latency for picking after one more sample. A single slow response has no effect, two in a row
    /// do: of each two consecutive ones the faster counts. It rises at once, and falls by an eighth and
    /// with time.
    fn steadied(&self, sample: u32, failed: bool, now: Instant) -> u32 {
        if failed {
            // Unchanged: an endpoint that fails fast must not look fast because it has no other samples.
            return u32::try_from(self.steady.load(Ordering::Relaxed) >> 32).unwrap_or(u32::MAX);
        }
        match (self.last_us.swap(sample, Ordering::Relaxed), self.steady_us(now)) {
            (0, _) => 0,
            (last, before) if before == 0 || last.min(sample) >= before => last.min(sample),
            (last, before) => (before - before / 8 + last.min(sample) / 8).max(1),
        }
    }

    /// The latency for picking, decayed; 0 while unknown.
    pub(crate) fn steady_us(&self, now: Instant) -> u32 {
        let packed = self.steady.load(Ordering::Relaxed);
        let value = packed >> 32;
        let at = u32::try_from(packed & u64::from(u32::MAX)).unwrap_or(0);
        // In the first millisecond `at` is ahead, and another worker's clock may be too.
        let age = self.age_ms(now).wrapping_sub(at);
        let age = if age > u32::MAX / 2 { 0 } else { u64::from(age) };
        let halves = u32::try_from(age / HALF_LIFE_MS).unwrap_or(u32::MAX);
        let whole = value.checked_shr(halves).unwrap_or(0);
        // Between two halvings the value falls linearly.
        let decayed = whole - whole * (age % HALF_LIFE_MS) / HALF_LIFE_MS / 2;
        u32::try_from(decayed).unwrap_or(u32::MAX).max(u32::from(value > 0))
    }

    fn age_ms(&self, now: Instant) -> u32 {
        // It wraps every 49 days, and so do differences.
        let age = now.saturating_duration_since(self.born).as_millis();
        u32::try_from(age & u128::from(u32::MAX)).unwrap_or(0)
    }

    /// The average without decay.
    pub(crate) fn ewma_us(&self) -> u32 {
        self.average_us.load(Ordering::Relaxed)
    }
}

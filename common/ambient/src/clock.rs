//! Two clocks in one value: the monotonic one for spans and limits, the wall clock for what is written down.

#![expect(clippy::disallowed_methods, reason = "the one door to the clocks of the machine")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where a part takes the time from: the machine, or a test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Copy, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(ManualTime),
}

impl Clock {
    /// The clocks of the machine.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// The monotonic clock: never goes back, has no date. Every span, limit and pause is measured on it.
    #[must_use]
    pub fn now(self) -> Instant {
        match self.0 {
            Source::System => Instant::now(),
            Source::Manual(time) => time.monotonic(),
        }
    }

    /// The monotonic time since `start`; zero when `start` is later than now.
    #[must_use]
    pub fn since(self, start: Instant) -> Duration {
        self.now().saturating_duration_since(start)
    }

    /// The monotonic time until `end`; `None` once it is reached.
    #[must_use]
    pub fn until(self, end: Instant) -> Option<Duration> {
        end.checked_duration_since(self.now()).filter(|left| !left.is_zero())
    }

    /// The wall clock: has a date, and may be set back or forward by anybody. It is read for what is written down and
    /// for the dates of certificates and metadata.
    #[must_use]
    pub fn wall(self) -> SystemTime {
        match self.0 {
            Source::System => SystemTime::now(),
            Source::Manual(time) => UNIX_EPOCH + time.unix_time(),
        }
    }

    /// The wall clock as the time since 1970-01-01T00:00:00Z; zero when it is set to an earlier date.
    #[must_use]
    pub fn unix_time(self) -> Duration {
        self.wall().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// [`Clock::unix_time`] in whole seconds.
    #[must_use]
    pub fn unix_secs(self) -> u64 {
        self.unix_time().as_secs()
    }

    /// [`Clock::unix_time`] in whole milliseconds.
    #[must_use]
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.unix_time().as_millis()).unwrap_or(u64::MAX)
    }

    /// [`Clock::unix_time`] in whole microseconds.
    #[must_use]
    pub fn unix_us(self) -> u64 {
        u64::try_from(self.unix_time().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The time of a test: it stands still until the test moves it.
///
/// Each `ManualTime` stays in memory until the process ends, so that a [`Clock`] stays a word that can be
/// copied.
#[derive(Clone, Copy, Debug)]
pub struct ManualTime(&'static TestClocks);

/// Both clocks of a test.
#[derive(Debug)]
struct TestClocks {
    start: Instant,
    /// Nanoseconds since `start`.
    monotonic: AtomicU64,
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    wall: AtomicU64,
}

impl ManualTime {
    /// The wall clock of a new `ManualTime`: 2026-01-01T00:00:00Z.
    pub const FIRST_UNIX_SECS: u64 = 1_767_225_600;

    /// A time that stands still, at [`ManualTime::FIRST_UNIX_SECS`].
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "each call returns another time, so this is not an empty value"
    )]
    pub fn new() -> Self {
        Self(Box::leak(Box::new(TestClocks {
            start: Instant::now(),
            monotonic: AtomicU64::new(0),
            wall: AtomicU64::new(nanos(Duration::from_secs(Self::FIRST_UNIX_SECS))),
        })))
    }

    /// The clock that shows this time.
    #[must_use]
    pub const fn clock(self) -> Clock {
        Clock(Source::Manual(self))
    }

    /// Moves both clocks forward.
    pub fn advance(self, by: Duration) {
        self.0.monotonic.fetch_add(nanos(by), Ordering::SeqCst);
        self.0.wall.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// Sets the wall clock, back as well as forward; the monotonic clock does not notice. At most the year 2554.
    pub fn set_unix_time(self, since_1970: Duration) {
        self.0.wall.store(nanos(since_1970), Ordering::SeqCst);
    }

    fn monotonic(self) -> Instant {
        self.0.start + Duration::from_nanos(self.0.monotonic.load(Ordering::SeqCst))
    }

    fn unix_time(self) -> Duration {
        Duration::from_nanos(self.0.wall.load(Ordering::SeqCst))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_time_of_a_test_stands_still_until_it_is_moved() {
        let time = ManualTime::new();
        let clock = time.clock();
        let (start, wall) = (clock.now(), clock.wall());
        assert_eq!((clock.now(), clock.wall()), (start, wall));
        time.advance(SECOND);
        assert_eq!((clock.since(start), clock.wall()), (SECOND, wall + SECOND));
        assert_eq!(clock.unix_secs(), ManualTime::FIRST_UNIX_SECS + 1);
    }

    #[test]
    fn a_wall_clock_set_back_does_not_move_the_monotonic_clock() {
        let time = ManualTime::new();
        let clock = time.clock();
        let start = clock.now();
        time.set_unix_time(SECOND);
        assert_eq!((clock.unix_ms(), clock.since(start)), (1_000, Duration::ZERO));
    }

    #[test]
    fn an_end_is_reached_at_the_end_and_not_before() {
        let time = ManualTime::new();
        let clock = time.clock();
        let end = clock.now() + SECOND;
        assert_eq!(clock.until(end), Some(SECOND));
        time.advance(SECOND);
        assert_eq!(clock.until(end), None);
        time.advance(SECOND);
        assert_eq!((clock.until(end), clock.since(end + SECOND)), (None, Duration::ZERO));
    }

    #[test]
    fn two_times_do_not_move_each_other() {
        let (one, other) = (ManualTime::new(), ManualTime::new());
        let start = other.clock().now();
        one.advance(SECOND);
        assert_eq!(other.clock().now(), start);
    }

    #[test]
    fn a_clock_is_a_word() {
        assert_eq!(size_of::<Clock>(), size_of::<usize>());
    }
}

//! How a store whose keys others choose stays bounded: the length of a key, and when to look for room.

use aws_lc_rs::digest;
use std::time::{Duration, Instant};

/// Beginning of the stored form of a key that is kept by its hash.
const HASHED: &str = "sha256:";

/// The stored form of a key: the key itself, or its SHA-256 when it is longer than granted. Different keys
/// stay different: a key that looks like a hash is hashed too, so that nobody can choose the key of another.
/// Each costs at most `max` bytes, or those of a hash.
pub(crate) fn within(key: String, max: usize) -> String {
    if key.len() <= max && !key.starts_with(HASHED) {
        return key;
    }
    let hash = digest::digest(&digest::SHA256, key.as_bytes());
    let hex = hash.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex = hex.filter_map(|nibble| char::from_digit(u32::from(nibble), 16));
    HASHED.chars().chain(hex).collect()
}

/// When what is over is sought again in a full store. A search costs as much as there are entries, and who fills a store
/// (a client that chooses keys, perhaps) may ask for one with each request: so it waits, longer the more there are.
#[derive(Debug, Default)]
pub(crate) struct SweepPause(Option<Instant>);

/// Nanoseconds of a pause for each entry looked at: some fifty times what a look takes.
const PAUSE_FOR_EACH: u64 = 1_000;

impl SweepPause {
    /// Whether to seek now among so many.
    pub(crate) fn is_due(&mut self, entries: usize, now: Instant) -> bool {
        if self.0.is_some_and(|at| now < at) {
            return false;
        }
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        self.0 = now.checked_add(Duration::from_nanos(entries.saturating_mul(PAUSE_FOR_EACH)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_kept_under_that_of_another() {
        let long = "k".repeat(300);
        let kept = within(long.clone(), 256);
        assert!(kept.starts_with(HASHED) && kept.len() < 80);
        let twice = within(kept.clone(), 256);
        let keys = [long, kept.clone(), twice.clone(), "sha256:".to_owned(), String::new()];
        let all: std::collections::HashSet<_> =
            keys.iter().map(|key| within(key.clone(), 256)).collect();
        assert_eq!(all.len(), keys.len(), "{all:?}");
        for odd in ["\0", "a\0b", "a", "\u{202e}", "ä"] {
            assert_eq!(within(odd.to_owned(), 256), odd, "octets are octets");
        }
    }

    #[test]
    fn a_full_store_is_searched_now_and_then_however_often_it_is_asked() {
        let (mut sweep, now) = (SweepPause::default(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        let asked = (0..1_000).filter(|ms| sweep.is_due(100_000, at(*ms))).count();
        assert_eq!(asked, 10, "each of 100,000 entries costs a pause of a microsecond");
    }
}

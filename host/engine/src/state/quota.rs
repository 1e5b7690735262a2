//! Token buckets: what `quota` takes from.

use super::bounds::SweepPause;
use crate::{QuotaClass, QuotaGrant};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Wait that a caller is given when there is no room for its bucket.
const NO_ROOM_MS: u32 = 1_000;

/// All buckets of an attachment.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<Classes>);

#[derive(Debug, Default)]
struct Classes {
    /// By class and key.
    classes: HashMap<String, HashMap<String, Bucket>>,
    octets: usize,
    sweep: SweepPause,
}

/// Memory of a bucket, without its key.
const BUCKET_BYTES: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Buckets {
    /// Takes `tokens`, or returns the milliseconds until there are enough.
    pub(crate) fn take(
        &self,
        class: &str,
        key: &str,
        tokens: u32,
        settings: &QuotaClass,
        grant: &QuotaGrant,
        now: Instant,
    ) -> Result<u32, u32> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Classes { classes, octets, sweep } = &mut *inner;
        if !classes.contains_key(class) {
            classes.insert(class.to_owned(), HashMap::new());
        }
        let Some(buckets) = classes.get_mut(class) else { return Err(NO_ROOM_MS) };
        if !buckets.contains_key(key) {
            let size = key.len().saturating_add(BUCKET_BYTES);
            let fits = |count: usize, octets: usize| {
                count < grant.keys && octets.saturating_add(size) <= grant.total_bytes
            };
            if !fits(buckets.len(), *octets) && sweep.is_due(buckets.len(), now) {
                // A full bucket equals a fresh one: forgetting it changes nothing.
                buckets.retain(|key, bucket| {
                    let full = bucket.refilled(settings, now).is_full(settings);
                    if full {
                        *octets = octets.saturating_sub(key.len().saturating_add(BUCKET_BYTES));
                    }
                    !full
                });
            }
            if !fits(buckets.len(), *octets) {
                return Err(NO_ROOM_MS);
            }
            *octets = octets.saturating_add(size);
            buckets.insert(key.to_owned(), Bucket { tokens: f64::from(settings.burst), at: now });
        }
        let Some(bucket) = buckets.get_mut(key) else { return Err(NO_ROOM_MS) };
        *bucket = bucket.refilled(settings, now);
        let missing = f64::from(tokens) - bucket.tokens;
        if missing <= 0.0 {
            bucket.tokens -= f64::from(tokens);
            return Ok(whole(bucket.tokens));
        }
        if tokens > settings.burst || settings.per_second <= 0.0 {
            return Err(u32::MAX);
        }
        Err(whole((missing / settings.per_second * 1_000.0).ceil()).max(1))
    }
}

impl Bucket {
    fn refilled(self, settings: &QuotaClass, now: Instant) -> Self {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        let tokens = self.tokens + seconds * settings.per_second.max(0.0);
        Self { tokens: tokens.min(f64::from(settings.burst)), at: now }
    }

    fn is_full(self, settings: &QuotaClass) -> bool {
        self.tokens >= f64::from(settings.burst)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates"
)]
fn whole(number: f64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_empties_says_how_long_and_refills() {
        let (buckets, now) = (Buckets::default(), Instant::now());
        let class = QuotaClass { per_second: 2.0, burst: 2 };
        let take = |at| buckets.take("c", "k", 1, &class, &QuotaGrant::default(), at);
        assert_eq!((take(now), take(now), take(now)), (Ok(1), Ok(0), Err(500)));
        assert_eq!(take(now + Duration::from_millis(500)), Ok(0));
    }

    #[test]
    fn a_flood_of_keys_never_frees_a_spent_bucket() {
        let now = Instant::now();
        let class = QuotaClass { per_second: 1.0, burst: 1 };
        let two = QuotaGrant { keys: 2, ..QuotaGrant::default() };
        let octets = QuotaGrant { total_bytes: 2 * (5 + BUCKET_BYTES), ..QuotaGrant::default() };
        for grant in [two, octets] {
            let buckets = Buckets::default();
            assert_eq!(buckets.take("c", "spent", 1, &class, &grant, now), Ok(0));
            assert_eq!(buckets.take("c", "other", 1, &class, &grant, now), Ok(0));
            assert_eq!(buckets.take("c", "third", 1, &class, &grant, now), Err(NO_ROOM_MS));
            assert!(buckets.take("c", "spent", 1, &class, &grant, now).is_err());
            let later = now + Duration::from_secs(2);
            assert_eq!(buckets.take("c", "third", 1, &class, &grant, later), Ok(0));
        }
    }
}

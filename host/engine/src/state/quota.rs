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
    classes: HashMap<String, Class>,
    sweep: SweepPause,
}

#[derive(Debug)]
struct Class {
    /// As they were when something was last taken.
    settings: QuotaClass,
    /// By key.
    buckets: HashMap<String, Bucket>,
    octets: usize,
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
        let Classes { classes, sweep } = &mut *inner;
        if !classes.contains_key(class) {
            let (buckets, octets) = (HashMap::new(), 0);
            classes.insert(class.to_owned(), Class { settings: settings.clone(), buckets, octets });
        }
        let known = classes.get(class).is_some_and(|it| it.buckets.contains_key(key));
        if !known {
            let size = key.len().saturating_add(BUCKET_BYTES);
            if !fits(classes, class, size, grant) {
                let entries = classes.values().map(|it| it.buckets.len());
                if sweep.is_due(entries.fold(0, usize::saturating_add), now) {
                    classes.values_mut().for_each(|it| it.sweep(now));
                }
            }
            if !fits(classes, class, size, grant) {
                return Err(NO_ROOM_MS);
            }
        }
        let Some(it) = classes.get_mut(class) else { return Err(NO_ROOM_MS) };
        it.settings = settings.clone();
        if !known {
            it.octets = it.octets.saturating_add(key.len().saturating_add(BUCKET_BYTES));
            let fresh = Bucket { tokens: f64::from(settings.burst), at: now };
            it.buckets.insert(key.to_owned(), fresh);
        }
        let Some(bucket) = it.buckets.get_mut(key) else { return Err(NO_ROOM_MS) };
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

/// Whether a bucket of that size fits: its class has fewer keys than granted, and all classes together have the octets. The
/// classes of the grant share one half of these equally, which each finds free for itself.
fn fits(classes: &HashMap<String, Class>, class: &str, size: usize, grant: &QuotaGrant) -> bool {
    let octets = |name: &str| classes.get(name).map_or(0, |it| it.octets);
    let share = grant.total_bytes.checked_div(grant.classes.len().saturating_mul(2));
    let others = grant.classes.keys().filter(|name| *name != class);
    let free = others.map(|name| share.unwrap_or(0).saturating_sub(octets(name)));
    let used = classes.values().map(|it| it.octets).chain(free).chain([size]);
    classes.get(class).is_none_or(|it| it.buckets.len() < grant.keys)
        && used.fold(0, usize::saturating_add) <= grant.total_bytes
}

impl Class {
    /// Forgets full buckets, which equal fresh ones.
    fn sweep(&mut self, now: Instant) {
        let Self { settings, buckets, octets } = self;
        buckets.retain(|key, bucket| {
            let full = bucket.refilled(settings, now).is_full(settings);
            if full {
                *octets = octets.saturating_sub(key.len().saturating_add(BUCKET_BYTES));
            }
            !full
        });
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

    #[test]
    fn the_flood_of_one_class_leaves_new_keys_of_the_others_their_room() {
        let now = Instant::now();
        let slow = QuotaClass { per_second: 0.1, burst: 1 };
        for others in [1, 2, 5] {
            let mut grant =
                QuotaGrant { total_bytes: 420 * (4 + BUCKET_BYTES), ..QuotaGrant::default() };
            let names: Vec<String> = (0..=others).map(|at| format!("c{at}")).collect();
            grant.classes.extend(names.iter().map(|name| (name.clone(), slow.clone())));
            let buckets = Buckets::default();
            let take = |class: &str, key: usize, at: Duration| {
                buckets.take(class, &format!("{key:04}"), 1, &slow, &grant, now + at).is_ok()
            };
            let taken = (0..1_000).filter(|key| take("c0", *key, Duration::ZERO)).count();
            let share = 420 / (2 * (others + 1));
            assert_eq!(taken, 420 - others * share, "{others} others");
            for name in &names[1..] {
                assert!((0..share).all(|key| take(name, key, Duration::ZERO)), "{name}");
            }
            assert!(!take("c1", 9_999, Duration::ZERO));
            // Ten seconds later all buckets are full again, whichever class asks.
            assert!(
                (1_000..1_000 + 420 - others * share).all(|key| take(
                    "c1",
                    key,
                    Duration::from_secs(11)
                )),
                "{others} others"
            );
        }
    }
}

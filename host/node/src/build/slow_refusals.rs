//! Refusals that took long to find, so that they are not found again with every change of other slots.
//!
//! A filter is made while all changes of a proxy wait. One that is configured for two seconds and fails would hold up each of
//! them, since what failed is tried again whenever anything changes.

use std::collections::HashMap;
use std::time::{Duration, Instant};
use tamis_proxy::Refused;

/// What failed in less time is tried again at once: its cause may be gone, such as a secret that was missing.
const SLOW: Duration = Duration::from_millis(250);
/// The pause for each unit of time that it took.
const PAUSE: u32 = 60;
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// Refusals that took long, by slot.
#[derive(Default)]
pub(super) struct SlowRefusals(HashMap<String, SlowRefusal>);

struct SlowRefusal {
    /// Identifies everything that the filter is made from.
    key: String,
    refusal: Refused,
    until: Instant,
}

impl SlowRefusals {
    /// The refusal of a filter that is not tried now.
    pub(super) fn find(&self, slot: &str, key: &str, now: Instant) -> Option<&Refused> {
        let kept = self.0.get(slot).filter(|kept| kept.key == key && now < kept.until)?;
        Some(&kept.refusal)
    }

    /// Keeps a refusal that took long; returns it as it is reported.
    pub(super) fn keep(
        &mut self,
        slot: &str,
        key: &str,
        mut refusal: Refused,
        took: Duration,
        now: Instant,
    ) -> Refused {
        self.0.remove(slot);
        if took < SLOW {
            return refusal;
        }
        let pause = took.saturating_mul(PAUSE).min(PAUSE_MAX);
        let Some(until) = now.checked_add(pause) else { return refusal };
        let (took, pause) = (took.as_millis(), pause.as_secs());
        refusal.rule = format!(
            "{}; that took {took} ms, so it is tried again {pause} s later, or once it is changed",
            refusal.rule
        );
        let kept = SlowRefusal { key: key.to_owned(), refusal: refusal.clone(), until };
        self.0.insert(slot.to_owned(), kept);
        refusal
    }

    /// Forgets slots that are no longer there.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|slot, _| is_there(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_slowly_is_not_tried_again_until_it_changes_or_its_pause_is_over() {
        let (mut slow, now) = (SlowRefusals::default(), Instant::now());
        let refusal =
            || crate::refusal_text::by_proxy("filter.configure", "it says no", "correct it");
        let ms = Duration::from_millis;
        for (took, paused) in [(0, 0), (249, 0), (250, 15), (2_000, 120), (600_000, 3_600)] {
            let told = slow.keep("a/b", "one", refusal(), ms(took), now);
            assert_eq!(told.rule == "it says no", paused == 0, "{took}: {}", told.rule);
            let found = |key, after| slow.find("a/b", key, now + Duration::from_secs(after));
            assert!(found("one", paused).is_none(), "{took}");
            if paused > 0 {
                assert_eq!(found("one", paused - 1).map(|it| &it.rule), Some(&told.rule));
                assert!(found("two", 0).is_none() && slow.find("a/c", "one", now).is_none());
            }
        }
        slow.retain(|slot| slot != "a/b");
        assert!(slow.find("a/b", "one", now).is_none());
    }
}

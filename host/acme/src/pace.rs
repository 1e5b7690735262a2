//! When an order is placed.

use std::time::Duration;

use tamis_ambient::Random;
use tamis_transport::CertificateFacts;

/// A certificate is renewed at the latest when this part of its life is over, in thousandths: two thirds.
const LATEST: u64 = 667;
/// The width of the window before it, in thousandths: gateways that start together spread out.
const WINDOW: u64 = 50;
/// Doublings after which a wait has reached its longest.
const DOUBLINGS_MAX: u32 = 16;

/// The waits after orders that failed: each the double of the one before, and by chance as little as half of that.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The first wait and the longest one while the server cannot be asked.
    pub unreachable: (Duration, Duration),
    /// The same when it refused, or the order failed: servers allow few such attempts in an hour.
    pub refused: (Duration, Duration),
}

impl Default for Pace {
    /// While the server cannot be asked from 2 s to 5 min, after refusals from 1 min to 1 h.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { unreachable: (seconds(2), seconds(300)), refused: (seconds(60), seconds(3_600)) }
    }
}

impl Pace {
    /// The wait after that many failures in a row, one at least. No shorter than `asked`.
    pub(crate) fn wait(
        &self,
        is_decision: bool,
        failures: u32,
        asked: Option<Duration>,
        random: Random,
    ) -> Duration {
        let (first, longest) = if is_decision { self.refused } else { self.unreachable };
        let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
        let whole = first.saturating_mul(1 << doublings).min(longest);
        let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
        let drawn = Duration::from_millis(half.saturating_add(random.below(half.max(1))));
        drawn.max(asked.unwrap_or_default())
    }
}

/// The second since the Unix epoch at which a certificate is renewed: in the window that ends with two thirds of its life.
pub(crate) fn due(facts: &CertificateFacts, random: Random) -> u64 {
    let second = |at: i64| u64::try_from(at).unwrap_or(0);
    let (from, until) = (second(facts.not_before), second(facts.not_after));
    let life = until.saturating_sub(from);
    let share = LATEST - WINDOW + random.below(WINDOW + 1);
    // In this order a life of centuries does not overflow.
    let passed =
        (life / 1_000).saturating_mul(share) + (life % 1_000).saturating_mul(share) / 1_000;
    from.saturating_add(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(from: i64, until: i64) -> CertificateFacts {
        CertificateFacts { names: Vec::new(), not_before: from, not_after: until }
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_gateways_spread_out() {
        let random = Random::seeded(7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let at = due(&facts(1_000_000, 1_090_000), random);
            assert!((1_000_000 + 55_500..=1_000_000 + 60_030).contains(&at), "{at}");
            seen.insert(at);
        }
        assert!(seen.len() > 30, "{}", seen.len());
        assert!(
            (19..=20).contains(&due(&facts(0, 30), random)) || due(&facts(0, 30), random) == 18
        );
        // Dates that make no sense are due at once, or never overflow.
        assert_eq!(due(&facts(-5, -1), random), 0);
        assert_eq!(due(&facts(500, 100), random), 500);
        assert!(due(&facts(0, i64::MAX), random) > 1_000);
    }

    #[test]
    fn waits_double_up_to_a_bound_and_are_no_shorter_than_the_server_asks() {
        let (pace, random) = (Pace::default(), Random::seeded(3));
        let wait = |is_decision, failures| pace.wait(is_decision, failures, None, random);
        for (failures, whole) in [(1, 60), (2, 120), (3, 240), (7, 3_600), (1_000, 3_600)] {
            let (half, whole) = (Duration::from_secs(whole / 2), Duration::from_secs(whole));
            for _ in 0..20 {
                assert!((half..=whole).contains(&wait(true, failures)), "{failures}");
            }
        }
        assert!(wait(false, 1) <= Duration::from_secs(2));
        assert!(wait(false, u32::MAX) <= Duration::from_secs(300));
        let asked = Some(Duration::from_secs(7_200));
        assert_eq!(pace.wait(true, 1, asked, random), Duration::from_secs(7_200));
    }
}

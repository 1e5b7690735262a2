//! Picks an endpoint among those whose circuits let an attempt pass.

use crate::ask::BreakerQuestion;
use crate::attempt::Attempt;
use crate::config::PickAlgorithm;
use crate::endpoint_state::EndpointLoad;
use crate::endpoints::Endpoint;
use std::sync::atomic::Ordering;
use tamis_ambient::{Random, mix};

/// The result of picking.
pub enum Pick {
    /// An endpoint, with a place in flight.
    Attempt(Attempt),
    /// A circuit needs a decision first; answer it and pick again.
    Ask(BreakerQuestion),
}

/// Why no endpoint was picked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickFailure {
    /// There is none configured, or a name has no address.
    #[error("there is no endpoint")]
    NoEndpoint,
    /// A name was never resolved.
    #[error("`{host}` does not resolve: {cause}")]
    Unresolved {
        /// The name.
        host: String,
        /// Why.
        cause: String,
    },
    /// Every circuit is open.
    #[error("every circuit is open")]
    CircuitOpen {
        /// Milliseconds until the next attempt may pass.
        retry_in_ms: u32,
    },
    /// The service has its maximum of requests in progress.
    #[error("the service has its maximum of requests in progress")]
    Overloaded,
}

/// The simple case without lists: nothing tried before, no circuit open.
pub(crate) fn pick_where_all_closed(
    endpoints: &[Endpoint],
    tried: &[String],
    hash: Option<u64>,
    algorithm: PickAlgorithm,
    turn: u64,
    random: Random,
) -> Option<usize> {
    let all_closed = tried.is_empty()
        && !endpoints.iter().any(|one| one.state.not_closed.load(Ordering::Relaxed));
    all_closed.then(|| choose(endpoints, |_| true, hash, algorithm, turn, random)).flatten()
}

/// One of the endpoints that `may` allows, weighted; `None` if there is none. The clock is read only where
/// two are compared.
pub(crate) fn choose(
    endpoints: &[Endpoint],
    may: impl Fn(usize) -> bool,
    hash: Option<u64>,
    algorithm: PickAlgorithm,
    turn: u64,
    random: Random,
) -> Option<usize> {
    if let [one] = endpoints {
        return (one.weight.get() > 0 && may(0)).then_some(0);
    }
    if let Some(hash) = hash {
        return rendezvous(endpoints, &may, hash);
    }
    let total: u64 = weights(endpoints, &may).map(|(_, weight)| weight).sum();
    if total == 0 {
        return None;
    }
    match algorithm {
        PickAlgorithm::RoundRobin => nth(endpoints, &may, spread(turn, total)),
        PickAlgorithm::P2c => {
            let first = nth(endpoints, &may, random.below(total))?;
            let second = second(endpoints, &may, first, total, random)?;
            let (one, other) = (endpoints.get(first)?, endpoints.get(second)?);
            let better = first != second && is_better(other, one);
            Some(if better { second } else { first })
        }
    }
}

/// The endpoint to compare with. Among equal weights it is always another one; otherwise it is drawn like
/// the first, because a light endpoint that is always compared would be picked as often as a heavy one.
fn second(
    endpoints: &[Endpoint],
    may: &impl Fn(usize) -> bool,
    first: usize,
    total: u64,
    random: Random,
) -> Option<usize> {
    let mut positive = weights(endpoints, may).map(|(_, weight)| weight).filter(|one| *one > 0);
    let one = positive.next()?;
    if positive.any(|other| other != one) {
        return nth(endpoints, may, random.below(total));
    }
    let others = |index: usize| index != first && may(index);
    let rest = total - one;
    if rest == 0 { Some(first) } else { nth(endpoints, &others, random.below(rest)) }
}

/// A smaller difference in latency is irrelevant for whoever waits.
const NOISE_US: u32 = 1_000;
/// Factor by which an endpoint must be slower before that counts.
const SLOW: u128 = 2;

/// Whether `other` is better for a request: requests in flight relative to weight, times latency where the
/// two differ by more than the factor [`SLOW`]. Endpoints of similar speed are compared by requests in
/// flight only, or all traffic would go to the one that happens to be slightly faster. An endpoint of
/// unknown latency counts as equally fast; one that was never tried wins a tie, so that it is tried soon
/// but not overloaded before its first response. Failures do not count: the circuit breaker judges them,
/// and needs requests to see them.
fn is_better(other: &Endpoint, one: &Endpoint) -> bool {
    let now = one.state.clock.now();
    let (a, b) = (other.state.load(now), one.state.load(now));
    let (there, here) = (other.weight.get(), one.weight.get());
    let weights = u128::from(there) + u128::from(here);
    let latency = |load: EndpointLoad, else_us: Option<u32>| {
        u128::from(load.latency_us.or(else_us).unwrap_or(0)) + u128::from(NOISE_US)
    };
    let latencies = (latency(a, b.latency_us), latency(b, a.latency_us));
    let differ = latencies.0.max(latencies.1) > SLOW * latencies.0.min(latencies.1);
    let cost = |load: EndpointLoad, latency: u128, weight: u32| {
        let in_flight =
            1024 * u128::from(load.in_flight) * weights / (2 * u128::from(weight.max(1)));
        (in_flight + 1024) * if differ { latency } else { 1 }
    };
    let there = cost(a, latencies.0, there);
    let here = cost(b, latencies.1, here);
    let new = !a.tried && b.tried;
    there < here || (new && there == here)
}

/// A place on the line of weights: each once in `total` turns, with consecutive turns far apart.
fn spread(turn: u64, total: u64) -> u64 {
    // Near the golden ratio, and without a common divisor, so that no place is left out.
    let golden = u128::from(total) * 618 / 1000;
    let mut step = u64::try_from(golden).unwrap_or(1).max(1);
    while divisor(step, total) != 1 {
        step += 1;
    }
    let place = u128::from(turn % total) * u128::from(step) % u128::from(total);
    u64::try_from(place).unwrap_or(0)
}

/// The greatest common divisor.
fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn weights<'a>(
    endpoints: &'a [Endpoint],
    may: &'a impl Fn(usize) -> bool,
) -> impl Iterator<Item = (usize, u64)> + 'a {
    let all = endpoints.iter().enumerate();
    all.filter(|(index, _)| may(*index)).map(|(index, one)| (index, u64::from(one.weight.get())))
}

/// The endpoint at place `at` on the line of weights.
fn nth(endpoints: &[Endpoint], may: &impl Fn(usize) -> bool, mut at: u64) -> Option<usize> {
    for (index, weight) in weights(endpoints, may) {
        if at < weight {
            return Some(index);
        }
        at -= weight;
    }
    None
}

/// Highest random weight (Thaler and Ravishankar 1998): removing an endpoint moves only its own keys.
fn rendezvous(endpoints: &[Endpoint], may: &impl Fn(usize) -> bool, hash: u64) -> Option<usize> {
    let score = |index: usize| {
        let Some(one) = endpoints.get(index) else { return 0.0 };
        let name = one.state.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, octet| {
            (sum ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
        });
        // Logarithmic weights: the share of keys equals the share of weight.
        #[expect(clippy::cast_precision_loss, reason = "a score needs no 64 bits")]
        let unit = (mix(hash ^ name) >> 11) as f64 / (1_u64 << 53) as f64;
        f64::from(one.weight.get()) / -unit.max(f64::MIN_POSITIVE).ln()
    };
    let open = (0..endpoints.len()).filter(|index| {
        may(*index) && endpoints.get(*index).is_some_and(|one| one.weight.get() > 0)
    });
    open.max_by(|a, b| score(*a).total_cmp(&score(*b)))
}

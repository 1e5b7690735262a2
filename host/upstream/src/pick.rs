//! Chooses an endpoint among those whose circuit lets an attempt pass.

use crate::ask::Ask;
use crate::attempt::Attempt;
use crate::circuit::Admission;
use crate::config::Algorithm;
use crate::endpoints::Endpoint;
use crate::random::{below, mix};
use std::sync::atomic::Ordering;

/// What picking came to.
pub enum Pick {
    /// An endpoint, with a place in flight.
    Attempt(Attempt),
    /// A circuit has to be decided about first; answer and pick again.
    Ask(Ask),
}

/// Why there is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickFailure {
    /// None is configured, or a name has no address.
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
        /// When the next may let something through.
        retry_in_ms: u32,
    },
    /// The service has all the requests it takes.
    #[error("the service has all the requests it takes")]
    Overloaded,
}

/// Which endpoint to ask, in the order in which to ask them, most wanted first.
pub(crate) fn order(
    endpoints: &[Endpoint],
    tried: &[String],
    hash: Option<u64>,
    algorithm: Algorithm,
    turn: u64,
) -> Option<usize> {
    // The plain case without lists: nothing tried, no trouble anywhere.
    let calm =
        tried.is_empty() && !endpoints.iter().any(|one| one.state.troubled.load(Ordering::Relaxed));
    calm.then(|| choose(endpoints, |_| true, hash, algorithm, turn)).flatten()
}

/// One of the endpoints `may` lets through, weighted; none if there is none.
pub(crate) fn choose(
    endpoints: &[Endpoint],
    may: impl Fn(usize) -> bool,
    hash: Option<u64>,
    algorithm: Algorithm,
    turn: u64,
) -> Option<usize> {
    if let ([one], true) = (endpoints, endpoints.len() == 1) {
        return (one.weight > 0 && may(0)).then_some(0);
    }
    if let Some(hash) = hash {
        return rendezvous(endpoints, &may, hash);
    }
    let total: u64 = weights(endpoints, &may).map(|(_, weight)| weight).sum();
    if total == 0 {
        return None;
    }
    match algorithm {
        Algorithm::RoundRobin => nth(endpoints, &may, turn % total),
        Algorithm::P2c => {
            let first = nth(endpoints, &may, below(total))?;
            // The second among the others, so that two endpoints are always compared.
            let others = |index: usize| index != first && may(index);
            let rest: u64 = weights(endpoints, &others).map(|(_, weight)| weight).sum();
            if rest == 0 {
                return Some(first);
            }
            let second = nth(endpoints, &others, below(rest))?;
            let load = |index: usize| endpoints.get(index).map_or(u64::MAX, |one| one.state.load());
            Some(if load(second) < load(first) { second } else { first })
        }
    }
}

fn weights<'a>(
    endpoints: &'a [Endpoint],
    may: &'a impl Fn(usize) -> bool,
) -> impl Iterator<Item = (usize, u64)> + 'a {
    let all = endpoints.iter().enumerate();
    all.filter(|(index, _)| may(*index)).map(|(index, one)| (index, u64::from(one.weight)))
}

/// The endpoint that holds place `at` on the line of weights.
fn nth(endpoints: &[Endpoint], may: &impl Fn(usize) -> bool, mut at: u64) -> Option<usize> {
    for (index, weight) in weights(endpoints, may) {
        if at < weight {
            return Some(index);
        }
        at -= weight;
    }
    None
}

/// Highest random weight (Thaler and Ravishankar 1998): an endpoint that goes moves its own keys only.
fn rendezvous(endpoints: &[Endpoint], may: &impl Fn(usize) -> bool, hash: u64) -> Option<usize> {
    let score = |index: usize| {
        let Some(one) = endpoints.get(index) else { return 0.0 };
        let name = one.state.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, octet| {
            (sum ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
        });
        // Logarithmic weights: the share of keys is the share of weight.
        #[expect(clippy::cast_precision_loss, reason = "a score needs no 64 bits")]
        let unit = (mix(hash ^ name) >> 11) as f64 / (1_u64 << 53) as f64;
        f64::from(one.weight) / -unit.max(f64::MIN_POSITIVE).ln()
    };
    let open = (0..endpoints.len())
        .filter(|index| may(*index) && endpoints.get(*index).is_some_and(|one| one.weight > 0));
    open.max_by(|a, b| score(*a).total_cmp(&score(*b)))
}

/// What asking one endpoint's circuit came to.
pub(crate) fn admit(endpoint: &Endpoint) -> Admission {
    endpoint.state.admit()
}

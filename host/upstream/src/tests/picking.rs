//! Which endpoint is picked.

use super::*;
use crate::PickAlgorithm;
use crate::endpoint_state::EndpointState;
use crate::endpoints::Endpoint;
use crate::pick::choose;
use crate::pool::Pool;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

pub(super) fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
    endpoints_of(&table(), weights)
}

pub(super) fn endpoints_of(table: &ServiceTable, weights: &[u32]) -> Vec<Endpoint> {
    let service = table.service(&config(Protocol::Http1, []));
    let ports = 1_u16..;
    let made = weights.iter().zip(ports).map(|(weight, port)| {
        let address = SocketAddr::from(([127, 0, 0, 1], port)).into();
        let state = service.endpoint(&format!("127.0.0.1:{port}"), false);
        let target = EndpointTarget::Address(SocketAddr::from(([127, 0, 0, 1], port)).into());
        let config = config(Protocol::Http1, []);
        let pool = Rc::new(Pool::new(&address, &endpoint(target), &config, &state));
        Endpoint { state, weight: Cell::new(*weight), configured: *weight, pool }
    });
    made.collect()
}

fn counts(endpoints: &[Endpoint], algorithm: PickAlgorithm, picks: u64) -> Vec<u64> {
    let mut counts = vec![0; endpoints.len()];
    for turn in 0..picks {
        counts[choose(endpoints, |_| true, None, algorithm, turn, Random::system()).unwrap()] += 1;
    }
    counts
}

/// Two successes of this latency: after only one the latency is unknown.
fn succeeded(state: &EndpointState, latency_us: u64) {
    ended(state, latency_us, false);
    ended(state, latency_us, false);
}

fn ended(state: &EndpointState, latency_us: u64, failed: bool) {
    let crate::circuit::admission::Admission::Pass(ticket) = state.admit() else {
        panic!("it is closed")
    };
    let sample = crate::window::Sample { failed, timed_out: false, slow: false };
    if state.record(ticket, sample, Duration::from_micros(latency_us)) {
        state.change(|state, now| state.unanswered(now));
    }
}

#[test]
fn round_robin_gives_each_exactly_its_weight_and_takes_turns() {
    assert_eq!(counts(&endpoints(&[1, 1, 1]), PickAlgorithm::RoundRobin, 30), [10, 10, 10]);
    assert_eq!(counts(&endpoints(&[7, 0, 3]), PickAlgorithm::RoundRobin, 100), [70, 0, 30]);
    // Equal ratios in larger numbers must not lead to long runs of one endpoint.
    let wide = endpoints(&[100, 100]);
    let picks: Vec<_> = (0..200)
        .map(|turn| {
            choose(&wide, |_| true, None, PickAlgorithm::RoundRobin, turn, Random::system())
                .unwrap()
        })
        .collect();
    let run = picks.chunk_by(|a, b| a == b).map(<[usize]>::len).max().unwrap();
    assert!(run <= 3, "{run}");
}

#[test]
fn p2c_keeps_to_weights_even_with_two_endpoints() {
    let pair = endpoints(&[9, 1]);
    let even = counts(&pair, PickAlgorithm::P2c, 10_000);
    assert!((700..1_300).contains(&even[1]), "{even:?}");
    // Being faster gains the light endpoint the draws in which it is compared, not everything.
    succeeded(&pair[0].state, 30_000);
    succeeded(&pair[1].state, 1_000);
    let faster = counts(&pair, PickAlgorithm::P2c, 10_000);
    assert!((1_500..2_300).contains(&faster[1]), "{faster:?}");
}

#[test]
fn p2c_prefers_what_is_faster_and_less_busy() {
    let pair = endpoints(&[1, 1]);
    succeeded(&pair[0].state, 1_000);
    succeeded(&pair[1].state, 30_000);
    assert_eq!(counts(&pair, PickAlgorithm::P2c, 100), [100, 0]);
    pair[0].state.in_flight.fetch_add(40, Ordering::Relaxed);
    assert_eq!(counts(&pair, PickAlgorithm::P2c, 100), [0, 100]);
}

#[test]
fn an_endpoint_nothing_is_known_of_is_tried_and_not_buried() {
    let pair = endpoints(&[1, 1]);
    succeeded(&pair[0].state, 5_000);
    assert_eq!(counts(&pair, PickAlgorithm::P2c, 100), [0, 100], "tried first");
    pair[1].state.in_flight.fetch_add(1, Ordering::Relaxed);
    assert_eq!(counts(&pair, PickAlgorithm::P2c, 100), [100, 0], "but not before it answered");
}

#[test]
fn an_endpoint_that_fails_fast_gets_its_share_and_no_more() {
    for known in [true, false] {
        let pair = endpoints(&[1, 1]);
        succeeded(&pair[0].state, 5_000);
        if known {
            succeeded(&pair[1].state, 5_000);
        }
        (0..3).for_each(|_| ended(&pair[1].state, 50, true));
        let share = counts(&pair, PickAlgorithm::P2c, 10_000)[1];
        assert!((4_700..5_300).contains(&share), "known: {known}, share: {share}");
        succeeded(&pair[1].state, 4_000);
        let after = counts(&pair, PickAlgorithm::P2c, 100);
        assert!(after[1] > 0, "a success makes it well again: {after:?}");
    }
}

proptest! {
    #[test]
    fn only_endpoints_that_may_be_and_have_weight_are_picked(
        places in prop::collection::vec((0_u32..4, any::<bool>()), 1..12),
        hash in prop::option::of(any::<u64>()), turn in any::<u64>(), p2c in any::<bool>(),
    ) {
        let weights: Vec<_> = places.iter().map(|(weight, _)| *weight).collect();
        let algorithm = if p2c { PickAlgorithm::P2c } else { PickAlgorithm::RoundRobin };
        let all = endpoints(&weights);
        let picked = choose(&all, |index| places[index].1, hash, algorithm, turn, Random::system());
        let some = places.iter().any(|(weight, may)| *weight > 0 && *may);
        prop_assert_eq!(picked.is_some(), some);
        if let Some(index) = picked {
            prop_assert!(places[index].0 > 0 && places[index].1);
        }
    }

    #[test]
    fn round_robin_is_exact_over_a_whole_round(weights in prop::collection::vec(0_u32..20, 1..8)) {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        prop_assume!(total > 0);
        let counts = counts(&endpoints(&weights), PickAlgorithm::RoundRobin, total);
        let wanted: Vec<_> = weights.iter().map(|weight| u64::from(*weight)).collect();
        prop_assert_eq!(counts, wanted);
    }

    #[test]
    fn a_hash_moves_only_when_its_own_endpoint_goes(hash in any::<u64>(), gone in 0_usize..6) {
        let all = endpoints(&[1; 6]);
        let pick = |may: &dyn Fn(usize) -> bool| choose(&all, may, Some(hash), PickAlgorithm::P2c, 0, Random::system());
        let before = pick(&|_| true).unwrap();
        prop_assert_eq!(pick(&|_| true), Some(before));
        let after = pick(&|index| index != gone).unwrap();
        prop_assert!(after != gone && (before == gone || after == before));
    }
}

#[test]
fn hashes_spread_by_weight() {
    let all = endpoints(&[1, 3]);
    let mut counts: HashMap<usize, u32> = HashMap::new();
    for key in 0..10_000 {
        let hash = Some(tamis_ambient::mix(key));
        let picked = choose(&all, |_| true, hash, PickAlgorithm::P2c, 0, Random::system()).unwrap();
        *counts.entry(picked).or_default() += 1;
    }
    assert!((7_000..8_000).contains(&counts[&1]), "{counts:?}");
}

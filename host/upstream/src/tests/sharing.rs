//! How endpoints share requests over time, with a clock of the test's own.

use super::picking::endpoints_of;
use super::*;
use crate::PickAlgorithm;
use crate::endpoints::Endpoint;
use crate::pick::choose;

/// Seed for drawing endpoints: a failure is the same in each run.
const SEED: u64 = 7;

/// A client that sends one request after the other.
struct Client {
    endpoints: Vec<Endpoint>,
    counts: Vec<u64>,
    time: ManualTime,
    random: Random,
}

impl Client {
    fn new(weights: &[u32]) -> Self {
        let (time, random) = (ManualTime::new(), Random::seeded(SEED));
        let endpoints = endpoints_of(&ServiceTable::new(time.clock(), random), weights);
        Self { counts: vec![0; weights.len()], endpoints, time, random }
    }

    /// Sends this many requests; `latency_us` gives the time of each, by endpoint and by how many it has
    /// answered.
    fn send(&mut self, requests: u64, latency_us: impl Fn(usize, u64) -> u64) -> Vec<u64> {
        let before = self.counts.clone();
        for turn in 0..requests {
            let random = self.random;
            let picked = choose(&self.endpoints, |_| true, None, PickAlgorithm::P2c, turn, random);
            let index = picked.unwrap();
            let latency = Duration::from_micros(latency_us(index, self.counts[index]));
            self.counts[index] += 1;
            self.time.advance(latency);
            self.endpoints[index].state.latency.add(latency, false, self.time.clock().now());
        }
        self.counts.iter().zip(&before).map(|(after, before)| after - before).collect()
    }

    fn wait(&mut self, time: Duration) {
        self.time.advance(time);
    }
}

fn is_near_half(counts: &[u64]) -> bool {
    let all: u64 = counts.iter().sum();
    counts.iter().all(|count| (all * 40..=all * 60).contains(&(count * 100)))
}

const SLOW_US: u64 = 3_000_000;

#[test]
fn two_equal_endpoints_share_evenly_after_one_slow_first_answer() {
    for usual_us in [50, 200, 1_000, 5_000, 40_000] {
        for requests in [1_500, 5_000] {
            let mut client = Client::new(&[1, 1]);
            let counts = client.send(requests, |index, nth| match (index, nth) {
                (1, 0) => SLOW_US,
                _ => usual_us,
            });
            assert!(is_near_half(&counts), "{counts:?} at {usual_us} us");
        }
    }
}

#[test]
fn one_slow_answer_now_and_then_buries_nobody() {
    let mut client = Client::new(&[1, 1]);
    let counts = client.send(5_000, |index, nth| match (index, nth % 100) {
        (1, 50) => SLOW_US,
        _ => 1_000,
    });
    assert!(is_near_half(&counts), "{counts:?}");
}

#[test]
fn noise_among_equals_moves_no_traffic() {
    let mut client = Client::new(&[1, 1]);
    let random = client.random;
    let counts = client.send(5_000, |_, _| 500 + random.below(3_000));
    assert!(is_near_half(&counts), "{counts:?}");
}

#[test]
fn an_endpoint_that_was_slow_for_a_while_has_its_share_again_soon() {
    let mut client = Client::new(&[1, 1]);
    client.send(1_000, |_, _| 1_000);
    let slow_until = client.counts[1] + 10;
    client.send(30, |index, nth| if index == 1 && nth < slow_until { SLOW_US } else { 1_000 });
    // Its average decays while nobody asks it: ten halvings from three seconds to a millisecond.
    client.send(15_000, |_, _| 1_000);
    let counts = client.send(4_000, |_, _| 1_000);
    assert!(is_near_half(&counts), "{counts:?}");
}

#[test]
fn an_endpoint_that_comes_back_has_its_share_at_once() {
    let mut client = Client::new(&[1, 1]);
    client.send(50, |index, _| if index == 1 { SLOW_US } else { 1_000 });
    client.wait(Duration::from_secs(60));
    let counts = client.send(2_000, |_, _| 1_000);
    assert!(is_near_half(&counts), "{counts:?}");
}

#[test]
fn an_endpoint_that_comes_new_has_its_share_at_once() {
    let mut client = Client::new(&[1, 0]);
    client.send(2_000, |_, _| 1_000);
    client.endpoints[1].weight.set(1);
    let counts = client.send(2_000, |index, nth| match (index, nth) {
        (1, 0) => SLOW_US,
        _ => 1_000,
    });
    assert!(is_near_half(&counts), "{counts:?}");
}

#[test]
fn an_endpoint_that_stays_slow_gets_little() {
    for slow_us in [10_000, 100_000, SLOW_US] {
        let mut client = Client::new(&[1, 1]);
        let counts = client.send(20_000, |index, _| if index == 1 { slow_us } else { 1_000 });
        assert!(counts[1] * 20 < counts[0], "{counts:?} at {slow_us} us");
        assert!(counts[1] > 2, "but is tried now and then: {counts:?} at {slow_us} us");
    }
}

#[test]
fn three_of_which_one_is_slow_share_what_it_does_not_take() {
    let mut client = Client::new(&[1, 1, 1]);
    let counts = client.send(6_000, |index, _| if index == 2 { 50_000 } else { 1_000 });
    assert!(is_near_half(&counts[..2]), "{counts:?}");
    assert!(counts[2] * 10 < counts[0], "{counts:?}");
}

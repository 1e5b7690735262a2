//! The state of a circuit: its outcomes, and what the breaker filter answered. It never decides itself.

pub(crate) mod admission;
pub(crate) mod outcome;

use crate::window::OutcomeWindow;
use std::time::{Duration, Instant};
use tamis_exchange::{Circuit, Window};

/// A circuit with the statistics for its decisions.
pub(crate) struct CircuitState {
    state: State,
    /// Rises with every change of state: an attempt knows the state under which it began.
    epoch: u64,
    /// A decision is in progress.
    asking: bool,
    pub(crate) window: OutcomeWindow,
    pub(crate) opened: u64,
}

enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// Probes still to admit, those in progress, and when the first could be made.
    HalfOpen {
        left: u32,
        under_way: u32,
        since: Instant,
    },
}

impl CircuitState {
    pub(crate) fn new(span: Duration, now: Instant) -> Self {
        Self {
            state: State::Closed,
            epoch: 0,
            asking: false,
            window: OutcomeWindow::new(span, now),
            opened: 0,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Sets the answer to a question.
    pub(crate) fn answer(&mut self, circuit: Circuit, now: Instant) {
        self.asking = false;
        match (circuit, &mut self.state) {
            (Circuit::Closed, State::Closed) => {}
            (Circuit::Closed, _) => {
                self.state = State::Closed;
                self.epoch += 1;
                self.window.clear();
            }
            (Circuit::Open(ms), state) => {
                // An open circuit that stays open did not open again; with 0 it would be asked about
                // endlessly.
                let until = now + Duration::from_millis(u64::from(ms.max(1)));
                if !matches!(state, State::Open { .. }) {
                    self.opened += 1;
                    self.epoch += 1;
                }
                self.state = State::Open { until };
            }
            (Circuit::HalfOpen(probes), State::HalfOpen { left, under_way, .. }) => {
                // Without any probe left or in progress nothing new could be observed, and the question
                // would never end.
                *left = if *under_way == 0 { probes.max(1) } else { probes };
            }
            (Circuit::HalfOpen(probes), _) => {
                self.state = State::HalfOpen { left: probes.max(1), under_way: 0, since: now };
                self.epoch += 1;
                self.window.clear();
            }
        }
    }

    /// Without an answer, a closed circuit stays closed, and an open one that expired lets one probe
    /// through.
    pub(crate) fn unanswered(&mut self, now: Instant) {
        self.asking = false;
        match self.state {
            State::Open { until } if now >= until => self.answer(Circuit::HalfOpen(1), now),
            State::HalfOpen { left: 0, under_way: 0, since } => {
                // Judged by the host itself in the simplest way: a failure opens it, anything else closes
                // it.
                let failed = self.window.sums(since).failures > 0;
                self.answer(if failed { Circuit::Open(1_000) } else { Circuit::Closed }, now);
            }
            _ => {}
        }
    }

    /// The circuit as a breaker filter sees it: an open one with the remaining time.
    pub(crate) fn circuit(&self, now: Instant) -> Circuit {
        match self.state {
            State::Closed => Circuit::Closed,
            State::Open { until } => {
                let left = until.saturating_duration_since(now).as_millis();
                Circuit::Open(u32::try_from(left).unwrap_or(u32::MAX))
            }
            State::HalfOpen { left, .. } => Circuit::HalfOpen(left),
        }
    }

    /// The window as a breaker filter sees it; the caller adds in-flight requests and latency.
    pub(crate) fn seen(&self, now: Instant) -> Window {
        let sums = self.window.sums(match self.state {
            State::HalfOpen { since, .. } => since,
            State::Closed | State::Open { .. } => now,
        });
        Window {
            span_ms: u32::try_from(self.window.span().as_millis()).unwrap_or(u32::MAX),
            successes: sums.successes,
            failures: sums.failures,
            timeouts: sums.timeouts,
            slow: sums.slow,
            consecutive_failures: sums.consecutive_failures,
            in_flight: 0,
            ewma_latency_us: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::admission::{Admission, Ticket};
    use super::*;
    use crate::window::Sample;
    use proptest::prelude::*;

    const FAILED: Sample = Sample { failed: true, timed_out: false, slow: false };
    const WELL: Sample = Sample { failed: false, timed_out: false, slow: false };

    fn pass(state: &mut CircuitState, now: Instant) -> Ticket {
        match state.admit(now) {
            Admission::Pass(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_opens_probes_and_closes_as_it_is_told() {
        let start = Instant::now();
        let mut state = CircuitState::new(Duration::from_secs(10), start);
        let early = pass(&mut state, start);
        let ticket = pass(&mut state, start);
        assert!(state.record(ticket, FAILED, start));
        state.answer(Circuit::Open(1000), start);
        assert!(matches!(state.admit(start), Admission::Refuse(_)));
        assert!(!state.record(early, FAILED, start), "begun before it opened");
        assert_eq!(state.seen(start).consecutive_failures, 1);
        let later = start + Duration::from_secs(1);
        assert_eq!(state.admit(later), Admission::Ask);
        assert!(matches!(state.admit(later), Admission::Refuse(_)), "one asks at a time");
        assert_eq!(state.circuit(later), Circuit::Open(0));
        state.answer(Circuit::HalfOpen(2), later);
        let (one, two) = (pass(&mut state, later), pass(&mut state, later));
        assert!(matches!(state.admit(later), Admission::Refuse(_)), "probes are counted");
        assert!(state.record(one, WELL, later));
        state.answer(Circuit::HalfOpen(0), later);
        state.cancel(two);
        let two = pass(&mut state, later);
        assert!(state.record(two, WELL, later));
        assert_eq!(state.seen(later).successes, 2);
        state.answer(Circuit::Closed, later);
        assert!(state.is_closed() && state.opened == 1);
    }

    /// The answer of the built-in filter to a half-open circuit with three probes (the table in its
    /// README).
    fn judged(seen: Window, now: Circuit) -> Circuit {
        match now {
            Circuit::HalfOpen(_) if seen.failures > 0 => Circuit::Open(1000),
            Circuit::HalfOpen(_) if seen.successes >= 3 => Circuit::Closed,
            Circuit::HalfOpen(left) => Circuit::HalfOpen(left),
            other => other,
        }
    }

    #[test]
    fn probes_count_however_slowly_they_come() {
        let mut now = Instant::now();
        let mut state = CircuitState::new(Duration::from_secs(10), now);
        state.answer(Circuit::Open(1), now);
        now += Duration::from_secs(1);
        state.answer(Circuit::HalfOpen(3), now);
        for _ in 0..3 {
            now += Duration::from_secs(8);
            let ticket = pass(&mut state, now);
            assert!(state.record(ticket, WELL, now));
            let next = judged(state.seen(now), state.circuit(now));
            state.answer(next, now);
        }
        assert!(state.is_closed(), "{:?}", state.circuit(now));
    }

    #[test]
    fn a_probe_given_up_while_its_circuit_is_judged_does_not_wedge_it() {
        let now = Instant::now();
        let mut state = CircuitState::new(Duration::from_secs(10), now);
        state.answer(Circuit::HalfOpen(3), now);
        let mut tickets: Vec<_> = (0..3).map(|_| pass(&mut state, now)).collect();
        assert!(state.record(tickets.remove(0), WELL, now));
        let (seen, circuit) = (state.seen(now), state.circuit(now));
        state.cancel(tickets.remove(0));
        state.answer(judged(seen, circuit), now);
        assert!(state.record(tickets.remove(0), WELL, now));
        let next = judged(state.seen(now), state.circuit(now));
        state.answer(next, now);
        let mut asks = 0;
        while !matches!(state.admit(now), Admission::Pass(_)) {
            asks += 1;
            assert!(asks < 5, "asked without end");
            let next = judged(state.seen(now), state.circuit(now));
            state.answer(next, now);
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_somebody_passes_in_the_end(
            steps in prop::collection::vec((0_u8..8, 0_u32..4), 0..120),
        ) {
            let mut now = Instant::now();
            let mut state = CircuitState::new(Duration::from_secs(10), now);
            let mut tickets = Vec::new();
            let mut asking = false;
            for (step, number) in steps {
                match step {
                    0 | 1 => match state.admit(now) {
                        Admission::Pass(ticket) => tickets.push(ticket),
                        Admission::Ask => { prop_assert!(!asking); asking = true; }
                        Admission::Refuse(_) => {}
                    },
                    2 | 3 => if let Some(ticket) = tickets.pop() {
                        let sample = if step == 2 { FAILED } else { WELL };
                        if state.record(ticket, sample, now) { prop_assert!(!asking); asking = true; }
                    },
                    4 => if let Some(ticket) = tickets.pop() { state.cancel(ticket) },
                    5 => now += Duration::from_millis(u64::from(number) * 300),
                    _ if asking => {
                        asking = false;
                        match number {
                            0 => state.unanswered(now),
                            1 => state.answer(Circuit::Closed, now),
                            2 => state.answer(Circuit::Open(500), now),
                            _ => state.answer(Circuit::HalfOpen(2), now),
                        }
                    }
                    _ => {}
                }
            }
            // Everything in progress ends, and nobody answers: it must not get stuck.
            for ticket in tickets { state.cancel(ticket) }
            if asking { state.unanswered(now) }
            let mut passed = false;
            for _ in 0..10 {
                now += Duration::from_secs(5);
                match state.admit(now) {
                    Admission::Pass(_) => { passed = true; break }
                    Admission::Ask => state.unanswered(now),
                    Admission::Refuse(_) => {}
                }
            }
            prop_assert!(passed);
        }
    }
}

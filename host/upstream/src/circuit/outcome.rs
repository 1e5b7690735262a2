//! How an attempt ended, for its circuit and for the latency of its endpoint.

use super::admission::Ticket;
use super::{CircuitState, State};
use crate::endpoint_state::EndpointState;
use crate::lock::lock;
use crate::window::Sample;
use std::time::{Duration, Instant};

impl EndpointState {
    /// Records the end of an attempt. True when the breaker filter should decide.
    pub(crate) fn record(&self, ticket: Ticket, sample: Sample, latency: Duration) -> bool {
        let now = self.clock.now();
        self.latency.add(latency, sample.failed, now);
        lock(&self.circuit).record(ticket, sample, now)
    }

    /// Records that an attempt did not fail, though nothing says how long it took. True when the breaker filter should decide.
    pub(crate) fn record_silence(&self, ticket: Ticket) -> bool {
        let sample = Sample { failed: false, timed_out: false, slow: false };
        lock(&self.circuit).record(ticket, sample, self.clock.now())
    }

    /// An attempt was given up by its own side.
    pub(crate) fn cancel(&self, ticket: Ticket) {
        lock(&self.circuit).cancel(ticket);
    }

    /// An attempt was given up for a faster one: it would have taken at least this long.
    pub(crate) fn overtaken(&self, elapsed: Duration) {
        let least = u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX);
        if least > self.latency.ewma_us() {
            self.latency.add(elapsed, false, self.clock.now());
        }
    }
}

impl CircuitState {
    /// Records the end of an attempt. True when the filter should decide; then `asking` is set.
    pub(super) fn record(&mut self, ticket: Ticket, sample: Sample, now: Instant) -> bool {
        let current = ticket.epoch == self.epoch;
        let look = match &mut self.state {
            State::Closed => {
                self.window.record(sample, now);
                sample.failed || sample.slow
            }
            // It began before the circuit opened: it says nothing about the endpoint's current state.
            State::Open { .. } => false,
            State::HalfOpen { under_way, since, .. } if current && ticket.probe => {
                *under_way = under_way.saturating_sub(1);
                // All probes are recorded at the same moment, so that none leaves the window before the
                // circuit is judged.
                self.window.record(sample, *since);
                true
            }
            State::HalfOpen { .. } => false,
        };
        let ask = look && !self.asking;
        self.asking |= ask;
        ask
    }

    /// An attempt was given up by its own side: a probe may be made again.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        if let State::HalfOpen { left, under_way, .. } = &mut self.state
            && ticket.probe
            && ticket.epoch == self.epoch
        {
            *under_way = under_way.saturating_sub(1);
            *left += 1;
        }
    }
}

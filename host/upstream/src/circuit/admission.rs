//! Whether an attempt passes a circuit, before it is made.

use super::{CircuitState, State};
use crate::endpoint_state::EndpointState;
use crate::lock::lock;
use std::time::{Duration, Instant};

/// Whether an attempt passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Pass(Ticket),
    /// Ask the breaker filter first.
    Ask,
    /// Refused for about this long.
    Refuse(Duration),
}

/// The state under which an attempt began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(super) epoch: u64,
    pub(super) probe: bool,
}

impl Ticket {
    /// Whether it is of an attempt that finds out whether the endpoint is well again.
    pub(crate) fn is_probe(&self) -> bool {
        self.probe
    }
}

/// How long refused callers wait while others probe or decide.
const SHORT: Duration = Duration::from_millis(50);

impl EndpointState {
    /// Whether an attempt passes now.
    pub(crate) fn admit(&self) -> Admission {
        lock(&self.circuit).admit(self.clock.now())
    }

    /// Admits an attempt whatever the circuit.
    pub(crate) fn admit_regardless(&self) -> Ticket {
        lock(&self.circuit).admit_regardless()
    }
}

impl CircuitState {
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        let epoch = self.epoch;
        match &mut self.state {
            State::Closed => Admission::Pass(Ticket { epoch, probe: false }),
            State::Open { until } if now < *until => Admission::Refuse(*until - now),
            _ if self.asking => Admission::Refuse(SHORT),
            State::HalfOpen { left, under_way, .. } if *left > 0 => {
                *left -= 1;
                *under_way += 1;
                Admission::Pass(Ticket { epoch, probe: true })
            }
            State::HalfOpen { under_way, .. } if *under_way > 0 => Admission::Refuse(SHORT),
            // Open and expired, or every probe was judged without a decision.
            State::Open { .. } | State::HalfOpen { .. } => {
                self.asking = true;
                Admission::Ask
            }
        }
    }

    /// Admits an attempt whatever the circuit. It counts while the circuit is closed and otherwise not:
    /// only probes judge a circuit.
    pub(super) fn admit_regardless(&self) -> Ticket {
        Ticket { epoch: self.epoch, probe: false }
    }
}

//! A question to the breaker filter about a circuit.

use crate::endpoint_state::EndpointState;
use crate::lock::lock;
use crate::service_state::ServiceState;
use std::sync::Arc;
use tamis_exchange::{Circuit, Window};

/// A question for the breaker filter. If it is dropped without an answer it counts as unanswered, so a
/// circuit never gets stuck.
pub struct BreakerQuestion {
    service: Arc<ServiceState>,
    endpoint: Arc<EndpointState>,
    done: bool,
}

impl BreakerQuestion {
    pub(crate) fn new(service: &Arc<ServiceState>, endpoint: &Arc<EndpointState>) -> Self {
        Self { service: Arc::clone(service), endpoint: Arc::clone(endpoint), done: false }
    }

    /// Name of the service.
    pub fn service(&self) -> &str {
        &self.service.name
    }

    /// Name of the endpoint.
    pub fn endpoint(&self) -> &str {
        &self.endpoint.name
    }

    /// The recent outcomes.
    pub fn window(&self) -> Window {
        self.endpoint.window()
    }

    /// The current circuit; an open one with the remaining time, 0 once it expired.
    pub fn circuit(&self) -> Circuit {
        lock(&self.endpoint.circuit).circuit(self.endpoint.clock.now())
    }

    /// Sets the circuit; returns the one in force. A closed circuit stays closed when opening it would
    /// leave out more of the service's endpoints than its policy allows.
    pub fn answer(mut self, circuit: Circuit) -> Circuit {
        self.done = true;
        self.service.settle(&self.endpoint, circuit)
    }

    /// Handles a question that nobody answers: a closed circuit stays closed, and an open circuit that
    /// expired lets one probe through.
    pub fn unanswered(self) {
        drop(self);
    }
}

impl Drop for BreakerQuestion {
    fn drop(&mut self) {
        if !self.done {
            self.endpoint.change(|state, now| state.unanswered(now));
        }
    }
}

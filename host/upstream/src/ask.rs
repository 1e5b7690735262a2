//! A question for whoever decides about circuits.

use crate::table::{EndpointState, ServiceState, lock};
use std::sync::Arc;
use tamis_exchange::{Circuit, Window};

/// A question for the breaker filter. Dropped without an answer it counts as unanswered, so a circuit is never stuck.
pub struct Ask {
    service: Arc<ServiceState>,
    endpoint: Arc<EndpointState>,
    done: bool,
}

impl Ask {
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

    /// What happened there lately.
    pub fn window(&self) -> Window {
        self.endpoint.window()
    }

    /// The circuit now; an open one with what is left, 0 once it expired.
    pub fn circuit(&self) -> Circuit {
        lock(&self.endpoint.breaker).circuit(self.endpoint.clock.now())
    }

    /// The circuit from now on; gives the one in force. A closed circuit stays closed when opening it would take more
    /// of the service's endpoints out than its policy allows.
    pub fn answer(mut self, circuit: Circuit) -> Circuit {
        self.done = true;
        self.service.settle(&self.endpoint, circuit)
    }

    /// Nobody decides: what is closed stays closed, and an open circuit that expired lets one probe through.
    pub fn unanswered(self) {
        drop(self);
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if !self.done {
            self.endpoint.change(|breaker, now| breaker.unanswered(now));
        }
    }
}

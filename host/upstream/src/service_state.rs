//! What all workers know of a service: its settings, its retry budget, its counters, and its endpoints.

use crate::budget::Budget;
use crate::config::{ServiceConfig, ServiceSettings};
use crate::endpoint_state::{EndpointSnapshot, EndpointState};
use crate::lock::lock;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tamis_ambient::{Clock, Random};
use tamis_exchange::Circuit;

/// A snapshot of a service.
#[derive(Debug, Clone)]
pub struct ServiceSnapshot {
    /// Its name.
    pub name: String,
    /// Retries that the budget allows.
    pub budget_left: u32,
    /// Retries made.
    pub retries: u64,
    /// Retries that the budget refused.
    pub retries_refused: u64,
    /// Hedges started.
    pub hedges: u64,
    /// Hedges that responded first.
    pub hedges_won: u64,
    /// Hedges that the budget refused.
    pub hedges_refused: u64,
    /// Its endpoints.
    pub endpoints: Vec<EndpointSnapshot>,
}

/// The state of a service that workers share.
pub(crate) struct ServiceState {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    budget: Mutex<Budget>,
    retry_percent: AtomicU32,
    retry_min_per_second: AtomicU32,
    span_ms: AtomicU64,
    max_ejected_percent: AtomicU32,
    /// Number of endpoints with a weight, as a worker last listed them.
    pub(crate) size: AtomicU32,
    pub(crate) in_flight: AtomicU32,
    retries: AtomicU64,
    retries_refused: AtomicU64,
    hedges: AtomicU64,
    hedges_won: AtomicU64,
    hedges_refused: AtomicU64,
    endpoints: Mutex<HashMap<String, Arc<EndpointState>>>,
}

impl ServiceState {
    pub(crate) fn new(config: &ServiceConfig, clock: Clock, random: Random) -> Self {
        let state = Self {
            name: config.name.clone(),
            clock,
            random,
            budget: Mutex::new(Budget::new(clock.now())),
            retry_percent: AtomicU32::default(),
            retry_min_per_second: AtomicU32::default(),
            span_ms: AtomicU64::default(),
            max_ejected_percent: AtomicU32::default(),
            size: AtomicU32::default(),
            in_flight: AtomicU32::default(),
            retries: AtomicU64::default(),
            retries_refused: AtomicU64::default(),
            hedges: AtomicU64::default(),
            hedges_won: AtomicU64::default(),
            hedges_refused: AtomicU64::default(),
            endpoints: Mutex::default(),
        };
        state.adopt_settings(&config.settings);
        state
    }

    /// Adopts the settings of the current configuration.
    pub(crate) fn adopt_settings(&self, settings: &ServiceSettings) {
        self.retry_percent.store(settings.retry_percent, Ordering::Relaxed);
        self.retry_min_per_second.store(settings.retry_min_per_second, Ordering::Relaxed);
        self.max_ejected_percent.store(settings.max_ejected_percent, Ordering::Relaxed);
        let span = u64::try_from(settings.stats_window.as_millis()).unwrap_or(u64::MAX);
        if self.span_ms.swap(span, Ordering::Relaxed) != span {
            for endpoint in lock(&self.endpoints).values() {
                lock(&endpoint.circuit).window.set_span(settings.stats_window, self.clock.now());
            }
        }
    }

    /// The state of an endpoint; `behind_name` when a name stands for it, so that it may disappear without
    /// a new generation.
    pub(crate) fn endpoint(&self, name: &str, behind_name: bool) -> Arc<EndpointState> {
        let mut endpoints = lock(&self.endpoints);
        if let Some(endpoint) = endpoints.get(name) {
            return Arc::clone(endpoint);
        }
        if behind_name {
            endpoints.retain(|_, endpoint| !endpoint.behind_name || is_used(endpoint));
        }
        let span = Duration::from_millis(self.span_ms.load(Ordering::Relaxed));
        let endpoint = Arc::new(EndpointState::new(name, span, behind_name, self.clock));
        endpoints.insert(name.to_owned(), Arc::clone(&endpoint));
        endpoint
    }

    /// Drops endpoints that `named` does not contain and that are no longer used.
    pub(crate) fn retain(&self, named: &HashSet<String>) {
        lock(&self.endpoints).retain(|name, endpoint| named.contains(name) || is_used(endpoint));
    }

    /// Sets an endpoint's circuit, unless that would open one too many; returns the one in force.
    pub(crate) fn settle(&self, endpoint: &EndpointState, circuit: Circuit) -> Circuit {
        // Held until the circuit is set, so that two workers do not open the last two at once.
        let endpoints = lock(&self.endpoints);
        let opens = matches!(circuit, Circuit::Open(_) | Circuit::HalfOpen(_));
        let others = endpoints
            .values()
            .filter(|one| one.name != endpoint.name && one.not_closed.load(Ordering::Relaxed));
        let not_closed = u64::try_from(others.count()).unwrap_or(u64::MAX);
        let size = u64::from(self.size.load(Ordering::Relaxed));
        let percent = u64::from(self.max_ejected_percent.load(Ordering::Relaxed));
        let is_closed = !endpoint.not_closed.load(Ordering::Relaxed);
        let circuit = match circuit {
            _ if opens && is_closed && not_closed >= size * percent / 100 => Circuit::Closed,
            other => other,
        };
        endpoint.change(|state, now| state.answer(circuit, now));
        circuit
    }

    pub(crate) fn note_request(&self) {
        lock(&self.budget).request(self.clock.now());
    }

    pub(crate) fn budget_left(&self) -> u32 {
        lock(&self.budget).left(self.percent(), self.floor(), self.clock.now())
    }

    pub(crate) fn spend_retry(&self) -> bool {
        self.spend(&self.retries, &self.retries_refused)
    }

    /// A hedge is additional load, as a retry is: both use one budget.
    pub(crate) fn spend_hedge(&self) -> bool {
        self.spend(&self.hedges, &self.hedges_refused)
    }

    pub(crate) fn note_hedge_won(&self) {
        self.hedges_won.fetch_add(1, Ordering::Relaxed);
    }

    fn spend(&self, granted: &AtomicU64, refused: &AtomicU64) -> bool {
        let spent = lock(&self.budget).spend(self.percent(), self.floor(), self.clock.now());
        let counter = if spent { granted } else { refused };
        counter.fetch_add(1, Ordering::Relaxed);
        spent
    }

    fn percent(&self) -> u32 {
        self.retry_percent.load(Ordering::Relaxed)
    }

    fn floor(&self) -> u32 {
        self.retry_min_per_second.load(Ordering::Relaxed)
    }

    pub(crate) fn snapshot(&self) -> ServiceSnapshot {
        let mut endpoints: Vec<_> = lock(&self.endpoints).values().cloned().collect();
        endpoints.sort_by(|a, b| a.name.cmp(&b.name));
        ServiceSnapshot {
            name: self.name.clone(),
            budget_left: self.budget_left(),
            retries: self.retries.load(Ordering::Relaxed),
            retries_refused: self.retries_refused.load(Ordering::Relaxed),
            hedges: self.hedges.load(Ordering::Relaxed),
            hedges_won: self.hedges_won.load(Ordering::Relaxed),
            hedges_refused: self.hedges_refused.load(Ordering::Relaxed),
            endpoints: endpoints.iter().map(|endpoint| endpoint.snapshot()).collect(),
        }
    }
}

/// Whether it has a holder other than the table.
fn is_used(endpoint: &Arc<EndpointState>) -> bool {
    Arc::strong_count(endpoint) > 1
}

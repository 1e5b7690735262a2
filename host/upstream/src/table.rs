//! The state of services that all workers share, and that outlives a generation.

use crate::budget::Budget;
use crate::circuit::{Admission, CircuitState, Ticket};
use crate::config::{ServiceConfig, ServiceSettings};
use crate::window::Sample;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tamis_ambient::{Clock, Random};
use tamis_exchange::{Circuit, Window};

/// State of services by name. Cheap to clone.
#[derive(Clone)]
pub struct ServiceTable {
    services: Arc<Mutex<HashMap<String, Arc<ServiceState>>>>,
    clock: Clock,
    random: Random,
}

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

/// A snapshot of an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointSnapshot {
    /// Its address.
    pub name: String,
    /// Its circuit.
    pub circuit: Circuit,
    /// Number of times that its circuit opened.
    pub opened: u64,
    /// The recent outcomes.
    pub window: Window,
    /// Open connections.
    pub connections: u32,
}

impl ServiceTable {
    /// An empty table. Windows, budgets and circuits use `clock`; endpoints are drawn by `random`.
    pub fn new(clock: Clock, random: Random) -> Self {
        Self { services: Arc::default(), clock, random }
    }

    /// Drops services that `live` does not name, and endpoints that it does not name and that are no longer
    /// used.
    pub fn retain(&self, live: &[ServiceConfig]) {
        let live: HashMap<&str, &ServiceConfig> =
            live.iter().map(|service| (service.name.as_str(), service)).collect();
        let mut services = lock(&self.services);
        services.retain(|name, _| live.contains_key(name.as_str()));
        for (name, service) in services.iter() {
            let endpoints = live.get(name.as_str()).map_or(&[][..], |config| &config.endpoints);
            let named: HashSet<String> =
                endpoints.iter().map(|endpoint| endpoint.target.to_string()).collect();
            lock(&service.endpoints)
                .retain(|name, endpoint| named.contains(name) || is_used(endpoint));
        }
    }

    /// A snapshot of everything, ordered by name.
    pub fn snapshot(&self) -> Vec<ServiceSnapshot> {
        let mut services: Vec<_> = lock(&self.services).values().cloned().collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        services.iter().map(|service| service.snapshot()).collect()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn random(&self) -> Random {
        self.random
    }

    /// The state of a service, with its current settings.
    pub(crate) fn service(&self, config: &ServiceConfig) -> Arc<ServiceState> {
        let mut services = lock(&self.services);
        let new = || Arc::new(ServiceState::new(config, self.clock, self.random));
        let service = Arc::clone(services.entry(config.name.clone()).or_insert_with(new));
        service.adopt_settings(&config.settings);
        service
    }
}

impl std::fmt::Debug for ServiceTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceTable").field("services", &lock(&self.services).len()).finish()
    }
}

/// Locks a mutex; a poisoned one is fine, since its numbers are consistent between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it has a holder other than the table.
fn is_used(endpoint: &Arc<EndpointState>) -> bool {
    Arc::strong_count(endpoint) > 1
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
    fn new(config: &ServiceConfig, clock: Clock, random: Random) -> Self {
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

    fn adopt_settings(&self, settings: &ServiceSettings) {
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

    fn snapshot(&self) -> ServiceSnapshot {
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

/// The state of an endpoint that workers share.
pub(crate) struct EndpointState {
    pub(crate) name: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) circuit: Mutex<CircuitState>,
    /// The circuit is not closed: then picking checks endpoints one by one.
    pub(crate) not_closed: AtomicBool,
    pub(crate) in_flight: AtomicU32,
    pub(crate) connections: AtomicU32,
    /// Tunnels and requests for one, each of which has a connection.
    pub(crate) tunnels: AtomicU32,
    behind_name: bool,
    born: Instant,
    /// Average latency in microseconds, for people and filters; 0 while unknown.
    average_us: AtomicU32,
    /// Of the last success, in microseconds.
    last_us: AtomicU32,
    /// The latency for picking (high half, microseconds; 0 while unknown) and when it was updated (low
    /// half, milliseconds since `born`; 0 before the first attempt ended).
    steady: AtomicU64,
}

/// An endpoint as picking sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointLoad {
    pub(crate) in_flight: u32,
    /// `None` until two attempts have succeeded.
    pub(crate) latency_us: Option<u32>,
    /// An attempt has ended, successfully or not.
    pub(crate) tried: bool,
}

/// Half-life of the latency for picking without new samples, so that an endpoint that was slow once is
/// tried again soon.
const HALF_LIFE_MS: u64 = 1_000;

impl EndpointState {
    fn new(name: &str, span: Duration, behind_name: bool, clock: Clock) -> Self {
        let now = clock.now();
        Self {
            name: name.into(),
            clock,
            circuit: Mutex::new(CircuitState::new(span, now)),
            not_closed: AtomicBool::new(false),
            in_flight: AtomicU32::default(),
            connections: AtomicU32::default(),
            tunnels: AtomicU32::default(),
            behind_name,
            born: now,
            average_us: AtomicU32::default(),
            last_us: AtomicU32::default(),
            steady: AtomicU64::default(),
        }
    }

    pub(crate) fn admit(&self) -> Admission {
        lock(&self.circuit).admit(self.clock.now())
    }

    /// Admits an attempt whatever the circuit.
    pub(crate) fn admit_regardless(&self) -> Ticket {
        lock(&self.circuit).admit_regardless()
    }

    /// True when the breaker filter should decide.
    pub(crate) fn record(&self, ticket: Ticket, sample: Sample, latency: Duration) -> bool {
        let now = self.clock.now();
        self.add_latency(latency, sample.failed, now);
        lock(&self.circuit).record(ticket, sample, now)
    }

    pub(crate) fn cancel(&self, ticket: Ticket) {
        lock(&self.circuit).cancel(ticket);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut CircuitState, Instant)) {
        let mut state = lock(&self.circuit);
        change(&mut state, self.clock.now());
        self.not_closed.store(!state.is_closed(), Ordering::Relaxed);
    }

    /// An attempt was given up for a faster one: it would have taken at least this long.
    pub(crate) fn overtaken(&self, elapsed: Duration) {
        let least = u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX);
        if least > self.ewma_us() {
            self.add_latency(elapsed, false, self.clock.now());
        }
    }

    /// Time since it was first seen.
    pub(crate) fn age(&self) -> Duration {
        self.clock.since(self.born)
    }

    /// Adds one attempt's time. A failure never makes an endpoint look faster.
    ///
    /// Two workers may overwrite each other: an average without some random samples is the same average.
    pub(crate) fn add_latency(&self, latency: Duration, failed: bool, now: Instant) {
        let sample = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX).max(1);
        let before = self.ewma_us();
        let counts = match (failed, before) {
            // Only a failure is known so far.
            (true, 0) => None,
            (true, _) => Some(sample.max(before)),
            (false, _) => Some(sample),
        };
        if let Some(sample) = counts {
            // Weight 1/8, as TCP's smoothed round-trip time (RFC 6298 §2.3).
            let after = if before == 0 { sample } else { before - before / 8 + sample / 8 };
            self.average_us.store(after.max(1), Ordering::Relaxed);
        }
        let steady = self.steadied(sample, failed, now);
        let packed = u64::from(steady) << 32 | u64::from(self.age_ms(now).max(1));
        self.steady.store(packed, Ordering::Relaxed);
    }

    /// The latency for picking after one more sample. A single slow response has no effect, two in a row
    /// do: of each two consecutive ones the faster counts. It rises at once, and falls by an eighth and
    /// with time.
    fn steadied(&self, sample: u32, failed: bool, now: Instant) -> u32 {
        if failed {
            // Unchanged: an endpoint that fails fast must not look fast because it has no other samples.
            return u32::try_from(self.steady.load(Ordering::Relaxed) >> 32).unwrap_or(u32::MAX);
        }
        match (self.last_us.swap(sample, Ordering::Relaxed), self.steady_us(now)) {
            (0, _) => 0,
            (last, before) if before == 0 || last.min(sample) >= before => last.min(sample),
            (last, before) => (before - before / 8 + last.min(sample) / 8).max(1),
        }
    }

    /// The latency for picking, decayed; 0 while unknown.
    fn steady_us(&self, now: Instant) -> u32 {
        let packed = self.steady.load(Ordering::Relaxed);
        let value = packed >> 32;
        let at = u32::try_from(packed & u64::from(u32::MAX)).unwrap_or(0);
        // In the first millisecond `at` is ahead, and another worker's clock may be too.
        let age = self.age_ms(now).wrapping_sub(at);
        let age = if age > u32::MAX / 2 { 0 } else { u64::from(age) };
        let halves = u32::try_from(age / HALF_LIFE_MS).unwrap_or(u32::MAX);
        let whole = value.checked_shr(halves).unwrap_or(0);
        // Linear between two halvings.
        let decayed = whole - whole * (age % HALF_LIFE_MS) / HALF_LIFE_MS / 2;
        u32::try_from(decayed).unwrap_or(u32::MAX).max(u32::from(value > 0))
    }

    fn age_ms(&self, now: Instant) -> u32 {
        // It wraps every 49 days, and so do differences.
        let age = now.saturating_duration_since(self.born).as_millis();
        u32::try_from(age & u128::from(u32::MAX)).unwrap_or(0)
    }

    /// The average without decay.
    pub(crate) fn ewma_us(&self) -> u32 {
        self.average_us.load(Ordering::Relaxed)
    }

    /// The load for picking.
    pub(crate) fn load(&self, now: Instant) -> EndpointLoad {
        let steady = self.steady_us(now);
        EndpointLoad {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            latency_us: (steady > 0).then_some(steady),
            tried: self.steady.load(Ordering::Relaxed) > 0,
        }
    }

    pub(crate) fn window(&self) -> Window {
        let seen = lock(&self.circuit).seen(self.clock.now());
        Window {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            ewma_latency_us: self.ewma_us(),
            ..seen
        }
    }

    fn snapshot(&self) -> EndpointSnapshot {
        let (circuit, opened) = {
            let state = lock(&self.circuit);
            (state.circuit(self.clock.now()), state.opened)
        };
        EndpointSnapshot {
            name: self.name.to_string(),
            circuit,
            opened,
            window: self.window(),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }
}

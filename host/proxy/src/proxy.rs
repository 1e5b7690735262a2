//! The proxy as a handle: start, swap, drain, stop.

use crate::admin;
use crate::counts::{Ledger, SlotCounts};
use crate::generation::{Generation, Listener};
use crate::shadow::{ShadowReport, Shadows};
use crate::shared::Shared;
use crate::status::Status;
use crate::worker::{self, Command};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tamis_observe::{Metrics, Recorder};
use tamis_transport::{Address, BoundListener, ListenError, ServeLimits, bind};
use tamis_upstream::Registry;
use tokio::sync::mpsc;

/// How a proxy is run; what it serves is in its [`Generation`].
#[derive(Clone)]
pub struct ProxyOptions {
    /// Threads that serve; one a core when not said.
    pub workers: Option<NonZeroUsize>,
    /// Bounds on connections.
    pub limits: ServeLimits,
    /// Longest request body; no limit when not said.
    pub max_body_bytes: Option<u64>,
    /// Connections at once, all workers together.
    pub max_connections: u64,
    /// Where access records go.
    pub recorder: Recorder,
    /// Metrics of host and filters.
    pub metrics: Arc<Metrics>,
    /// State of services that outlives generations.
    pub registry: Registry,
    /// Responses name the generation that served them (`x-tamis-generation`).
    pub name_generation: bool,
    /// Exchanges of a worker that are compared with shadows in a second, the first ones; 0 compares none.
    pub shadow_samples_per_second: u32,
    /// Where `/healthz`, `/metrics` and the others are.
    pub admin: Option<Address>,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            workers: None,
            limits: ServeLimits::default(),
            max_body_bytes: None,
            max_connections: 65_536,
            recorder: Recorder::off(),
            metrics: Arc::new(Metrics::new()),
            registry: Registry::new(),
            name_generation: false,
            shadow_samples_per_second: 100,
            admin: None,
        }
    }
}

/// Why a proxy did not start, or a generation was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// A socket cannot be listened on.
    #[error("listener `{listener}`: {source}")]
    Listen {
        /// Its name.
        listener: String,
        /// Why, and the way out.
        source: ListenError,
    },
    /// The operating system gives no thread.
    #[error("no thread for a worker")]
    Thread(#[source] std::io::Error),
    /// A worker ended or does not answer.
    #[error("a worker did not take the generation within {0:?}")]
    Worker(Duration),
}

/// How long workers may take to take a generation.
const TAKE_MAX: Duration = Duration::from_secs(30);

/// A running proxy. Dropped, it stops at once.
pub struct Proxy {
    pub(crate) inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
}

/// What the handle and the admin listener share.
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) generation: ArcSwap<Generation>,
    pub(crate) status: ArcSwap<Status>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    bound: Mutex<HashMap<String, Address>>,
    /// Addresses with the port the system chose.
    local: Mutex<HashMap<String, Address>>,
    admin: Mutex<Option<Address>>,
    admin_stop: tokio::sync::watch::Sender<bool>,
}

impl Proxy {
    /// Binds the listeners of a generation and serves it.
    ///
    /// # Errors
    /// When a listener cannot be bound (nothing serves then) or a thread cannot be started.
    pub fn start(options: ProxyOptions, generation: Generation) -> Result<Self, ProxyError> {
        let count = options.workers.or_else(|| std::thread::available_parallelism().ok());
        let count = count.unwrap_or(NonZeroUsize::MIN);
        let shared = Arc::new(Shared {
            limits: options.limits,
            max_body_bytes: options.max_body_bytes.unwrap_or(u64::MAX),
            max_connections: options.max_connections,
            recorder: options.recorder,
            metrics: options.metrics,
            registry: options.registry,
            ledger: Ledger::default(),
            shadows: Shadows::new(options.shadow_samples_per_second),
            name_generation: options.name_generation,
            draining: false.into(),
            connections: 0.into(),
            connections_total: 0.into(),
            handshakes_failed: 0.into(),
            exchanges: 0.into(),
        });
        let empty = Arc::new(Generation::empty());
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count.get() {
            let (send, receive) = mpsc::unbounded_channel();
            let (shared, empty) = (Arc::clone(&shared), Arc::clone(&empty));
            let run = move || {
                if let Err(error) = worker::run(index as u64, shared, empty, receive) {
                    tracing::error!(%error, "a worker cannot run");
                }
            };
            let thread = std::thread::Builder::new().name(format!("tamis-worker-{index}"));
            threads.push(thread.spawn(run).map_err(ProxyError::Thread)?);
            senders.push(send);
        }
        let (admin_stop, stop) = tokio::sync::watch::channel(false);
        let inner = Arc::new(Inner {
            shared,
            generation: ArcSwap::new(empty),
            status: ArcSwap::default(),
            workers: senders,
            bound: Mutex::default(),
            local: Mutex::default(),
            admin: Mutex::default(),
            admin_stop,
        });
        let proxy = Self { inner, threads };
        proxy.swap(generation)?;
        if let Some(address) = options.admin {
            let local = admin::start(&address, Arc::clone(&proxy.inner), stop)?;
            proxy.inner.admin.lock().unwrap_or_else(PoisonError::into_inner).replace(local);
        }
        Ok(proxy)
    }

    /// Serves another generation from each worker's next request on; exchanges under way end on theirs. Comes back when
    /// every worker has taken it.
    ///
    /// # Errors
    /// When a new listener cannot be bound, or no thread started for the first shadow; then nothing changed.
    pub fn swap(&self, generation: Generation) -> Result<(), ProxyError> {
        let inner = &self.inner;
        // Held to the end: swaps come one after the other.
        let mut bound = inner.bound.lock().unwrap_or_else(PoisonError::into_inner);
        inner.shared.shadows.expect(&generation.filters).map_err(ProxyError::Thread)?;
        let mut batches: Vec<Vec<(String, BoundListener)>> =
            inner.workers.iter().map(|_| Vec::new()).collect();
        let mut local = Vec::new();
        for listener in &generation.listeners {
            if bound.get(&listener.name) == Some(&listener.address) {
                continue;
            }
            let sockets = sockets(listener, inner.workers.len())?;
            if let Some(address) = sockets.first().and_then(|one| one.local_address().ok()) {
                local.push((listener.name.clone(), address));
            }
            for (batch, socket) in batches.iter_mut().zip(sockets) {
                batch.push((listener.name.clone(), socket));
            }
        }
        bound.retain(|name, _| generation.listeners.iter().any(|one| one.name == *name));
        for listener in &generation.listeners {
            bound.insert(listener.name.clone(), listener.address.clone());
        }
        inner.local.lock().unwrap_or_else(PoisonError::into_inner).extend(local);
        let services = Arc::clone(&generation.services);
        let generation = Arc::new(generation);
        let (taken, wait) = std_mpsc::channel();
        for (worker, listeners) in inner.workers.iter().zip(batches) {
            let (generation, taken) = (Arc::clone(&generation), taken.clone());
            let take = Command::Take { generation, listeners, taken };
            worker.send(take).map_err(|_| ProxyError::Worker(TAKE_MAX))?;
        }
        drop(taken);
        inner.generation.store(generation);
        let until = Instant::now() + TAKE_MAX;
        for _ in &inner.workers {
            wait.recv_timeout(until.saturating_duration_since(Instant::now()))
                .map_err(|_| ProxyError::Worker(TAKE_MAX))?;
        }
        inner.shared.registry.retain(&services);
        Ok(())
    }

    /// What serves now.
    pub fn generation(&self) -> Arc<Generation> {
        self.inner.generation.load_full()
    }

    /// What the admin listener tells of slots and problems from now on.
    pub fn report(&self, status: Status) {
        self.inner.status.store(Arc::new(status));
    }

    /// What was reported last.
    pub fn status(&self) -> Arc<Status> {
        self.inner.status.load_full()
    }

    /// Where a listener really is: with the port the system chose if it was told 0.
    pub fn address(&self, listener: &str) -> Option<Address> {
        self.inner.local.lock().unwrap_or_else(PoisonError::into_inner).get(listener).cloned()
    }

    /// Where the admin listener is.
    pub fn admin_address(&self) -> Option<Address> {
        self.inner.admin.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// State of services that outlives generations.
    pub fn registry(&self) -> &Registry {
        &self.inner.shared.registry
    }

    /// Exchanges begun since the start.
    pub fn exchanges(&self) -> u64 {
        self.inner.shared.exchanges.load(Ordering::Relaxed)
    }

    /// What each digest did in each slot since the start, by slot and digest; take differences. A digest that came
    /// back counts on. Of those that run no more the latest 1,024 are told of; each exchange is counted when it ends.
    pub fn slot_counts(&self) -> Vec<SlotCounts> {
        self.inner.shared.ledger.sum()
    }

    /// How shadows compared since this was called before, by slot and digest. One that was swapped out is told of
    /// until nobody holds it any more.
    pub fn shadow_reports(&self) -> Vec<ShadowReport> {
        self.inner.shared.shadows.reports()
    }

    /// Whether somebody asked it to drain.
    pub fn is_draining(&self) -> bool {
        self.inner.shared.is_draining()
    }

    /// Open connections.
    pub fn connections(&self) -> u64 {
        self.inner.shared.connections.load(Ordering::Relaxed)
    }

    /// Accepts nothing more and lets connections end.
    pub fn drain(&self) {
        self.inner.drain();
    }

    /// Waits until all connections are gone, or until `deadline` has passed; says which.
    pub fn wait_idle(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        while self.connections() > 0 {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Metrics of host and filters, as `/metrics` shows them.
    pub fn metrics(&self) -> String {
        admin::metrics(&self.inner)
    }

    /// Accepts nothing more, finishes what is under way, and stops: when all connections are gone or at `deadline`.
    pub fn shutdown(mut self, deadline: Duration) {
        self.drain();
        self.wait_idle(deadline);
        self.stop();
    }

    fn stop(&mut self) {
        // Neither is heard when the other side is gone already.
        let _ = self.inner.admin_stop.send(true);
        for worker in &self.inner.workers {
            drop(worker.send(Command::Stop));
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inner {
    /// Accepts nothing more and lets connections end.
    pub(crate) fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        for worker in &self.workers {
            drop(worker.send(Command::Drain));
        }
    }
}

fn sockets(listener: &Listener, workers: usize) -> Result<Vec<BoundListener>, ProxyError> {
    let count = NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN);
    bind(&listener.address, count)
        .map_err(|source| ProxyError::Listen { listener: listener.name.clone(), source })
}

//! The proxy as a handle: start, swap, drain, stop.

mod leave;
mod sockets;

use crate::admin::{self, AdminAccess};
use crate::counts::{Ledger, SlotCounts};
use crate::generation::{Generation, Occupant};
use crate::shadow::{ShadowReport, Shadows};
use crate::shared::Shared;
use crate::status::Status;
use crate::traffic::{Traffic, TrafficCounts};
use crate::worker::{self, Command};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tamis_ambient::{Clock, Random};
use tamis_engine::Filter;
use tamis_observe::{Metrics, Recorder};
use tamis_transport::handover::Giver;
use tamis_transport::{Address, BoundListener, ListenError, ServeLimits, Stage};
use tamis_upstream::ServiceTable;
use tokio::sync::mpsc;

pub use leave::TooLate;
use leave::{Drain, STEP};
pub use sockets::Inherited;
use sockets::{ADMIN, AdminBound, Bound, copies, handed};

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
    pub registry: ServiceTable,
    /// Responses name the generation that served them (`x-tamis-generation`).
    pub name_generation: bool,
    /// Exchanges of a worker that are compared with shadows in a second, the first ones; 0 compares none.
    pub shadow_samples_per_second: u32,
    /// Where `/healthz`, `/metrics` and the others are.
    pub admin: Option<Address>,
    /// What the network may ask it for.
    pub access: AdminAccess,
    /// The admin listener of the proxy's user: a unix socket in a folder that nobody else can open.
    pub control: Option<PathBuf>,
    /// How long clients are sent elsewhere, and served meanwhile, before a drain closes the listeners: long enough for
    /// load balancers to see `/readyz`.
    pub lame_duck: Duration,
    /// Sockets of the process before this one.
    pub inherited: Inherited,
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
            registry: ServiceTable::new(Clock::system(), Random::system()),
            name_generation: false,
            shadow_samples_per_second: 100,
            admin: None,
            access: AdminAccess::default(),
            control: None,
            lame_duck: Duration::from_secs(5),
            inherited: Inherited::default(),
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
    /// A name for the admin listener is none.
    #[error("the admin listener: {0}")]
    AdminHost(String),
    /// The socket for successors cannot be had.
    #[error("{} cannot be listened on", path.display())]
    Handover {
        /// Its path.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
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
    pub(crate) access: AdminAccess,
    pub(crate) lame_duck: Duration,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    bound: Mutex<HashMap<String, Bound>>,
    inherited: Inherited,
    /// Addresses with the port the system chose.
    local: Mutex<HashMap<String, Address>>,
    admin: Mutex<Option<AdminBound>>,
    admin_stop: tokio::sync::watch::Sender<Stage>,
    control_stop: tokio::sync::watch::Sender<Stage>,
    drain: Mutex<Drain>,
}

impl Proxy {
    /// Binds the listeners of a generation and serves it.
    ///
    /// # Errors
    /// When a listener cannot be bound (nothing serves then) or a thread cannot be started.
    pub fn start(options: ProxyOptions, generation: Generation) -> Result<Self, ProxyError> {
        admin::check_hosts(&options.access.hosts).map_err(ProxyError::AdminHost)?;
        let count = options.workers.or_else(|| std::thread::available_parallelism().ok());
        let count = count.unwrap_or(NonZeroUsize::MIN);
        options.metrics.reserve(admin::METRICS.iter().map(|(name, _, _)| *name));
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
            traffic: Traffic::new(count.get()),
            director: Default::default(),
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
        let (admin_stop, stop) = tokio::sync::watch::channel(Stage::Serve);
        let (control_stop, end) = tokio::sync::watch::channel(Stage::Serve);
        let inner = Arc::new(Inner {
            shared,
            generation: ArcSwap::new(empty),
            status: ArcSwap::default(),
            access: options.access,
            lame_duck: options.lame_duck,
            workers: senders,
            bound: Mutex::default(),
            inherited: options.inherited,
            local: Mutex::default(),
            admin: Mutex::default(),
            admin_stop,
            control_stop,
            drain: Mutex::default(),
        });
        let proxy = Self { inner, threads };
        proxy.swap(generation)?;
        if let Some(address) = options.admin {
            proxy.admin(&address, stop)?;
        }
        if let Some(path) = options.control {
            proxy.control(&path, end)?;
        }
        Ok(proxy)
    }

    fn admin(&self, address: &Address, stop: tamis_transport::Shutdown) -> Result<(), ProxyError> {
        let failed = |source| {
            let source = ListenError::Bind { address: address.clone(), source };
            ProxyError::Listen { listener: "admin".to_owned(), source }
        };
        let handed = self.inner.inherited.take(ADMIN, address).pop();
        let Some(socket) = admin::bound(address, handed)? else { return Ok(()) };
        let local = socket.local_address().unwrap_or_else(|_| address.clone());
        let copy = socket.try_clone().map_err(failed)?;
        admin::start(socket, Arc::clone(&self.inner), stop)?;
        let bound = AdminBound { asked: address.clone(), local, copy };
        lock(&self.inner.admin).replace(bound);
        Ok(())
    }

    fn control(&self, path: &Path, stop: tamis_transport::Shutdown) -> Result<(), ProxyError> {
        use std::os::unix::fs::PermissionsExt as _;
        let Some(socket) = admin::bound(&Address::Unix(path.to_owned()), None)? else {
            return Ok(());
        };
        // The folder lets nobody else in; so does the socket, should it be moved.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(|source| ProxyError::Handover { path: path.to_owned(), source })?;
        admin::start(socket, Arc::clone(&self.inner), stop)
    }

    /// Gives its listening sockets to whoever asks at `path`, a unix socket in a folder that nobody else can open. When
    /// the other process serves, this one accepts nothing more, sends its clients elsewhere, and is closed after the lame
    /// duck's time.
    ///
    /// # Errors
    /// When nobody can be listened to there.
    pub fn hand_over_at(&self, path: &Path) -> Result<(), ProxyError> {
        let giver = Giver::bind(path)
            .map_err(|source| ProxyError::Handover { path: path.to_owned(), source })?;
        let inner = Arc::downgrade(&self.inner);
        let run = move || {
            // A successor that fails to start leaves everything as it was, and the next may ask.
            while let Err(error) = giver.give(|| handed(&inner)) {
                tracing::warn!(%error, "a successor asked for the listening sockets and does not serve");
                if inner.upgrade().is_none() {
                    return;
                }
                std::thread::sleep(STEP);
            }
            if let Some(inner) = inner.upgrade() {
                inner.hand_over();
            }
        };
        let thread = std::thread::Builder::new().name("tamis-handover".to_owned());
        thread.spawn(run).map(drop).map_err(ProxyError::Thread)
    }

    /// Serves another generation from each worker's next request on; exchanges under way end on theirs. Comes back when
    /// every worker has taken it.
    ///
    /// # Errors
    /// When a new listener cannot be bound, or no thread started for the first shadow; then nothing changed.
    pub fn swap(&self, generation: Generation) -> Result<(), ProxyError> {
        let inner = &self.inner;
        // Held to the end: swaps come one after the other.
        let closed = lock(&inner.drain).closed;
        let mut bound = lock(&inner.bound);
        inner.shared.shadows.expect(generation.shadows()).map_err(ProxyError::Thread)?;
        let mut batches: Vec<Vec<(String, Vec<BoundListener>)>> =
            inner.workers.iter().map(|_| Vec::new()).collect();
        let (mut local, mut new) = (Vec::new(), Vec::new());
        for listener in &generation.listeners {
            let there = bound.get(&listener.name);
            // One that accepts nothing more opens nothing either.
            if closed || there.is_some_and(|one| one.address == listener.address) {
                continue;
            }
            let sockets = inner.sockets(listener)?;
            if let Some(address) = sockets.iter().flatten().find_map(|it| it.local_address().ok()) {
                local.push((listener.name.clone(), address));
            }
            let copies = copies(&listener.name, &sockets)?;
            new.push((listener.name.clone(), Bound { address: listener.address.clone(), copies }));
            for (batch, sockets) in batches.iter_mut().zip(sockets) {
                batch.push((listener.name.clone(), sockets));
            }
        }
        bound.retain(|name, _| generation.listeners.iter().any(|one| one.name == *name));
        bound.extend(new);
        lock(&inner.local).extend(local);
        prepare(&generation, &inner.generation.load(), inner.workers.len());
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
        lock(&self.inner.local).get(listener).cloned()
    }

    /// Where the admin listener is.
    pub fn admin_address(&self) -> Option<Address> {
        lock(&self.inner.admin).as_ref().map(|admin| admin.local.clone())
    }

    /// State of services that outlives generations.
    pub fn registry(&self) -> &ServiceTable {
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

    /// Whether it accepts nothing more.
    pub fn has_closed(&self) -> bool {
        lock(&self.inner.drain).closed
    }

    /// Whether it sends clients elsewhere and serves them meanwhile.
    pub fn is_leaving(&self) -> bool {
        lock(&self.inner.drain).stage == Stage::Leave
    }

    /// Exchanges by outcome, and how long they took.
    pub fn traffic(&self) -> TrafficCounts {
        self.inner.shared.traffic.sum()
    }

    /// Says how it stands with its director: whether the stream is open, and when it was last heard, in seconds since the
    /// Unix epoch.
    pub fn director(&self, connected: bool, heard: u64) {
        self.inner.shared.director.note(connected, heard);
    }

    /// Open connections.
    pub fn connections(&self) -> u64 {
        self.inner.shared.connections.load(Ordering::Relaxed)
    }

    /// Accepts nothing more and lets connections end.
    pub fn drain(&self) {
        self.inner.drain();
    }

    /// Sends clients elsewhere and serves them meanwhile, whoever they are: `/readyz` says 503, HTTP/1 responses say
    /// `Connection: close`, HTTP/2 connections get a GOAWAY. After `lame_duck` it drains. Nobody calls it off any more.
    pub fn leave(&self, lame_duck: Duration) {
        self.inner.leave(lame_duck);
        lock(&self.inner.drain).last = true;
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
        self.inner.admin_stop.send_replace(Stage::End);
        self.inner.control_stop.send_replace(Stage::End);
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

/// Makes instances of the filters that are new, one for each worker and slot, so that no worker has to wait for them.
fn prepare(next: &Generation, before: &Generation, workers: usize) {
    fn running(generation: &Generation) -> impl Iterator<Item = &Filter> {
        generation.filters.iter().filter_map(|attachment| match &attachment.occupant {
            Occupant::Running(filter) => Some(filter),
            Occupant::Refused(_) => None,
        })
    }
    for filter in running(next) {
        if !running(before).any(|known| known.is_same(filter)) {
            filter.prepare(workers);
        }
    }
}

/// A panic while the lock was held leaves what it guards whole: each change is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

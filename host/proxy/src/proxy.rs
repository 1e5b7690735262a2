//! The proxy as a handle: start, swap, drain, stop.

mod reports;

use crate::admin;
use crate::admin_access::AdminAccess;
use crate::counts::SlotLedger;
use crate::error::ProxyError;
use crate::generation::{Generation, SlotOccupant, SocketKey};
use crate::heads::CopyMark;
use crate::mesh_calls::{CallSender, MeshCalls};
use crate::proxy_state::{
    ADMIN, AdminBound, BoundSockets, InheritedSockets, ListenerSockets, ProxyState, STEP, handed,
    lock,
};
use crate::shadow::Shadows;
use crate::shared::ProxyShared;
use crate::traffic::Traffic;
use crate::worker::{self, Command, WorkerSockets};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc as std_mpsc};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;
use tamis_ambient::{Clock, Random};
use tamis_engine::Filter;
use tamis_observe::{Metrics, Recorder};
use tamis_transport::handover::HandoverSocket;
use tamis_transport::{
    Address, CertificateOrders, ListenError, ListenerStage, MeshIdentity, ServeLimits,
};
use tamis_upstream::ServiceTable;
use tokio::sync::mpsc;

/// Options of a proxy; its [`Generation`] states what it serves.
#[derive(Clone)]
pub struct ProxyOptions {
    /// Threads that serve; default: one per core.
    pub workers: Option<NonZeroUsize>,
    /// Limits on connections.
    pub limits: ServeLimits,
    /// Longest request body; default: no limit.
    pub max_body_bytes: Option<u64>,
    /// Maximum number of open connections, all workers together.
    pub max_connections: u64,
    /// Where access records go.
    pub recorder: Recorder,
    /// Metrics of host and filters.
    pub metrics: Arc<Metrics>,
    /// The clock of everything that is timed here.
    pub clock: Clock,
    /// The source of ids and samples.
    pub random: Random,
    /// State of services that outlives generations.
    pub service_table: ServiceTable,
    /// Responses name the generation that served them (`x-tamis-generation`).
    pub name_generation: bool,
    /// Exchanges per second and worker that are compared with shadows, the first ones of each second; 0: no
    /// comparison.
    pub shadow_samples_per_second: u32,
    /// Address of `/healthz`, `/metrics` and the other pages.
    pub admin: Option<Address>,
    /// What the admin listener allows over the network.
    pub access: AdminAccess,
    /// The admin listener for the proxy's user: a unix socket in a folder that nobody else can open.
    pub control: Option<PathBuf>,
    /// How long clients are sent elsewhere, while still served, before a drain closes the listeners: long
    /// enough for load balancers to notice `/readyz`.
    pub lame_duck: Duration,
    /// Sockets of the previous process.
    pub inherited: InheritedSockets,
    /// Its identity inside the mesh, for its status and metrics; `None`: it has not joined.
    pub identity: Option<MeshIdentity>,
    /// Its orders of certificates: what it shows an ACME server, and the state of each order. No other
    /// proxy shares them.
    pub orders: CertificateOrders,
    /// The connections by which its filters call services of the mesh. No other proxy shares them.
    pub mesh_calls: MeshCalls,
}

impl ProxyOptions {
    /// How many workers serve: as many as the machine has cores, where nothing is said.
    #[must_use]
    pub fn worker_count(&self) -> NonZeroUsize {
        let count = self.workers.or_else(|| std::thread::available_parallelism().ok());
        count.unwrap_or(NonZeroUsize::MIN)
    }
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
            clock: Clock::system(),
            random: Random::system(),
            service_table: ServiceTable::new(Clock::system(), Random::system()),
            name_generation: false,
            shadow_samples_per_second: 100,
            admin: None,
            access: AdminAccess::default(),
            control: None,
            lame_duck: Duration::from_secs(5),
            inherited: InheritedSockets::default(),
            identity: None,
            orders: CertificateOrders::default(),
            mesh_calls: MeshCalls::default(),
        }
    }
}

/// The ways into the workers for calls of filters.
fn call_senders(
    threads: &[JoinHandle<()>],
    senders: &[mpsc::UnboundedSender<Command>],
) -> Vec<(ThreadId, CallSender)> {
    let pairs = threads.iter().zip(senders);
    let call_senders = pairs.map(|(thread, send)| {
        let send = send.clone();
        let sender: CallSender = Box::new(move |call| send.send(Command::Call(call)).is_ok());
        (thread.thread().id(), sender)
    });
    call_senders.collect()
}

/// How long the records of the last exchanges may take to be written when a proxy stops.
const RECORDS_MAX: Duration = Duration::from_secs(2);
/// How long workers may take to switch to a generation.
const TAKE_MAX: Duration = Duration::from_secs(30);

/// A running proxy. Stops at once when dropped.
pub struct Proxy {
    pub(crate) inner: Arc<ProxyState>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Binds the listeners of a generation and serves it.
    ///
    /// # Errors
    /// A listener cannot be bound (then nothing serves), or a thread cannot be started.
    pub fn start(options: ProxyOptions, generation: Generation) -> Result<Self, ProxyError> {
        admin::check_hosts(&options.access.hosts).map_err(ProxyError::AdminHost)?;
        let count = options.worker_count();
        options.metrics.reserve(admin::METRICS.iter().map(|(name, _, _)| *name));
        let shared = Arc::new(ProxyShared {
            clock: options.clock,
            random: options.random,
            limits: options.limits,
            max_body_bytes: options.max_body_bytes.unwrap_or(u64::MAX),
            bodies: Default::default(),
            encodings: Default::default(),
            max_connections: options.max_connections,
            recorder: options.recorder,
            taps: Arc::default(),
            metrics: options.metrics,
            service_table: options.service_table,
            ledger: SlotLedger::default(),
            shadows: Shadows::new(options.shadow_samples_per_second),
            name_generation: options.name_generation,
            draining: false.into(),
            connections: 0.into(),
            connections_total: 0.into(),
            http3_connections_total: 0.into(),
            handshakes_failed: Default::default(),
            copy_mark: CopyMark::new(options.random),
            mirrors: Default::default(),
            exchanges: 0.into(),
            traffic: Traffic::new(count.get()),
            tcp: Default::default(),
            udp: Default::default(),
            own_udp: Default::default(),
            plaintext: Default::default(),
            leaving: Default::default(),
            director: Default::default(),
            identity: options.identity,
            orders: options.orders,
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
        options.mesh_calls.connect(call_senders(&threads, &senders));
        let (admin_shutdown, shutdown) = tokio::sync::watch::channel(ListenerStage::Serve);
        let (control_shutdown, end) = tokio::sync::watch::channel(ListenerStage::Serve);
        let inner = Arc::new(ProxyState {
            shared,
            generation: ArcSwap::new(empty),
            status: ArcSwap::default(),
            access: options.access,
            lame_duck: options.lame_duck,
            workers: senders,
            bound: Mutex::default(),
            http3: Mutex::default(),
            inherited: options.inherited,
            local: Mutex::default(),
            admin: Mutex::default(),
            admin_shutdown,
            control_shutdown,
            drain: Mutex::default(),
            answering: AtomicU64::new(0),
        });
        let proxy = Self { inner, threads };
        proxy.swap(generation)?;
        if let Some(address) = options.admin {
            proxy.admin(&address, shutdown)?;
        }
        if let Some(path) = options.control {
            proxy.control(&path, end)?;
        }
        Ok(proxy)
    }

    fn admin(
        &self,
        address: &Address,
        shutdown: tamis_transport::Shutdown,
    ) -> Result<(), ProxyError> {
        let failed = |source| {
            let source = ListenError::Bind { address: address.clone(), source };
            ProxyError::Listen { listener: "admin".to_owned(), source }
        };
        let handed = self.inner.inherited.take(ADMIN, address).pop();
        let Some(socket) = admin::bound(address, handed)? else { return Ok(()) };
        let local = socket.local_address().unwrap_or_else(|_| address.clone());
        let copy = socket.try_clone().map_err(failed)?;
        admin::start(socket, Arc::clone(&self.inner), shutdown)?;
        let bound = AdminBound { asked: address.clone(), local, copy };
        lock(&self.inner.admin).replace(bound);
        Ok(())
    }

    fn control(&self, path: &Path, shutdown: tamis_transport::Shutdown) -> Result<(), ProxyError> {
        // The folder excludes everybody else; the mode of the socket does so too if it is moved.
        let Some(socket) = admin::bound(&Address::Unix(path.to_owned()), None)? else {
            return Ok(());
        };
        admin::start(socket, Arc::clone(&self.inner), shutdown)
    }

    /// Passes its listening sockets to the process that asks at `path`, a unix socket in a folder that
    /// nobody else can open. When that process serves, this one accepts no more connections, sends its
    /// clients elsewhere, and closes after the lame-duck time.
    ///
    /// # Errors
    /// The proxy cannot listen there.
    pub fn hand_over_at(&self, path: &Path) -> Result<(), ProxyError> {
        let giver = HandoverSocket::bind(path)
            .map_err(|source| ProxyError::Handover { path: path.to_owned(), source })?;
        let inner = Arc::downgrade(&self.inner);
        let run = move || {
            // A successor that fails to start leaves everything unchanged, and the next one may ask.
            while let Err(error) = giver.give(|| handed(&inner)) {
                tracing::warn!(%error, "a successor took the listening sockets but does not serve");
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

    /// Serves another generation from each worker's next request on; exchanges in progress end with theirs.
    /// Returns when every worker has switched.
    ///
    /// # Errors
    /// A new listener cannot be bound, or no thread can be started for the first shadow; then nothing
    /// changes.
    pub fn swap(&self, generation: Generation) -> Result<(), ProxyError> {
        let inner = &self.inner;
        // Held to the end, so that swaps follow one another.
        let closed = lock(&inner.drain).closed;
        let mut bound = lock(&inner.bound);
        inner.shared.shadows.expect(generation.shadows()).map_err(ProxyError::Thread)?;
        let mut batches: Vec<Vec<(SocketKey, WorkerSockets)>> =
            inner.workers.iter().map(|_| Vec::new()).collect();
        let mut new: HashMap<SocketKey, BoundSockets> = HashMap::new();
        for listener in &generation.listeners {
            let key = SocketKey::of(listener);
            // A proxy that accepts no more connections opens no listeners either.
            if closed || bound.contains_key(&key) || new.contains_key(&key) {
                continue;
            }
            let ListenerSockets { local, copies, sockets } = inner.sockets(listener)?;
            for (batch, sockets) in batches.iter_mut().zip(sockets) {
                batch.push((key.clone(), sockets));
            }
            new.insert(key, BoundSockets { listener: listener.name.clone(), local, copies });
        }
        let keys: Vec<SocketKey> = generation.listeners.iter().map(SocketKey::of).collect();
        bound.retain(|key, _| keys.contains(key));
        bound.extend(new);
        let named = generation.listeners.iter().zip(&keys);
        let local = named.filter_map(|(listener, key)| {
            Some((listener.name.clone(), bound.get(key)?.local.clone()?))
        });
        lock(&inner.local).extend(local);
        prepare(&generation, &inner.generation.load(), inner.workers.len());
        let services = Arc::clone(&generation.services);
        let generation = Arc::new(generation);
        let (taken, wait) = std_mpsc::channel();
        for (worker, sockets) in inner.workers.iter().zip(batches) {
            let (generation, taken) = (Arc::clone(&generation), taken.clone());
            let take = Command::SwitchTo { generation, sockets, taken };
            worker.send(take).map_err(|_| ProxyError::Worker(TAKE_MAX))?;
        }
        drop(taken);
        inner.generation.store(generation);
        let clock = inner.shared.clock;
        let until = clock.now() + TAKE_MAX;
        for _ in &inner.workers {
            wait.recv_timeout(until.saturating_duration_since(clock.now()))
                .map_err(|_| ProxyError::Worker(TAKE_MAX))?;
        }
        inner.shared.service_table.retain(&services);
        if !closed {
            inner.follow_http3(&inner.generation.load_full(), &bound);
        }
        Ok(())
    }

    /// The actual address of a listener: with the port that the system chose if it was 0.
    pub fn address(&self, listener: &str) -> Option<Address> {
        lock(&self.inner.local).get(listener).cloned()
    }

    /// Address of the admin listener.
    pub fn admin_address(&self) -> Option<Address> {
        lock(&self.inner.admin).as_ref().map(|admin| admin.local.clone())
    }

    /// State of services that outlives generations.
    pub fn service_table(&self) -> &ServiceTable {
        &self.inner.shared.service_table
    }

    /// Number of exchanges begun since the start.
    pub fn exchanges(&self) -> u64 {
        self.inner.shared.exchanges.load(Ordering::Relaxed)
    }

    /// Whether a drain was requested.
    pub fn is_draining(&self) -> bool {
        self.inner.shared.is_draining()
    }

    /// Whether it accepts no more connections.
    pub fn has_closed(&self) -> bool {
        lock(&self.inner.drain).closed
    }

    /// Calls `closed` once, as soon as it accepts no more connections; at once if that is so already. It is
    /// called with a lock held: it may not call the proxy.
    pub fn on_close(&self, closed: impl FnOnce() + Send + 'static) {
        let mut drain = lock(&self.inner.drain);
        if drain.closed {
            drop(drain);
            return closed();
        }
        drain.on_close = Some(Box::new(closed));
    }

    /// Whether it sends clients elsewhere while still serving them.
    pub fn is_leaving(&self) -> bool {
        lock(&self.inner.drain).stage == ListenerStage::Leave
    }

    /// Open connections.
    pub fn connections(&self) -> u64 {
        self.inner.shared.connections.load(Ordering::Relaxed)
    }

    /// Accepts no more connections and lets open ones end.
    pub fn drain(&self) {
        self.inner.drain();
    }

    /// Sends all clients elsewhere while still serving them: `/readyz` answers 503, HTTP/1 responses have
    /// `Connection: close`, HTTP/2 connections get a GOAWAY. After `lame_duck` it drains. Cannot be
    /// cancelled.
    pub fn leave(&self, lame_duck: Duration) {
        self.inner.leave(lame_duck);
        lock(&self.inner.drain).last = true;
    }

    /// Waits until all connections are gone, or until `deadline` has passed; returns whether they are gone.
    pub fn wait_idle(&self, deadline: Duration) -> bool {
        let clock = self.inner.shared.clock;
        let until = clock.now() + deadline;
        while self.connections() > 0 {
            if clock.now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Closes the admin listener and the control socket, and waits until what was asked there is answered, at
    /// most this long: whoever asked for the drain that ends the process also learns that it began.
    pub fn wait_answered(&self, deadline: Duration) {
        self.inner.admin_shutdown.send_replace(ListenerStage::End);
        self.inner.control_shutdown.send_replace(ListenerStage::End);
        let clock = self.inner.shared.clock;
        let until = clock.now() + deadline;
        while self.inner.answering.load(Ordering::Relaxed) > 0 && clock.now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Metrics of host and filters, as `/metrics` shows them.
    pub fn metrics(&self) -> String {
        admin::metrics(&self.inner)
    }

    /// Accepts no more connections, finishes what is in progress, and stops: when all connections are gone
    /// or at `deadline`.
    pub fn shutdown(mut self, deadline: Duration) {
        self.drain();
        self.wait_idle(deadline);
        self.stop_workers();
    }

    fn stop_workers(&mut self) {
        self.inner.admin_shutdown.send_replace(ListenerStage::End);
        self.inner.control_shutdown.send_replace(ListenerStage::End);
        for worker in &self.inner.workers {
            drop(worker.send(Command::Exit));
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        self.inner.shared.recorder.settle(RECORDS_MAX);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop_workers();
    }
}

/// Makes instances of the new filters, one for each worker and slot, so that no worker has to wait for
/// them.
fn prepare(next: &Generation, before: &Generation, workers: usize) {
    fn running(generation: &Generation) -> impl Iterator<Item = &Filter> {
        generation.filters.iter().filter_map(|attachment| match &attachment.occupant {
            SlotOccupant::Running(filter) => Some(filter),
            SlotOccupant::Refused(_) => None,
        })
    }
    for filter in running(next) {
        if !running(before).any(|known| known.is_same(filter)) {
            filter.prepare(workers);
        }
    }
}

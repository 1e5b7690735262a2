//! One thread per core: its listeners, its connections, its view of the generation.

mod rounds;
mod sender;
pub(crate) mod state;

use crate::arrival::Arrival;
use crate::balance;
use crate::chain::{Chain, ConnectionSlot};
use crate::connection::Connection;
use crate::generation::{Generation, ListenerConfig, Reasons};
use crate::pipeline::serve;
use crate::refuse;
use crate::response_body::ResponseBody;
use crate::shared::{ID_BITS, ProxyShared};
use crate::tunnel;
use crate::unseen;
use http::Request;
use rounds::{DueWork, WorkerRounds};
use sender::SenderRule;
use state::{WorkerPlace, WorkerState};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tamis_exchange::{
    Attributes, ConnectionVerdict, Exchange, Fault, HostPattern, Refusal, Scheme,
};
use tamis_transport::tls::ServerStream;
use tamis_transport::{
    BoundListener, ConnInfo, GateReasons, ListenerStage, PeerIdentity, PlainStream, RefusedRequest,
    RequestBody, ServerTls, Shutdown, SocketListener, TlsError, serve_and_note,
};
use tamis_upstream::Upstreams;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, LocalSet};

/// Commands to a worker.
pub(crate) enum Command {
    /// Serve this generation from the next request on; answer when it does.
    Take {
        generation: Arc<Generation>,
        listeners: Vec<(String, Vec<BoundListener>)>,
        taken: std::sync::mpsc::Sender<()>,
    },
    /// Send clients elsewhere while still serving them; close the listeners or continue to accept.
    Leave { accept: bool, done: std::sync::mpsc::Sender<()> },
    /// Cancel `Leave`.
    Stay,
    /// Accept no more connections and finish what is in progress; answer when nothing more is accepted.
    Drain { done: std::sync::mpsc::Sender<()> },
    /// End now.
    Exit,
}

struct Worker {
    index: u64,
    shared: Arc<ProxyShared>,
    upstreams: Upstreams,
    state: RefCell<Rc<WorkerState>>,
    listeners: RefCell<HashMap<String, Listening>>,
    /// The stage at which new listeners start.
    stage: Cell<ListenerStage>,
    next_id: Cell<u64>,
}

/// A listener of this worker.
struct Listening {
    /// The stage that its connections follow.
    stage: watch::Sender<ListenerStage>,
    /// The tasks that accept, one for each socket.
    accepting: Vec<AbortHandle>,
}

impl Listening {
    /// Closes its sockets, except for copies elsewhere.
    fn close(&mut self) {
        self.accepting.drain(..).for_each(|task| task.abort());
    }

    fn end(&mut self) {
        self.close();
        self.stage.send_replace(ListenerStage::End);
    }
}

/// Runs a worker until it receives `Exit`. Needs a thread of its own.
pub(crate) fn run(
    index: u64,
    shared: Arc<ProxyShared>,
    generation: Arc<Generation>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async move {
        let upstreams = Upstreams::new(shared.service_table.clone());
        let state = {
            let upstreams = upstreams.apply(&generation.services);
            WorkerState::new(Arc::clone(&generation), &upstreams, None, place(index, &shared))
        };
        let worker = Rc::new(Worker {
            index,
            shared,
            upstreams,
            state: RefCell::new(Rc::new(state)),
            listeners: RefCell::default(),
            stage: Cell::new(ListenerStage::Serve),
            // 0 is the exchange of self-tests.
            next_id: Cell::new((index << ID_BITS) | 1),
        });
        let mut rounds = WorkerRounds::new(worker.state().pending());
        loop {
            let reviews = worker.state().reviews_statistics();
            let command = tokio::select! {
                command = commands.recv() => command,
                due = rounds.next(reviews) => {
                    match due {
                        DueWork::Flush => worker.state().flush(),
                        DueWork::Review => worker.state().review_statistics(),
                    }
                    continue;
                }
            };
            match command {
                Some(Command::Take { generation, listeners, taken }) => {
                    worker.take(generation, listeners);
                    // Nobody waits any more if the proxy was dropped meanwhile.
                    let _ = taken.send(());
                }
                Some(Command::Leave { accept, done }) => {
                    worker.reach(ListenerStage::Leave, accept);
                    // The caller may have stopped waiting.
                    let _ = done.send(());
                }
                Some(Command::Stay) => worker.reach(ListenerStage::Serve, true),
                Some(Command::Drain { done }) => {
                    worker.reach(ListenerStage::End, false);
                    let _ = done.send(());
                }
                Some(Command::Exit) | None => break,
            }
        }
        worker.state().flush();
    });
    Ok(())
}

fn place(worker: u64, shared: &ProxyShared) -> WorkerPlace<'_> {
    WorkerPlace { worker, clock: shared.clock, ledger: &shared.ledger, shadows: &shared.shadows }
}

impl Worker {
    fn state(&self) -> Rc<WorkerState> {
        Rc::clone(&self.state.borrow())
    }

    fn take(
        self: &Rc<Self>,
        generation: Arc<Generation>,
        listeners: Vec<(String, Vec<BoundListener>)>,
    ) {
        let before = self.state();
        let upstreams = self.upstreams.apply(&generation.services);
        let place = place(self.index, &self.shared);
        let state = Rc::new(WorkerState::new(generation, &upstreams, Some(&before), place));
        before.flush();
        self.state.replace(Rc::clone(&state));
        state.review_statistics();
        balance::begin(&state.balanced);
        self.listeners.borrow_mut().retain(|name, listening| {
            let stays = state.has_listener(name);
            if !stays {
                listening.end();
            }
            stays
        });
        for (name, sockets) in listeners {
            self.listen(name, sockets);
        }
    }

    fn listen(self: &Rc<Self>, name: String, sockets: Vec<BoundListener>) {
        let (stage, reached) = watch::channel(self.stage.get());
        let mut accepting = Vec::new();
        for socket in sockets {
            match socket.into_listener() {
                Ok(listener) => {
                    let accept = Rc::clone(self).accept(name.clone(), listener, reached.clone());
                    accepting.push(tokio::task::spawn_local(accept).abort_handle());
                }
                Err(error) => tracing::error!(listener = name, %error, "a listener cannot be used"),
            }
        }
        let listening = Listening { stage, accepting };
        if let Some(mut replaced) = self.listeners.borrow_mut().insert(name, listening) {
            replaced.end();
        }
    }

    /// Accepts until it is aborted, which closes the socket.
    async fn accept(self: Rc<Self>, name: String, listener: SocketListener, stage: Shutdown) {
        loop {
            let (plain, peer) = listener.accept().await;
            let (worker, name, stage) = (Rc::clone(&self), name.clone(), stage.clone());
            drop(tokio::task::spawn_local(async move {
                let shared = Arc::clone(&worker.shared);
                shared.connections.fetch_add(1, Ordering::Relaxed);
                shared.connections_total.fetch_add(1, Ordering::Relaxed);
                let _open = OpenConnection(Arc::clone(&shared));
                worker.connection(&name, plain, peer, stage).await;
            }));
        }
    }

    /// Moves all listeners, and future ones, to a stage.
    fn reach(&self, stage: ListenerStage, accept: bool) {
        self.stage.set(stage);
        for listening in self.listeners.borrow_mut().values_mut() {
            if !accept {
                listening.close();
            }
            listening.stage.send_replace(stage);
        }
    }

    /// Serves one connection to its end.
    async fn connection(
        self: Rc<Self>,
        name: &str,
        mut plain: PlainStream,
        peer: Option<SocketAddr>,
        shutdown: Shutdown,
    ) {
        if self.shared.connections.load(Ordering::Relaxed) > self.shared.max_connections {
            tracing::debug!(listener = name, "a connection over the limit is closed");
            return;
        }
        let state = self.state();
        let listener = state.listener(name);
        let Some((listener, _)) = listener else { return };
        let (address, tls) = (listener.address.clone(), listener.tls.clone());
        let hostname = listener.rules.hostname.clone();
        let sender = SenderRule::of(listener.rules.header_senders.as_ref(), peer);
        // A connection lives long: it must not keep its first generation alive.
        drop(state);
        let failed = |reason, error: &str| {
            self.shared.handshakes_failed.note(name, peer, (reason, error), self.shared.clock);
        };
        let client = match sender.client(&mut plain, peer).await {
            Ok(client) => client,
            Err(refusal) => return failed(refusal.reason(), &refusal.text()),
        };
        let info = ConnInfo { peer: client, local: address, identity: None };
        match tls {
            None => self.serve_http(name, plain, info, shutdown).await,
            // Both boxed, so that a connection in clear text needs no room for them.
            Some(tls) => match Box::pin(handshake(&tls, hostname.as_ref(), plain)).await {
                Ok((stream, identity)) => {
                    let info = ConnInfo { identity: Some(identity), ..info };
                    // Each function it passes has a place for it, so it passes as a pointer.
                    let stream = Box::new(stream);
                    Box::pin(self.serve_http(name, stream, info, shutdown)).await;
                }
                Err(error) => failed(error.reason(), &tamis_transport::causes(&error)),
            },
        }
    }

    async fn serve_http<IO>(self: Rc<Self>, name: &str, io: IO, info: ConnInfo, shutdown: Shutdown)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = Connection::new(self.id(), name, &info);
        match self.admit(name, &connection, &info) {
            Admission::Serve => {}
            Admission::Close => return,
            Admission::Tunnel(forward) => {
                let (shared, mut shutdown) = (Arc::clone(&self.shared), shutdown);
                let forward = tunnel::forward(io, *forward, &shared, &mut shutdown);
                return Box::pin(forward).await;
            }
        }
        let connection = Rc::new(connection);
        let (worker, of_refused) = (Rc::clone(&self), Rc::clone(&connection));
        let handed = shutdown.clone();
        let handler = async move |request: Request<RequestBody>, _: &ConnInfo| {
            let state = worker.state();
            let Some((listener, chain)) = state.listener(&connection.listener) else {
                let refusal =
                    Refusal::new("listener.unknown", 503, Fault::Host, "the listener is gone");
                let response = refuse::response(&refusal, None, Reasons::Hide);
                return response.map(ResponseBody::plain);
            };
            worker.shared.exchanges.fetch_add(1, Ordering::Relaxed);
            serve(worker.arrival(listener, chain, &connection, &handed), request).await
        };
        let mut limits = self.shared.limits.clone();
        if !self.shows_reasons(name) {
            limits.gate.reasons = GateReasons::Hide;
        }
        let (worker, at_gate) = (Rc::clone(&self), shutdown.clone());
        let refused = move |refused: RefusedRequest| {
            let state = worker.state();
            let (listener, chain) = state.listener(&of_refused.listener)?;
            unseen::record(&worker.arrival(listener, chain, &of_refused, &at_gate), &refused)
        };
        let served = serve_and_note(io, Rc::new(info), &limits, handler, refused, shutdown).await;
        if let Err(error) = served {
            let error = tamis_transport::causes(&error);
            tracing::debug!(listener = name, error, "a connection ended badly");
        }
    }

    /// The arrival of a new exchange.
    fn arrival<'a>(
        &'a self,
        listener: &'a ListenerConfig,
        chain: &'a Rc<Chain>,
        connection: &'a Connection,
        shutdown: &'a Shutdown,
    ) -> Arrival<'a> {
        let (direction, rules, id) = (listener.direction, &listener.rules, self.id());
        Arrival { connection, chain, direction, rules, shared: &self.shared, id, shutdown }
    }

    /// Whether clients of that listener see why they were refused.
    fn shows_reasons(&self, name: &str) -> bool {
        let state = self.state();
        let listener = state.listener(name);
        listener.is_some_and(|(listener, _)| listener.rules.reasons == Reasons::Show)
    }

    fn id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id.wrapping_add(1));
        id
    }

    /// Calls the connection hooks; without any, no view is built.
    fn admit(&self, name: &str, connection: &Connection, info: &ConnInfo) -> Admission {
        let state = self.state();
        let Some((_, chain)) = state.listener(name) else { return Admission::Close };
        if chain.connection.is_empty() {
            return Admission::Serve;
        }
        admit(chain, name, facts(self.id(), connection, info))
    }
}

/// The handshake of a listener, for its hosts alone if it names them.
async fn handshake(
    tls: &ServerTls,
    hostname: Option<&HostPattern>,
    plain: PlainStream,
) -> Result<(ServerStream<PlainStream>, PeerIdentity), TlsError> {
    match hostname {
        None => tls.accept(plain).await,
        Some(hostname) => tls.accept_named(plain, |name| hostname.matches(name)).await,
    }
}

/// Asks the connection hooks of a chain in their order.
fn admit(chain: &Rc<Chain>, listener: &str, facts: Exchange) -> Admission {
    for ConnectionSlot { slot, backends } in &chain.connection {
        let attachment = slot.name();
        let decision = match slot.ask_connection(&facts) {
            Ok(Some(decision)) => decision,
            Ok(None) => continue,
            Err(fault) => {
                let kind = fault.kind();
                tracing::warn!(
                    listener,
                    attachment,
                    kind,
                    "a connection is closed: its hook failed"
                );
                return Admission::Close;
            }
        };
        let reason = decision.reason;
        match decision.verdict {
            ConnectionVerdict::Allow => {}
            ConnectionVerdict::Deny => {
                tracing::info!(listener, attachment, reason, "a connection is closed");
                return Admission::Close;
            }
            ConnectionVerdict::Tunnel(backend) => {
                let service = backends.get(backend as usize).cloned().flatten();
                let Some(service) = service else {
                    tracing::warn!(
                        listener,
                        attachment,
                        backend,
                        "a connection is closed: its hook chose a service that this proxy does not know"
                    );
                    return Admission::Close;
                };
                let chain = Rc::clone(chain);
                let forward = tunnel::Forward { facts, chain, service, reason };
                return Admission::Tunnel(Box::new(forward));
            }
        }
    }
    Admission::Serve
}

/// What happens to a connection.
enum Admission {
    /// Its exchanges are served.
    Serve,
    /// It is closed without a response.
    Close,
    /// Its bytes go to a service.
    Tunnel(Box<tunnel::Forward>),
}

/// A connection in the form that hooks see: attributes only.
fn facts(id: u64, connection: &Connection, info: &ConnInfo) -> Exchange {
    let mut attributes = Attributes::default();
    attributes.set("source.address", Arc::clone(&connection.peer_address));
    attributes.set("listener.name", Arc::clone(&connection.listener));
    if let Some(identity) = &connection.peer_identity {
        attributes.set("peer.spiffe-id", Arc::clone(identity));
    }
    if let Some(version) = connection.tls_version {
        attributes.set("tls.version", version);
    }
    if let Some(server_name) = &connection.server_name {
        attributes.set("tls.sni", Arc::clone(server_name));
    }
    let alpn = info.identity.as_ref().and_then(|identity| identity.alpn.as_deref());
    if let Some(Ok(alpn)) = alpn.map(std::str::from_utf8) {
        attributes.set("tls.alpn", alpn);
    }
    let secure = connection.tls_version.is_some();
    Exchange {
        id,
        method: http::Method::CONNECT,
        scheme: if secure { Scheme::Https } else { Scheme::Http },
        authority: String::new(),
        path: String::new(),
        headers: http::HeaderMap::new(),
        status: None,
        response_headers: http::HeaderMap::new(),
        attributes,
    }
}

/// An open connection; counted until it is dropped.
struct OpenConnection(Arc<ProxyShared>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

//! One thread per core: its listeners, its connections, its view of the generation.

mod admit;
mod admit_again;
mod handle;
mod host;
pub(crate) mod listener_place;
mod plaintext;
mod quic;
mod quic_socket;
mod requests;
mod rounds;
mod sender;
mod serve;
pub(crate) mod state;
mod udp;
mod udp_refused;
mod udp_sessions;

use crate::balance;
use crate::generation::{Generation, SocketKey};
use crate::mesh_calls::MeshCall;
use crate::shared::{ID_BITS, ProxyShared};
use handle::Worker;
use listener_place::{ListenerPlace, ListenerWay};
use rounds::{DueWork, WorkerRounds};
use state::{WorkerPlace, WorkerState};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tamis_transport::{BoundListener, BoundUdp, ListenerStage, SocketListener};
use tamis_upstream::Upstreams;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

/// Commands to a worker.
pub(crate) enum Command {
    /// Serve this generation from the next request on; answer when it does.
    SwitchTo {
        generation: Arc<Generation>,
        sockets: Vec<(SocketKey, WorkerSockets)>,
        taken: std::sync::mpsc::Sender<()>,
    },
    /// Serve HTTP/3 at these sockets too, if a listener of the generation still does.
    ServeQuic { sockets: Vec<(SocketKey, BoundUdp)> },
    /// A filter calls a service of the mesh.
    Call(MeshCall),
    /// Send clients elsewhere while still serving them; close the listeners or continue to accept.
    Leave { accept: bool, done: std::sync::mpsc::Sender<()> },
    /// Cancel `Leave`.
    Stay,
    /// Accept no more connections and finish what is in progress; answer when nothing more is accepted.
    Drain { done: std::sync::mpsc::Sender<()> },
    /// End now.
    Exit,
}

/// The sockets of a listener for a worker.
pub(crate) enum WorkerSockets {
    /// It accepts connections.
    Listeners(Vec<BoundListener>),
    /// It reads datagrams.
    Udp(Vec<BoundUdp>),
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
        let state = Rc::new(state);
        let worker = Rc::new(Worker {
            index,
            shared,
            upstreams,
            followed: watch::Sender::new(Rc::clone(&state)),
            state: RefCell::new(state),
            accepting: RefCell::default(),
            quic: RefCell::default(),
            reading: RefCell::default(),
            waiting_room: Default::default(),
            stages: RefCell::default(),
            stage: Cell::new(ListenerStage::Serve),
            // 0 is the exchange of self-tests.
            next_id: Cell::new((index << ID_BITS) | 1),
        });
        let turns = worker.state().turns();
        let later = turns.clone();
        drop(tokio::task::spawn_local(async move { later.make_later_calls().await }));
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
                Some(Command::SwitchTo { generation, sockets, taken }) => {
                    worker.switch_to(generation, sockets);
                    // Nobody waits any more if the proxy was dropped meanwhile.
                    let _ = taken.send(());
                }
                Some(Command::ServeQuic { sockets }) => worker.serve_udp(sockets),
                Some(Command::Call(call)) => {
                    let callee = worker.state().callee(&call);
                    let answered = call.answer(callee, worker.shared.clock);
                    drop(tokio::task::spawn_local(answered));
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
        worker.close_quic().await;
        turns.make_last_calls();
    });
    Ok(())
}

fn place(worker: u64, shared: &ProxyShared) -> WorkerPlace<'_> {
    WorkerPlace { worker, clock: shared.clock, ledger: &shared.ledger, shadows: &shared.shadows }
}

impl Worker {
    fn switch_to(
        self: &Rc<Self>,
        generation: Arc<Generation>,
        sockets: Vec<(SocketKey, WorkerSockets)>,
    ) {
        let before = self.state();
        let upstreams = self.upstreams.apply(&generation.services);
        let place = place(self.index, &self.shared);
        let state = Rc::new(WorkerState::new(generation, &upstreams, Some(&before), place));
        before.flush();
        self.state.replace(Rc::clone(&state));
        self.followed.send_replace(Rc::clone(&state));
        state.review_statistics();
        balance::begin(&state.balanced);
        self.follow(&state);
        self.follow_quic();
        for (key, sockets) in sockets {
            match sockets {
                WorkerSockets::Listeners(sockets) => self.listen(key, sockets),
                WorkerSockets::Udp(sockets) => self.serve_ports(&key, sockets),
            }
        }
    }

    /// Ends the listeners and closes the sockets that a generation no longer has, and begins new listeners.
    fn follow(&self, state: &WorkerState) {
        let here: HashSet<ListenerPlace> = state.listener_places().collect();
        for tasks in [&self.accepting, &self.reading] {
            tasks.borrow_mut().retain(|key, tasks| {
                let stays = here.iter().any(|one| one.key == *key);
                if !stays {
                    tasks.drain(..).for_each(|task| task.abort());
                }
                stays
            });
        }
        let mut stages = self.stages.borrow_mut();
        stages.retain(|place, stage| {
            let stays = here.contains(place);
            if !stays {
                stage.send_replace(ListenerStage::End);
            }
            stays
        });
        for place in here {
            stages.entry(place).or_insert_with(|| watch::channel(self.stage.get()).0);
        }
    }

    fn listen(self: &Rc<Self>, key: SocketKey, sockets: Vec<BoundListener>) {
        let key = Rc::new(key);
        let mut accepting = Vec::new();
        for socket in sockets {
            match socket.into_listener() {
                Ok(listener) => {
                    let accept = Rc::clone(self).accept(Rc::clone(&key), listener);
                    accepting.push(tokio::task::spawn_local(accept).abort_handle());
                }
                Err(error) => {
                    tracing::error!(address = %key.address(), %error, "a socket cannot be used");
                }
            }
        }
        self.accepting.borrow_mut().insert((*key).clone(), accepting);
    }

    /// Accepts until it is aborted, which closes the socket.
    async fn accept(self: Rc<Self>, key: Rc<SocketKey>, listener: SocketListener) {
        loop {
            let (plain, peer) = listener.accept().await;
            let (worker, key) = (Rc::clone(&self), Rc::clone(&key));
            drop(tokio::task::spawn_local(async move {
                let shared = Arc::clone(&worker.shared);
                shared.connections.fetch_add(1, Ordering::Relaxed);
                shared.connections_total.fetch_add(1, Ordering::Relaxed);
                let _open = OpenConnection(Arc::clone(&shared));
                worker.serve_connection(&key, plain, peer).await;
            }));
        }
    }

    /// Moves all listeners, and future ones, to a stage.
    fn reach(&self, stage: ListenerStage, accept: bool) {
        self.stage.set(stage);
        self.quic.borrow().values().for_each(|quic| quic.refuse(!accept));
        if !accept {
            let mut accepting = self.accepting.borrow_mut();
            accepting.values_mut().flat_map(|tasks| tasks.drain(..)).for_each(|task| task.abort());
        }
        // Another process reads the datagrams from now on. Without one, those of open sessions are read to their end.
        if !accept && stage == ListenerStage::Leave {
            let mut reading = self.reading.borrow_mut();
            reading.values_mut().flat_map(|tasks| tasks.drain(..)).for_each(|task| task.abort());
        }
        for listener in self.stages.borrow().values() {
            listener.send_replace(stage);
        }
    }
}

/// An open connection; counted until it is dropped.
struct OpenConnection(Arc<ProxyShared>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

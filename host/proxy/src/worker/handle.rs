//! What the tasks of a worker look up in it.

use super::listener_place::{ListenerPlace, ListenerWay};
use super::quic_socket::WorkerQuic;
use super::state::WorkerState;
use crate::generation::SocketKey;
use crate::shared::ProxyShared;
use crate::udp_waiting::WaitingRoom;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use tamis_transport::{ListenerStage, Shutdown};
use tamis_upstream::Upstreams;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A worker, shared by its connections and exchanges.
pub(super) struct Worker {
    pub(super) index: u64,
    pub(super) shared: Arc<ProxyShared>,
    pub(super) upstreams: Upstreams,
    pub(super) state: RefCell<Rc<WorkerState>>,
    /// The same, for connections that live through swaps.
    pub(super) followed: watch::Sender<Rc<WorkerState>>,
    /// The tasks that accept, one for each socket. Aborted, they close it, except for copies elsewhere.
    pub(super) accepting: RefCell<HashMap<SocketKey, Vec<AbortHandle>>>,
    /// The sockets for HTTP/3.
    pub(super) quic: RefCell<HashMap<SocketKey, Rc<WorkerQuic>>>,
    /// The tasks that read from UDP ports, one for each socket. Aborted, they close it, except for copies elsewhere and for sessions
    /// that still answer their clients.
    pub(super) reading: RefCell<HashMap<SocketKey, Vec<AbortHandle>>>,
    /// For datagrams of sessions whose endpoint is not chosen yet.
    pub(super) waiting_room: WaitingRoom,
    /// By sockets and listener: the stage that its connections follow.
    pub(super) stages: RefCell<HashMap<ListenerPlace, watch::Sender<ListenerStage>>>,
    /// The stage at which new listeners start.
    pub(super) stage: Cell<ListenerStage>,
    pub(super) next_id: Cell<u64>,
}

impl Worker {
    pub(super) fn state(&self) -> Rc<WorkerState> {
        Rc::clone(&self.state.borrow())
    }

    /// The id of a new exchange or connection.
    pub(super) fn id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id.wrapping_add(1));
        id
    }

    /// The stage that the connections of a listener follow; `None`: it has ended.
    pub(super) fn shutdown_of(
        &self,
        way: ListenerWay,
        key: &SocketKey,
        listener: &str,
    ) -> Option<Shutdown> {
        let stages = self.stages.borrow();
        let place = ListenerPlace { key: key.clone(), listener: listener.to_owned(), way };
        stages.get(&place).map(watch::Sender::subscribe)
    }
}

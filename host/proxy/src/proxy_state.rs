//! State that the handle of a proxy and its admin listener share.

mod http3;
mod leave;
mod member;
mod sockets;

use crate::admin_access::AdminAccess;
use crate::generation::{Generation, SocketKey};
use crate::shared::ProxyShared;
use crate::status::Status;
use crate::worker::Command;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tamis_transport::{Address, ListenerStage};
use tokio::sync::mpsc;

use http3::Http3Ports;
pub use leave::LeaveError;
pub(crate) use leave::{Drain, STEP};
pub use sockets::InheritedSockets;
pub(crate) use sockets::{ADMIN, AdminBound, BoundSockets, ListenerSockets, handed};

/// What the handle and the admin listener share.
pub(crate) struct ProxyState {
    pub(crate) shared: Arc<ProxyShared>,
    pub(crate) generation: ArcSwap<Generation>,
    pub(crate) status: ArcSwap<Status>,
    pub(crate) access: AdminAccess,
    pub(crate) lame_duck: Duration,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) bound: Mutex<HashMap<SocketKey, BoundSockets>>,
    /// The UDP ports; locked after `bound`.
    pub(crate) http3: Mutex<Http3Ports>,
    pub(crate) inherited: InheritedSockets,
    /// Addresses with the port the system chose.
    pub(crate) local: Mutex<HashMap<String, Address>>,
    pub(crate) admin: Mutex<Option<AdminBound>>,
    pub(crate) admin_shutdown: tokio::sync::watch::Sender<ListenerStage>,
    pub(crate) control_shutdown: tokio::sync::watch::Sender<ListenerStage>,
    pub(crate) drain: Mutex<Drain>,
    /// Connections of the admin listener and the control socket.
    pub(crate) answering: AtomicU64,
}

/// A panic while the lock was held leaves the value consistent: each change is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

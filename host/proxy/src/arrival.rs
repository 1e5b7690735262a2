//! Where a request came in: its connection, and the listener and chain as they are at that moment.

use crate::chain::Chain;
use crate::connection::Connection;
use crate::generation::ListenerRules;
use crate::shared::ProxyShared;
use crate::worker::state::WorkerState;
use std::rc::Rc;
use std::sync::Arc;
use tamis_resources::plan::TrafficDirection;
use tamis_transport::Shutdown;
use tokio::sync::watch;

/// Where a request came in.
pub(crate) struct Arrival<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) chain: &'a Rc<Chain>,
    pub(crate) direction: TrafficDirection,
    pub(crate) rules: &'a ListenerRules,
    pub(crate) shared: &'a Arc<ProxyShared>,
    /// The id of its exchange.
    pub(crate) id: u64,
    pub(crate) shutdown: &'a Shutdown,
    /// The state of its worker, for what lives through swaps.
    pub(crate) worker: &'a watch::Sender<Rc<WorkerState>>,
}

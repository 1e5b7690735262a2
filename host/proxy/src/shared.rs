//! What all workers of a proxy share.

use crate::counts::Ledger;
use crate::shadow::Shadows;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tamis_observe::{Metrics, Recorder};
use tamis_transport::ServeLimits;
use tamis_upstream::Registry;

/// Shared, and touched seldom on the way of a request.
pub(crate) struct Shared {
    pub(crate) limits: ServeLimits,
    pub(crate) max_body_bytes: u64,
    /// Over all workers.
    pub(crate) max_connections: u64,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registry: Registry,
    pub(crate) ledger: Ledger,
    pub(crate) shadows: Shadows,
    /// Responses name their generation.
    pub(crate) name_generation: bool,
    pub(crate) draining: AtomicBool,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_total: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) exchanges: AtomicU64,
}

impl Shared {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

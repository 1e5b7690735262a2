//! What all workers of a proxy share.

use crate::counts::Ledger;
use crate::shadow::Shadows;
use crate::traffic::Traffic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use tamis_observe::{Metrics, Recorder};
use tamis_transport::ServeLimits;
use tamis_upstream::ServiceTable;

/// Exchange ids hold the worker above this bit, so that no two workers give the same.
pub(crate) const ID_BITS: u32 = 48;

/// Shared, and touched seldom on the way of a request.
pub(crate) struct Shared {
    pub(crate) limits: ServeLimits,
    pub(crate) max_body_bytes: u64,
    /// Over all workers.
    pub(crate) max_connections: u64,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registry: ServiceTable,
    pub(crate) ledger: Ledger,
    pub(crate) shadows: Shadows,
    /// Responses name their generation.
    pub(crate) name_generation: bool,
    pub(crate) draining: AtomicBool,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_total: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) exchanges: AtomicU64,
    pub(crate) traffic: Traffic,
    pub(crate) director: Director,
}

/// How the proxy stands with its director.
#[derive(Default)]
pub(crate) struct Director {
    /// 0: there is none; 1: it is away; 2: its stream is open.
    state: AtomicU8,
    /// In seconds since the Unix epoch.
    heard: AtomicU64,
}

impl Director {
    pub(crate) fn note(&self, connected: bool, heard: u64) {
        self.heard.store(heard, Ordering::Relaxed);
        self.state.store(if connected { 2 } else { 1 }, Ordering::Relaxed);
    }

    /// Whether its stream is open, and when it was last heard; `None` without a director.
    pub(crate) fn read(&self) -> Option<(bool, u64)> {
        let state = self.state.load(Ordering::Relaxed);
        (state > 0).then(|| (state > 1, self.heard.load(Ordering::Relaxed)))
    }
}

impl Shared {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

//! What a running proxy counts and shows, and what others let it show.

use super::Proxy;
use crate::counts::SlotCounts;
use crate::generation::Generation;
use crate::proxy_state::lock;
use crate::shadow::ShadowReport;
use crate::status::Status;
use crate::traffic::TrafficCounts;
use std::sync::Arc;

impl Proxy {
    /// Sets what the admin listener shows of slots and problems from now on.
    pub fn report(&self, status: Status) {
        self.inner.status.store(Arc::new(status));
    }

    /// The status that was set last, with the current state of its identity.
    pub fn status(&self) -> Arc<Status> {
        self.inner.status_now()
    }

    /// The generation that serves now.
    pub fn generation(&self) -> Arc<Generation> {
        self.inner.generation.load_full()
    }

    /// Why HTTP/3 is not served where a listener should serve it; each with its listener and the way out.
    pub fn http3_problems(&self) -> Vec<String> {
        lock(&self.inner.http3).problems()
    }

    /// What each digest did in each slot since the start, by slot and digest; compute differences. A digest
    /// that returns continues its counts. Of those no longer in use, the latest 1,024 are included; each
    /// exchange is counted when it ends.
    pub fn slot_counts(&self) -> Vec<SlotCounts> {
        self.inner.shared.ledger.sum()
    }

    /// Comparisons of shadows since the previous call, by slot and digest. A shadow that was replaced is
    /// included until nothing uses it any more.
    pub fn shadow_reports(&self) -> Vec<ShadowReport> {
        self.inner.shared.shadows.reports()
    }

    /// Exchanges by outcome, and their durations.
    pub fn traffic(&self) -> TrafficCounts {
        self.inner.shared.traffic.sum()
    }

    /// Sets the state of the connection to the director: whether the stream is open, and when something
    /// arrived last, in seconds since the Unix epoch.
    pub fn director(&self, connected: bool, heard: u64) {
        self.inner.shared.director.note(connected, heard);
    }
}

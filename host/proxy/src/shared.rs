//! What all workers of a proxy share.

use crate::body_budget::BodyBudget;
use crate::counts::SlotLedger;
use crate::encodings::Encodings;
use crate::handshakes::FailedHandshakes;
use crate::heads::CopyMark;
use crate::leaving::LeavingAddresses;
use crate::mirror_places::MirrorPlaces;
use crate::own_udp::OwnUdpAddresses;
use crate::plaintext_counts::PlaintextTraffic;
use crate::shadow::Shadows;
use crate::tap::Taps;
use crate::tcp_counts::TcpTraffic;
use crate::traffic::Traffic;
use crate::udp_counts::UdpTraffic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use tamis_ambient::{Clock, Random};
use tamis_exchange::{HeadBound, HeadBounds};
use tamis_observe::{Metrics, Recorder};
use tamis_transport::{CertificateOrders, MeshIdentity, ServeLimits};
use tamis_upstream::ServiceTable;

/// Exchange ids contain the worker above this bit, so that no two workers use the same id.
pub(crate) const ID_BITS: u32 = 48;

/// Shared state, rarely used during a request.
pub(crate) struct ProxyShared {
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) limits: ServeLimits,
    pub(crate) max_body_bytes: u64,
    /// Memory for bodies that filters see whole.
    pub(crate) bodies: Arc<BodyBudget>,
    /// The encoders of responses.
    pub(crate) encodings: Arc<Encodings>,
    /// Over all workers.
    pub(crate) max_connections: u64,
    pub(crate) recorder: Recorder,
    /// Who watches exchanges.
    pub(crate) taps: Arc<Taps>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) service_table: ServiceTable,
    pub(crate) ledger: SlotLedger,
    pub(crate) shadows: Shadows,
    /// Responses contain the number of their generation.
    pub(crate) name_generation: bool,
    pub(crate) draining: AtomicBool,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_total: AtomicU64,
    /// Those of HTTP/3, once their handshake is complete.
    pub(crate) http3_connections_total: AtomicU64,
    pub(crate) handshakes_failed: FailedHandshakes,
    pub(crate) exchanges: AtomicU64,
    /// The mark by which this proxy knows the copies of requests that it made.
    pub(crate) copy_mark: CopyMark,
    /// Copies of requests.
    pub(crate) mirrors: Arc<MirrorPlaces>,
    pub(crate) traffic: Traffic,
    pub(crate) tcp: TcpTraffic,
    pub(crate) udp: UdpTraffic,
    /// The UDP addresses of this process.
    pub(crate) own_udp: Arc<OwnUdpAddresses>,
    /// Connections in plain text to ports of the mesh.
    pub(crate) plaintext: PlaintextTraffic,
    /// The own addresses of connections that leave the mesh.
    pub(crate) leaving: Arc<LeavingAddresses>,
    pub(crate) director: Director,
    /// Its identity inside the mesh; `None`: it has not joined.
    pub(crate) identity: Option<MeshIdentity>,
    /// Its orders of certificates.
    pub(crate) orders: CertificateOrders,
}

/// The connection to the director.
#[derive(Default)]
pub(crate) struct Director {
    /// 0: no director; 1: not connected; 2: its stream is open.
    state: AtomicU8,
    /// In seconds since the Unix epoch.
    heard: AtomicU64,
}

impl Director {
    pub(crate) fn note(&self, connected: bool, heard: u64) {
        self.heard.store(heard, Ordering::Relaxed);
        self.state.store(if connected { 2 } else { 1 }, Ordering::Relaxed);
    }

    /// Whether its stream is open, and when something arrived last; `None` without a director.
    pub(crate) fn read(&self) -> Option<(bool, u64)> {
        let state = self.state.load(Ordering::Relaxed);
        (state > 0).then(|| (state > 1, self.heard.load(Ordering::Relaxed)))
    }
}

impl ProxyShared {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How large filters may make heads, before the limits of the upstream are known.
    pub(crate) fn head_bounds(&self) -> HeadBounds {
        let intake = &self.limits.intake;
        let request = HeadBound::of_received(intake.max_fields, intake.max_head_bytes);
        HeadBounds { request, response: HeadBound::default() }
    }
}

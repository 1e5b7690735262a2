//! The UDP socket of a worker, and what responses say of it.

use http::HeaderValue;
use std::cell::RefCell;
use tamis_transport::QuicEndpoint;
use tokio::sync::Notify;

/// A worker's UDP socket.
pub(super) struct WorkerQuic {
    pub(super) endpoint: QuicEndpoint,
    port: u16,
    /// No listener serves HTTP/3 here any more.
    pub(super) retired: Notify,
    /// The last `Alt-Svc`, by the seconds in it.
    advertised: RefCell<Option<(u64, HeaderValue)>>,
}

impl WorkerQuic {
    pub(super) fn new(endpoint: QuicEndpoint, port: u16) -> Self {
        Self { endpoint, port, retired: Notify::new(), advertised: RefCell::default() }
    }

    /// Refuses new connections, or takes them again.
    pub(super) fn refuse(&self, refuses: bool) {
        self.endpoint.refuse(refuses);
    }

    /// What `Alt-Svc` says for so many seconds (RFC 7838 §3).
    pub(super) fn advertise(&self, seconds: u64) -> Option<HeaderValue> {
        let mut advertised = self.advertised.borrow_mut();
        if let Some((_, value)) = advertised.as_ref().filter(|(known, _)| *known == seconds) {
            return Some(value.clone());
        }
        let text = format!("h3=\":{}\"; ma={seconds}", self.port);
        let value = HeaderValue::try_from(text).ok()?;
        Some(advertised.insert((seconds, value)).1.clone())
    }
}

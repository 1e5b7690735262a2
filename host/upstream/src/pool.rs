//! One worker's connections to one endpoint.

use crate::attempt::SendFailure;
use crate::config::{EndpointConfig, Policy, Protocol, ServiceConfig};
use crate::registry::EndpointState;
use crate::{http1, http2};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tamis_exchange::Cause;
use tamis_transport::{Address, ClientTls, Stream, connect};
use tokio::sync::oneshot;

/// Connections to one address with one set of TLS settings.
pub(crate) struct Pool {
    pub(crate) address: Address,
    pub(crate) protocol: Protocol,
    /// Offers HTTP/1.1 alone.
    tls_http1: Option<ClientTls>,
    /// Offers HTTP/2 alone.
    tls_http2: Option<ClientTls>,
    pub(crate) policy: RefCell<Policy>,
    pub(crate) state: Arc<EndpointState>,
    pub(crate) idle: RefCell<Vec<http1::Idle>>,
    pub(crate) waiters: RefCell<VecDeque<oneshot::Sender<()>>>,
    pub(crate) shared: RefCell<Vec<http2::Connection>>,
    pub(crate) connecting: tokio::sync::Mutex<()>,
    pub(crate) closed: Cell<bool>,
}

impl Pool {
    pub(crate) fn new(
        address: &Address,
        endpoint: &EndpointConfig,
        config: &ServiceConfig,
        state: &Arc<EndpointState>,
    ) -> Self {
        let offer = |protocol: &[u8]| {
            endpoint.tls.as_ref().map(|tls| ClientTls::clone(tls).with_alpn(&[protocol]))
        };
        Self {
            address: address.clone(),
            protocol: config.protocol,
            tls_http1: offer(b"http/1.1"),
            tls_http2: offer(b"h2"),
            policy: RefCell::new(config.policy.clone()),
            state: Arc::clone(state),
            idle: RefCell::default(),
            waiters: RefCell::default(),
            shared: RefCell::default(),
            connecting: tokio::sync::Mutex::new(()),
            closed: Cell::new(false),
        }
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls_http1.is_some()
    }

    /// Opens a connection that speaks `protocol`.
    pub(crate) async fn open(&self, protocol: Protocol) -> Result<Stream, SendFailure> {
        let tls = match protocol {
            Protocol::Http1 => self.tls_http1.as_ref(),
            Protocol::Http2 => self.tls_http2.as_ref(),
        };
        let timeout = self.policy.borrow().connect_timeout;
        let stream = connect(&self.address, tls, timeout).await.map_err(|error| {
            let mut detail = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                detail = format!("{detail}: {cause}");
                source = cause.source();
            }
            SendFailure::untouched(Cause::ConnectFailure, detail)
        })?;
        if protocol == Protocol::Http2 && tls.is_some() && !stream.is_http2() {
            let detail = format!("{} agreed on another protocol than HTTP/2", self.address);
            return Err(SendFailure::untouched(Cause::ConnectFailure, detail));
        }
        Ok(stream)
    }

    /// Takes no new request and closes what is idle.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }

    /// Closes what has been idle for too long.
    pub(crate) fn sweep(&self) {
        let limit = self.policy.borrow().idle_timeout;
        self.idle.borrow_mut().retain(|idle| idle.is_usable(limit));
        self.shared.borrow_mut().retain(|shared| shared.is_usable(limit));
    }

    /// A connection ended or came back: the one who waits longest may go on.
    pub(crate) fn wake(&self) {
        let mut waiters = self.waiters.borrow_mut();
        while let Some(waiter) = waiters.pop_front() {
            // One that gave up meanwhile passes its turn on.
            if waiter.send(()).is_ok() {
                return;
            }
        }
    }
}

/// A place among an endpoint's connections; given back when the connection ends.
pub(crate) struct Place {
    pool: Rc<Pool>,
}

impl Place {
    /// A place if there is one.
    pub(crate) fn take(pool: &Rc<Pool>) -> Option<Self> {
        let limit = pool.policy.borrow().max_connections;
        let taken =
            pool.state.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < limit).then_some(n + 1)
            });
        taken.is_ok().then(|| Self { pool: Rc::clone(pool) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.state.connections.fetch_sub(1, Ordering::Relaxed);
        self.pool.wake();
    }
}

//! One worker's connections to one endpoint, and the requests that wait for one.

pub(crate) mod http1;
pub(crate) mod http2;
mod idle;
mod lease;
mod open;
pub(crate) mod place;
mod watch;

use crate::config::{EndpointConfig, EndpointTarget, Protocol, ServiceConfig, ServiceSettings};
use crate::endpoint_state::EndpointState;
use crate::send::SendFailure;
use idle::IdleConnection;
use lease::PoolTurn;
use place::ConnectionPlace;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;
use tamis_resources::machine::is_localhost;
use tamis_transport::{Address, ClientTls};
use tokio::sync::oneshot;

/// Connections to one address with one set of TLS settings.
pub(crate) struct Pool {
    pub(crate) address: Address,
    /// A second address of the same endpoint: `localhost` is one endpoint with an address of each family.
    alternate: Option<Address>,
    pub(crate) protocol: Protocol,
    /// Offers only HTTP/1.1 by ALPN.
    tls_http1: Option<ClientTls>,
    /// Offers only HTTP/2 by ALPN.
    tls_http2: Option<ClientTls>,
    /// For bytes that are not HTTP: asks for the opaque port of the service, or for nothing.
    tls_raw: Option<ClientTls>,
    pub(crate) settings: RefCell<ServiceSettings>,
    pub(crate) state: Arc<EndpointState>,
    pub(crate) idle: RefCell<Vec<IdleConnection>>,
    /// Wakes the task that watches idle connections; `None` before the first connection.
    pub(crate) watcher: RefCell<Option<Waker>>,
    /// Requests waiting for a connection, longest first.
    waiters: RefCell<VecDeque<oneshot::Sender<PoolTurn>>>,
    pub(crate) shared: RefCell<Vec<http2::Connection>>,
    /// Requests that wait for a stream.
    pub(crate) streams: Rc<http2::StreamQueue>,
    pub(crate) connecting: tokio::sync::Mutex<()>,
    /// When connecting last failed, and how, for requests that waited for it.
    pub(crate) failed: RefCell<Option<(Instant, SendFailure)>>,
    pub(crate) closed: Cell<bool>,
}

impl Pool {
    pub(crate) fn new(
        address: &Address,
        endpoint: &EndpointConfig,
        config: &ServiceConfig,
        state: &Arc<EndpointState>,
    ) -> Self {
        let offer = |protocols: &[&[u8]]| {
            endpoint.tls.as_ref().map(|tls| ClientTls::clone(tls).with_alpn(protocols))
        };
        let alternate = match &endpoint.target {
            EndpointTarget::Dns { host, port } if is_localhost(host) => {
                Some(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), *port).into())
            }
            EndpointTarget::Dns { .. } | EndpointTarget::Address(_) => None,
        };
        Self {
            address: address.clone(),
            alternate,
            protocol: config.protocol,
            tls_http1: offer(&[b"http/1.1"]),
            tls_http2: offer(&[b"h2"]),
            tls_raw: match config.protocol {
                Protocol::Tcp(port) => offer(&[&port.protocol()]),
                Protocol::Http1 | Protocol::Http2 => offer(&[]),
            },
            settings: RefCell::new(config.settings.clone()),
            state: Arc::clone(state),
            idle: RefCell::default(),
            watcher: RefCell::default(),
            waiters: RefCell::default(),
            shared: RefCell::default(),
            streams: Rc::default(),
            connecting: tokio::sync::Mutex::new(()),
            failed: RefCell::default(),
            closed: Cell::new(false),
        }
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls_http1.is_some()
    }

    /// Whether it leads to proxies of the mesh, whose identity is checked.
    pub(crate) fn is_of_mesh(&self) -> bool {
        self.tls_http1.as_ref().is_some_and(ClientTls::is_of_mesh)
    }

    /// Whether a peer is a proxy that answers first: it was asked for a port in the handshake.
    pub(crate) fn answers(&self) -> bool {
        matches!(self.protocol, Protocol::Tcp(_)) && self.is_of_mesh()
    }

    /// Stops accepting connections and closes idle ones.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }

    /// Closes connections that were idle for too long, and frees memory that others do not need.
    pub(crate) fn sweep(&self) {
        idle::sweep(self);
        idle::shrink(self);
        let limit = self.settings.borrow().idle_timeout;
        let now = self.state.clock.now();
        self.shared.borrow_mut().retain_mut(|shared| shared.is_usable(limit, now));
    }

    /// Polls an idle connection for the task that watches them.
    pub(crate) fn watched<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let watcher = self.watcher.borrow();
        poll(&mut Context::from_waker(watcher.as_ref().unwrap_or(Waker::noop())))
    }

    /// Whether a generation may use this pool or a connection is still open; its map holds one reference to
    /// `self`.
    pub(crate) fn is_used(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) > 1
            || !self.idle.borrow().is_empty()
            || !self.shared.borrow().is_empty()
    }

    /// Joins the queue for a connection.
    pub(crate) fn queue(&self) -> Result<oneshot::Receiver<PoolTurn>, SendFailure> {
        let mut waiters = self.waiters.borrow_mut();
        waiters.retain(|waiter| !waiter.is_closed());
        if waiters.len() >= self.settings.borrow().max_pending as usize {
            let detail = format!(
                "{} has all its connections in use and {} requests wait (pool.pending)",
                self.address,
                waiters.len()
            );
            return Err(SendFailure::waiting(detail));
        }
        let (send, turn) = oneshot::channel();
        waiters.push_back(send);
        Ok(turn)
    }

    /// The longest waiting request that has not given up.
    pub(crate) fn next_waiter(&self) -> Option<oneshot::Sender<PoolTurn>> {
        let mut waiters = self.waiters.borrow_mut();
        std::iter::from_fn(|| waiters.pop_front()).find(|waiter| !waiter.is_closed())
    }

    /// Whether the queue is empty, so that a new request may go ahead.
    pub(crate) fn nobody_waits(&self) -> bool {
        self.waiters.borrow().iter().all(oneshot::Sender::is_closed)
    }

    /// Gives free places to waiting requests.
    pub(crate) fn offer(&self) {
        while !self.nobody_waits() {
            let Some(place) = ConnectionPlace::take(self) else { return };
            let Some(waiter) = self.next_waiter() else { return };
            // If the receiver has given up meanwhile, the place is free again.
            drop(waiter.send(PoolTurn::Place(place)));
        }
    }
}

impl Pool {
    /// Tells it from the pools of other workers for the same endpoint.
    pub(crate) fn number(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.state.queue.forget(self.number());
        // The watching task ends once it finds the pool gone.
        self.watcher.take().into_iter().for_each(Waker::wake);
    }
}

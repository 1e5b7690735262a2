//! What all workers know of an endpoint: its circuit, its latency, and what is in progress there.
//!
//! These are values: `circuit/admission` decides by them whether an attempt passes, and `circuit/outcome` writes how it ended.

use crate::caller_shares::CallerShares;
use crate::circuit::CircuitState;
use crate::endpoint_queue::EndpointQueue;
use crate::latency::EndpointLatency;
use crate::lock::lock;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tamis_ambient::Clock;
use tamis_exchange::{Circuit, Window};

/// A snapshot of an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointSnapshot {
    /// Its address.
    pub name: String,
    /// Its circuit.
    pub circuit: Circuit,
    /// Number of times that its circuit opened.
    pub opened: u64,
    /// The recent outcomes.
    pub window: Window,
    /// Open connections.
    pub connections: u32,
}

/// The state of an endpoint that workers share.
pub(crate) struct EndpointState {
    pub(crate) name: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) circuit: Mutex<CircuitState>,
    /// The circuit is not closed: then picking checks endpoints one by one.
    pub(crate) not_closed: AtomicBool,
    pub(crate) in_flight: AtomicU32,
    pub(crate) connections: AtomicU32,
    /// Those of callers whose sessions and connections are carried unread.
    pub(crate) callers: CallerShares,
    /// Tunnels and requests for one, each of which has a connection.
    pub(crate) tunnels: AtomicU32,
    /// Copies of requests.
    pub(crate) copies: AtomicU32,
    /// Requests that wait for one of its connections over HTTP/1.
    pub(crate) queue: EndpointQueue,
    pub(crate) behind_name: bool,
    pub(crate) latency: EndpointLatency,
}

/// An endpoint as picking sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointLoad {
    pub(crate) in_flight: u32,
    /// `None` until two attempts have succeeded.
    pub(crate) latency_us: Option<u32>,
    /// An attempt has ended, successfully or not.
    pub(crate) tried: bool,
}

impl EndpointState {
    pub(crate) fn new(name: &str, span: Duration, behind_name: bool, clock: Clock) -> Self {
        let now = clock.now();
        Self {
            name: name.into(),
            clock,
            circuit: Mutex::new(CircuitState::new(span, now)),
            not_closed: AtomicBool::new(false),
            in_flight: AtomicU32::default(),
            connections: AtomicU32::default(),
            callers: CallerShares::default(),
            tunnels: AtomicU32::default(),
            copies: AtomicU32::default(),
            queue: EndpointQueue::default(),
            behind_name,
            latency: EndpointLatency::new(now),
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut CircuitState, Instant)) {
        let mut state = lock(&self.circuit);
        change(&mut state, self.clock.now());
        self.not_closed.store(!state.is_closed(), Ordering::Relaxed);
    }

    /// Time since it was first seen.
    pub(crate) fn age(&self) -> Duration {
        self.latency.age(self.clock.now())
    }

    /// The load for picking.
    pub(crate) fn load(&self, now: Instant) -> EndpointLoad {
        let steady = self.latency.steady_us(now);
        EndpointLoad {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            latency_us: (steady > 0).then_some(steady),
            tried: self.latency.is_known(),
        }
    }

    pub(crate) fn window(&self) -> Window {
        let seen = lock(&self.circuit).seen(self.clock.now());
        Window {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            ewma_latency_us: self.latency.ewma_us(),
            ..seen
        }
    }

    pub(crate) fn snapshot(&self) -> EndpointSnapshot {
        let (circuit, opened) = {
            let state = lock(&self.circuit);
            (state.circuit(self.clock.now()), state.opened)
        };
        EndpointSnapshot {
            name: self.name.to_string(),
            circuit,
            opened,
            window: self.window(),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }
}

//! The UDP ports of listeners that serve HTTP/3. One that cannot be used stops nothing: TCP serves on, a problem says why, and
//! it is tried again until it can.

use super::{BoundSockets, ProxyState, lock};
use crate::generation::{Generation, SocketKey};
use crate::worker::Command;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tamis_transport::{Address, BoundUdp, bind_udp, causes};

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// The UDP port of a socket.
#[derive(Debug, Default)]
pub(crate) enum Http3Port {
    /// No listener of it serves HTTP/3.
    #[default]
    Unwanted,
    /// The workers have it.
    Bound,
    /// It cannot be used: why, and the way out.
    Failed(String),
}

/// What a proxy knows of its UDP ports.
#[derive(Default)]
pub(crate) struct Http3Ports {
    by_socket: HashMap<SocketKey, Http3Port>,
    /// A thread tries those again that failed.
    tries: bool,
}

impl Http3Ports {
    /// What cannot be served, each with its reason.
    pub(crate) fn problems(&self) -> Vec<String> {
        let failed = |port: &Http3Port| match port {
            Http3Port::Failed(why) => Some(why.clone()),
            Http3Port::Unwanted | Http3Port::Bound => None,
        };
        let mut problems: Vec<String> = self.by_socket.values().filter_map(failed).collect();
        problems.sort_unstable();
        problems
    }
}

impl ProxyState {
    /// Binds the UDP ports that a generation wants and that are not bound yet; the workers give up those that it does not want
    /// any more. Called with the lock on `bound` held, after the workers received the order to switch.
    pub(crate) fn follow_http3(
        self: &Arc<Self>,
        generation: &Generation,
        bound: &HashMap<SocketKey, BoundSockets>,
    ) {
        let mut ports = lock(&self.http3);
        let wanted: HashMap<SocketKey, &str> = generation
            .listeners
            .iter()
            .rev()
            .filter(|one| one.serves_http3())
            .map(|one| (SocketKey::of(one), one.name.as_str()))
            .collect();
        ports.by_socket.retain(|key, _| wanted.contains_key(key));
        let mut sockets = Vec::new();
        for (key, listener) in wanted {
            let port = ports.by_socket.entry(key.clone()).or_default();
            let Some(Address::Tcp(address)) = bound.get(&key).and_then(|it| it.local.clone())
            else {
                continue;
            };
            if matches!(port, Http3Port::Bound) {
                continue;
            }
            let count = NonZeroUsize::new(self.workers.len()).unwrap_or(NonZeroUsize::MIN);
            match bind_udp(address, count) {
                Ok(udp) => {
                    if matches!(port, Http3Port::Failed(_)) {
                        tracing::info!(listener, "HTTP/3 is served now");
                    }
                    *port = Http3Port::Bound;
                    sockets.push((key, udp));
                }
                Err(error) => {
                    let why = format!(
                        "listener `{listener}`: HTTP/3 is not served: {}; HTTP/1.1 and HTTP/2 are, and it is tried again every second",
                        causes(&error)
                    );
                    if !matches!(port, Http3Port::Failed(_)) {
                        tracing::warn!(listener, why, "HTTP/3 is not served");
                    }
                    *port = Http3Port::Failed(why);
                }
            }
        }
        self.hand_out(sockets);
        if !ports.problems().is_empty() && !ports.tries {
            let inner = Arc::downgrade(self);
            let thread = std::thread::Builder::new().name("tamis-http3".to_owned());
            // Without a thread the next swap tries again.
            ports.tries = thread.spawn(move || try_again(&inner)).is_ok();
        }
    }

    /// Gives each worker its socket of each port.
    fn hand_out(&self, ports: Vec<(SocketKey, Vec<BoundUdp>)>) {
        let mut batches: Vec<Vec<(SocketKey, BoundUdp)>> =
            self.workers.iter().map(|_| Vec::new()).collect();
        for (key, sockets) in ports {
            for (batch, socket) in batches.iter_mut().zip(sockets) {
                batch.push((key.clone(), socket));
            }
        }
        for (worker, sockets) in self.workers.iter().zip(batches) {
            if !sockets.is_empty() {
                // It fails when the worker is gone.
                drop(worker.send(Command::ServeQuic { sockets }));
            }
        }
    }
}

/// Tries the ports that failed until none is left.
fn try_again(inner: &Weak<ProxyState>) {
    loop {
        std::thread::sleep(AGAIN);
        let Some(inner) = inner.upgrade() else { return };
        // In the order of a swap, which this may not overtake.
        let closed = lock(&inner.drain).closed;
        let bound = lock(&inner.bound);
        if closed || lock(&inner.http3).problems().is_empty() {
            lock(&inner.http3).tries = false;
            return;
        }
        inner.follow_http3(&inner.generation.load_full(), &bound);
    }
}

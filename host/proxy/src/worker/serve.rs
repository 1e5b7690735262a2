//! Serves one connection of a worker: its sender, the handshake, the connection hooks, then its requests.

use super::Worker;
use super::admit::{Admission, admit, admit_tcp};
use super::sender::SenderRule;
use crate::arrival::Arrival;
use crate::body::HookedBody;
use crate::chain::Chain;
use crate::connection::Connection;
use crate::gate_refusal;
use crate::generation::{ListenerConfig, Reasons, SocketKey};
use crate::pipeline::serve;
use crate::refuse;
use crate::tcp;
use crate::tunnel;
use http::Request;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tamis_exchange::{Fault, Refusal};
use tamis_transport::{
    AskedHandshake, ConnInfo, GateReasons, PlainStream, RefusedRequest, RequestBody, ServerTls,
    Shutdown, serve_and_note,
};
use tokio::io::{AsyncRead, AsyncWrite};

impl Worker {
    /// Serves one connection to its end.
    pub(super) async fn serve_connection(
        self: Rc<Self>,
        key: &SocketKey,
        mut plain: PlainStream,
        peer: Option<SocketAddr>,
    ) {
        if self.shared.connections.load(Ordering::Relaxed) > self.shared.max_connections {
            tracing::debug!(address = %key.address(), "a connection over the limit is closed");
            return;
        }
        let state = self.state();
        // The listeners of a socket differ in nothing that counts before the handshake.
        let Some(listener) = state.listeners_of(key).next() else { return };
        let (name, address) = (listener.name.clone(), listener.address.clone());
        let secure = listener.tls.is_some();
        let sender = SenderRule::of(listener.rules.header_senders.as_ref(), peer);
        // A connection lives long: it must not keep its first generation alive.
        drop(state);
        let client = match sender.client(&mut plain, peer).await {
            Ok(client) => client,
            Err(refusal) => return self.failed(key, peer, refusal.reason(), &refusal.text()),
        };
        let info = ConnInfo { peer: client, local: address, identity: None };
        if !secure {
            let Some(shutdown) = self.shutdown_of(key, &name) else { return };
            return self.serve_stream(&name, plain, info, shutdown).await;
        }
        // Both boxed, so that a connection in clear text needs no room for them.
        match Box::pin(ServerTls::accept_chosen(plain, |asked| self.chosen(key, asked))).await {
            Ok((name, stream, identity)) => {
                let info = ConnInfo { identity: Some(identity), ..info };
                let Some(shutdown) = self.shutdown_of(key, &name) else { return };
                // Each function it passes has a place for it, so it passes as a pointer.
                let stream = Box::new(stream);
                Box::pin(self.serve_stream(&name, stream, info, shutdown)).await;
            }
            Err(error) => {
                self.failed(key, peer, error.reason(), &tamis_transport::causes(&error));
            }
        }
    }

    /// The listener of a socket that has what a handshake asks for, and its TLS.
    fn chosen(&self, key: &SocketKey, asked: &AskedHandshake) -> Option<(String, Arc<ServerTls>)> {
        let state = self.state();
        let listener = state.listeners_of(key).find(|one| one.has(asked))?;
        Some((listener.name.clone(), Arc::clone(listener.tls.as_ref()?)))
    }

    /// Counts and logs a connection that ended before its first request.
    fn failed(&self, key: &SocketKey, peer: Option<SocketAddr>, reason: &'static str, error: &str) {
        let state = self.state();
        let names: Vec<&str> = state.listeners_of(key).map(|one| one.name.as_str()).collect();
        let names = names.join(", ");
        self.shared.handshakes_failed.note(&names, peer, (reason, error), self.shared.clock);
    }

    async fn serve_stream<IO>(
        self: Rc<Self>,
        name: &str,
        io: IO,
        info: ConnInfo,
        shutdown: Shutdown,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = Connection::new(self.id(), name, &info);
        match self.admission(name, &connection, &info) {
            Admission::Serve => {}
            Admission::Close => return,
            Admission::Tunnel(forward) => {
                let (shared, mut shutdown) = (Arc::clone(&self.shared), shutdown);
                let forward = tunnel::forward(io, *forward, &shared, &mut shutdown);
                return Box::pin(forward).await;
            }
            Admission::Tcp(opening) => {
                let is_served = || self.state().listener(name).is_some();
                let served = (shutdown, is_served);
                let served = tcp::serve(io, *opening, &connection, &self.shared, served);
                return Box::pin(served).await;
            }
        }
        let connection = Rc::new(connection);
        let (worker, of_refused) = (Rc::clone(&self), Rc::clone(&connection));
        let handed = shutdown.clone();
        let handler = async move |request: Request<RequestBody>, _: &ConnInfo| {
            let state = worker.state();
            let Some((listener, chain)) = state.listener(&connection.listener) else {
                let refusal =
                    Refusal::new("listener.unknown", 503, Fault::Host, "the listener is gone");
                let response = refuse::response(&refusal, None, Reasons::Hide);
                return response.map(|body| HookedBody::from(body).into());
            };
            worker.shared.exchanges.fetch_add(1, Ordering::Relaxed);
            serve(worker.arrival(listener, chain, &connection, &handed), request).await
        };
        let mut limits = self.shared.limits.clone();
        if !self.shows_reasons(name) {
            limits.gate.reasons = GateReasons::Hide;
        }
        let (worker, at_gate) = (Rc::clone(&self), shutdown.clone());
        let refused = move |refused: RefusedRequest| {
            let state = worker.state();
            let (listener, chain) = state.listener(&of_refused.listener)?;
            gate_refusal::record(&worker.arrival(listener, chain, &of_refused, &at_gate), &refused)
        };
        let served = serve_and_note(io, Rc::new(info), &limits, handler, refused, shutdown).await;
        if let Err(error) = served {
            let error = tamis_transport::causes(&error);
            tracing::debug!(listener = name, error, "a connection ended badly");
        }
    }

    /// Calls the connection hooks; without any, no view is built.
    fn admission(&self, name: &str, connection: &Connection, info: &ConnInfo) -> Admission {
        let state = self.state();
        let Some((listener, chain)) = state.listener(name) else { return Admission::Close };
        if let Some(rules) = &listener.tcp {
            if !tcp::is_agreed(rules, info) {
                return Admission::Close;
            }
            return admit_tcp(chain, rules, self.id(), connection, info);
        }
        if chain.connection.is_empty() {
            return Admission::Serve;
        }
        admit(chain, name, self.id(), connection, info)
    }

    /// The arrival of a new exchange.
    fn arrival<'a>(
        &'a self,
        listener: &'a ListenerConfig,
        chain: &'a Rc<Chain>,
        connection: &'a Connection,
        shutdown: &'a Shutdown,
    ) -> Arrival<'a> {
        let (direction, rules, id) = (listener.direction, &listener.rules, self.id());
        Arrival { connection, chain, direction, rules, shared: &self.shared, id, shutdown }
    }

    /// Whether clients of that listener see why they were refused.
    fn shows_reasons(&self, name: &str) -> bool {
        let state = self.state();
        let listener = state.listener(name);
        listener.is_some_and(|(listener, _)| listener.rules.reasons == Reasons::Show)
    }
}

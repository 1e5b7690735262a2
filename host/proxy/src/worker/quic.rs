//! Connections of HTTP/3: a worker's UDP sockets, and what their handshakes lead to. From there on they are connections like
//! all others.

use super::admit::Admission;
use super::quic_socket::WorkerQuic;
use super::requests::ConnectionRequests;
use super::{ListenerWay, OpenConnection, Worker};
use crate::connection::Connection;
use crate::generation::{ListenerConfig, SocketKey};
use http::{HeaderValue, Request};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tamis_transport::{
    AskedHandshake, BoundUdp, ChooseListener, ConnectionInfo, ListenerStage, QuicConnection,
    QuicEndpoint, QuicHandshake, QuicListener, RequestBody, Shutdown, causes, serve_quic,
};

/// How long the messages may take by which clients learn that their connections end with the process.
const FAREWELL_MAX: Duration = Duration::from_millis(100);

impl Worker {
    /// Serves HTTP/3 at these sockets.
    pub(super) fn serve_udp(self: &Rc<Self>, sockets: Vec<(SocketKey, BoundUdp)>) {
        for (key, socket) in sockets {
            let Some(choose) = self.choice(&key) else { continue };
            let port = socket.local_address().map_or(0, |address| address.port());
            let endpoint = match QuicEndpoint::new(socket, &self.shared.limits, choose) {
                Ok(endpoint) => endpoint,
                Err(error) => {
                    let (address, error) = (key.address(), causes(&error));
                    tracing::error!(%address, error, "a UDP socket cannot be used");
                    continue;
                }
            };
            endpoint.refuse(self.stage.get() == ListenerStage::End);
            let quic = Rc::new(WorkerQuic::new(endpoint, port));
            self.quic.borrow_mut().insert(key.clone(), Rc::clone(&quic));
            drop(tokio::task::spawn_local(Rc::clone(self).accept_quic(Rc::new(key), quic)));
        }
    }

    /// Chooses among the listeners of the new generation from the next handshake on, and gives up the sockets at which none
    /// serves HTTP/3 any more.
    pub(super) fn follow_quic(&self) {
        self.quic.borrow_mut().retain(|key, quic| {
            let Some(choose) = self.choice(key) else {
                quic.retired.notify_one();
                return false;
            };
            if let Err(error) = quic.endpoint.choose(choose) {
                let (address, error) = (key.address(), causes(&error));
                tracing::error!(%address, error, "new certificates are not used for HTTP/3");
            }
            true
        });
    }

    /// Chooses among the listeners of a socket that serve HTTP/3; `None`: there are none.
    fn choice(&self, key: &SocketKey) -> Option<ChooseListener> {
        let state = self.state();
        let of = |one: &ListenerConfig| {
            let tls = one.tls.as_ref().filter(|_| one.serves_http3())?;
            match QuicListener::new(&one.name, tls) {
                Ok(listener) => Some((one.rules.clone(), listener)),
                Err(error) => {
                    let (listener, error) = (&one.name, causes(&error));
                    tracing::error!(listener, error, "HTTP/3 is not served");
                    None
                }
            }
        };
        let listeners: Vec<_> = state.listeners_of(key).filter_map(of).collect();
        if listeners.is_empty() {
            return None;
        }
        Some(Arc::new(move |asked: &AskedHandshake| {
            let name = asked.server_name.as_deref();
            let chosen = listeners.iter().find(|(rules, _)| rules.is_for(name))?;
            Some(chosen.1.clone())
        }))
    }

    /// Accepts until the socket is given up, and until its last connection has ended then.
    async fn accept_quic(self: Rc<Self>, key: Rc<SocketKey>, quic: Rc<WorkerQuic>) {
        loop {
            let handshake = tokio::select! {
                handshake = quic.endpoint.accept() => handshake,
                () = quic.retired.notified() => break,
            };
            let Some(handshake) = handshake else { return };
            let (worker, key) = (Rc::clone(&self), Rc::clone(&key));
            drop(tokio::task::spawn_local(async move {
                let shared = Arc::clone(&worker.shared);
                shared.connections.fetch_add(1, Ordering::Relaxed);
                shared.connections_total.fetch_add(1, Ordering::Relaxed);
                let _open = OpenConnection(Arc::clone(&shared));
                worker.serve_handshake(&key, handshake).await;
            }));
        }
        quic.refuse(true);
        tokio::select! {
            _none = quic.endpoint.accept() => {}
            () = quic.endpoint.wait_idle() => {}
        }
    }

    /// Serves a connection to its end, from its handshake on.
    async fn serve_handshake(self: Rc<Self>, key: &SocketKey, handshake: QuicHandshake) {
        if self.shared.connections.load(Ordering::Relaxed) > self.shared.max_connections {
            tracing::debug!(address = %key.address(), "a connection over the limit is refused");
            return handshake.refuse();
        }
        let client = Some(handshake.client());
        let (quic, name, identity) = match handshake.finish().await {
            Ok(finished) => finished,
            Err(error) => return self.failed(key, client, error.reason(), &causes(&error)),
        };
        let Some(shutdown) = self.shutdown_of(ListenerWay::Quic, key, &name) else { return };
        self.shared.http3_connections_total.fetch_add(1, Ordering::Relaxed);
        let (local, identity) = (key.address().clone(), Some(identity));
        let info = ConnectionInfo { sender: client, local, identity };
        self.serve_streams(&name, quic, info, shutdown).await;
    }

    async fn serve_streams(
        self: Rc<Self>,
        name: &str,
        quic: QuicConnection,
        info: ConnectionInfo,
        shutdown: Shutdown,
    ) {
        let connection = Connection::new(self.id(), name, &info);
        self.admission_turns(name).await;
        let judged = match self.admission(name, &connection, &info) {
            Admission::Serve(judged) => judged,
            // Its streams are requests, so there is nothing to carry on as it is.
            Admission::Tunnel(_) | Admission::Tcp(_) => {
                tracing::warn!(
                    listener = name,
                    "a connection of HTTP/3 is closed: its hook sends it to a service, which only connections over TCP can go to"
                );
                return;
            }
            Admission::Close => return,
        };
        let (connection, info) = (Rc::new(connection), Rc::new(info));
        let worker = Rc::clone(&self);
        let requests = ConnectionRequests::new(worker, Rc::clone(&connection), shutdown.clone());
        let handler = async move |request: Request<RequestBody>, _: &ConnectionInfo| {
            requests.serve(request).await
        };
        let limits = &self.shared.limits;
        let served = serve_quic(quic, Rc::clone(&info), limits, handler, shutdown);
        let served = match judged {
            None => served.await,
            Some(judged) => self.unless_refused((judged, connection, info), served).await,
        };
        if let Err(error) = served {
            let error = causes(&error);
            tracing::debug!(listener = name, error, "a connection ended badly");
        }
    }

    /// What responses of a listener over TCP say about its HTTP/3, where that is served now.
    pub(super) fn alternative(&self, listener: &ListenerConfig) -> Option<HeaderValue> {
        let seconds = listener.rules.http3.as_ref()?.advertised_for?;
        if self.stage.get() != ListenerStage::Serve || !listener.serves_http3() {
            return None;
        }
        let quic = self.quic.borrow();
        let quic = quic.get(&SocketKey::of(listener)).filter(|quic| quic.endpoint.is_open())?;
        quic.advertise(seconds)
    }

    /// Closes what is left at the end of the process, and waits until clients could receive the message.
    pub(super) async fn close_quic(&self) {
        for quic in self.quic.take().into_values() {
            quic.endpoint.close();
            let _late = tokio::time::timeout(FAREWELL_MAX, quic.endpoint.wait_idle()).await;
        }
    }
}

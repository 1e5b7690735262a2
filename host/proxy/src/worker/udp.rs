//! UDP ports that a gateway carries unread: a worker's sockets, and the sessions that their datagrams begin.

use super::admit::Admission;
use super::udp_sessions::{REFUSED_FOR, UdpSessions};
use super::{ListenerWay, OpenConnection, Worker};
use crate::body_budget::owner;
use crate::connection::Connection;
use crate::exchange::ExchangeState;
use crate::generation::SocketKey;
use crate::tcp::{ConnectionEnds, TcpConnection};
use crate::tcp_counts::{OpenTcp, TcpFull};
use crate::tcp_refusal::TcpRefusal;
use crate::udp::{self, UdpEnd};
use crate::udp_counts::{DropReason, UdpCounts};
use crate::udp_session::UdpSession;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tamis_transport::{BoundUdp, ConnectionInfo, ListenerStage, Shutdown, UdpPort};

/// The longest datagram, and more.
const ROOM: usize = 64 * 1024;
/// Datagrams that are read before the other tasks of the worker do something.
const TURN: usize = 64;

/// A session that may begin.
struct UdpOpening {
    name: String,
    connection: Connection,
    info: ConnectionInfo,
    shutdown: Shutdown,
    opening: Box<TcpConnection>,
    /// Its place among those of the listener.
    open: OpenTcp,
}

impl Worker {
    /// Reads from the sockets of UDP ports.
    pub(super) fn serve_ports(self: &Rc<Self>, key: &SocketKey, sockets: Vec<BoundUdp>) {
        let (key, sessions) = (Rc::new(key.clone()), Rc::<UdpSessions>::default());
        let mut reading = Vec::new();
        for socket in sockets {
            match socket.into_port() {
                Ok(port) => {
                    let (worker, key) = (Rc::clone(self), Rc::clone(&key));
                    let read = worker.read_port(key, Rc::new(port), Rc::clone(&sessions));
                    reading.push(tokio::task::spawn_local(read).abort_handle());
                }
                Err(error) => {
                    let address = key.address();
                    tracing::error!(%address, %error, "a UDP socket cannot be used");
                }
            }
        }
        self.reading.borrow_mut().insert((*key).clone(), reading);
    }

    /// Reads until it is aborted. Its sessions may go on to answer their clients then.
    async fn read_port(
        self: Rc<Self>,
        key: Rc<SocketKey>,
        port: Rc<UdpPort>,
        sessions: Rc<UdpSessions>,
    ) {
        let mut room = vec![0; ROOM];
        loop {
            if let Err(error) = port.readable().await {
                tracing::error!(address = %key.address(), %error, "a UDP socket cannot be read");
                return;
            }
            for _ in 0..TURN {
                match port.receive(&mut room) {
                    Ok(Some((length, client))) => {
                        let datagram = room.get(..length).unwrap_or_default();
                        self.take_datagram((&key, &port, &sessions), client, datagram);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(address = %key.address(), %error, "a datagram is lost");
                        break;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Gives a datagram to the session of its client, the one that is there or a new one.
    fn take_datagram(
        self: &Rc<Self>,
        place: (&Rc<SocketKey>, &Rc<UdpPort>, &Rc<UdpSessions>),
        client: SocketAddr,
        datagram: &[u8],
    ) {
        let (_, _, sessions) = place;
        if sessions.find(client).is_some_and(|session| session.take(datagram)) {
            return;
        }
        if let Some(session) = self.begin_session(place, client) {
            // A new session is not over.
            let _taken = session.take(datagram);
        }
    }

    /// Begins a session, if it may.
    fn begin_session(
        self: &Rc<Self>,
        (key, port, sessions): (&Rc<SocketKey>, &Rc<UdpPort>, &Rc<UdpSessions>),
        client: SocketAddr,
    ) -> Option<Rc<UdpSession>> {
        let state = self.state();
        let name = state.listeners_of(key).next()?.name.clone();
        drop(state);
        let (shared, counts) = (Arc::clone(&self.shared), self.shared.udp.of(&name));
        let begun = self.admit_session((key, sessions, &counts), name, client)?;
        let UdpOpening { name, connection, info, shutdown, opening, open } = begun;
        let session =
            Rc::new(UdpSession::new(client, port, &counts, &self.waiting_room, shared.clock));
        let place = sessions.add(client, &session);
        shared.connections.fetch_add(1, Ordering::Relaxed);
        shared.connections_total.fetch_add(1, Ordering::Relaxed);
        let counted = OpenConnection(Arc::clone(&shared));
        let (worker, served) = (Rc::clone(self), Rc::clone(&session));
        drop(tokio::task::spawn_local(async move {
            let _until_its_end = (place, counted, open);
            let (judged, state) = (Rc::clone(&opening.chain), worker.followed.subscribe());
            let ends = ConnectionEnds {
                shutdown,
                is_served: || worker.state().listener(&name).is_some(),
                refused: worker.refused_later(judged, &connection, &info, state),
            };
            let (idle, mut swapped) = (opening.rules.idle_timeout, worker.followed.subscribe());
            match udp::serve(&served, *opening, &shared, ends).await {
                UdpEnd::Over => {}
                // Until then its datagrams are dropped: each would be refused, and recorded.
                UdpEnd::Refused => tokio::time::sleep(REFUSED_FOR).await,
                // Chosen again, it would come to another backend, whose share is smaller.
                UdpEnd::Nowhere => tokio::select! {
                    () = udp::silent(&served, idle) => {}
                    _ = swapped.changed() => {}
                },
            }
        }));
        Some(session)
    }

    /// Decides whether a session may begin, and counts and records why not. The bounds come first: hooks are asked about no session
    /// that there is no place for.
    fn admit_session(
        &self,
        (key, sessions, counts): (&SocketKey, &UdpSessions, &Arc<UdpCounts>),
        name: String,
        client: SocketAddr,
    ) -> Option<UdpOpening> {
        let now = self.shared.clock.now();
        if sessions.is_refused(client, now) {
            counts.note_dropped(DropReason::Refused);
            return None;
        }
        let shutdown = self.shutdown_of(ListenerWay::Datagrams, key, &name);
        let shutdown = shutdown.filter(|_| self.stage.get() != ListenerStage::End);
        let Some(shutdown) = shutdown else {
            counts.note_dropped(DropReason::Draining);
            return None;
        };
        let (local, identity) = (key.address().clone(), None);
        let info = ConnectionInfo { sender: Some(client), local, identity };
        let connection = Connection::new(self.id(), &name, &info);
        let open = self.place_of_session(&name, counts, &connection);
        let open = match open {
            Ok(open) => open,
            Err(full) => {
                counts.note_dropped(DropReason::Full);
                sessions.refuse(client, now);
                self.record_refusal(sessions, || {
                    let Admission::Tcp(opening) = self.admission(&name, &connection, &info) else {
                        return None;
                    };
                    let most = opening.rules.max_connections;
                    let decision = Err(TcpRefusal::full_of_sessions(full, most));
                    Some(TcpConnection { decision, ..*opening })
                });
                return None;
            }
        };
        let refuse = || {
            counts.note_dropped(DropReason::Refused);
            sessions.refuse(client, now);
        };
        match self.admission(&name, &connection, &info) {
            Admission::Tcp(opening) if opening.decision.is_ok() => {
                Some(UdpOpening { name, connection, info, shutdown, opening, open })
            }
            Admission::Tcp(opening) => {
                refuse();
                self.record_refusal(sessions, || Some(*opening));
                None
            }
            Admission::Serve(_) | Admission::Close | Admission::Tunnel(_) => {
                refuse();
                None
            }
        }
    }

    /// A place for a session among those of its listener, and of the proxy.
    fn place_of_session(
        &self,
        name: &str,
        counts: &UdpCounts,
        connection: &Connection,
    ) -> Result<OpenTcp, TcpFull> {
        if self.shared.connections.load(Ordering::Relaxed) >= self.shared.max_connections {
            return Err(TcpFull::Listener);
        }
        let state = self.state();
        let rules = state.listener(name).and_then(|(listener, _)| listener.tcp.as_ref());
        let most = rules.map_or(0, |rules| rules.max_connections);
        let caller = owner(Some(&connection.sender_address));
        let caller: Option<Arc<str>> = caller.map(|address| address.to_string().into());
        counts.sessions.open(most, caller.as_ref())
    }

    /// Records a refusal, unless many were recorded just now.
    fn record_refusal(
        &self,
        sessions: &UdpSessions,
        refused: impl FnOnce() -> Option<TcpConnection>,
    ) {
        if !sessions.is_recorded(self.shared.clock.now()) {
            return;
        }
        let Some(TcpConnection { facts, chain, decision: Err(refusal), .. }) = refused() else {
            return;
        };
        refusal.end(ExchangeState::new(facts, &chain, &self.shared, None));
    }
}

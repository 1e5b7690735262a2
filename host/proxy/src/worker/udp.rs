//! UDP ports that a gateway carries unread: a worker's sockets, and the sessions that their datagrams begin.

use super::admit::{Admission, refuse_unasked};
use super::udp_refused::REFUSED_FOR;
use super::udp_sessions::{UdpSessions, WaitingPlace};
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
/// One that begins a session counts as so many: hooks are asked about it.
const SESSION_WEIGHT: usize = 8;

/// A session that begins if the hooks allow it.
struct UdpBeginning {
    name: String,
    client: SocketAddr,
    connection: Connection,
    info: ConnectionInfo,
    shutdown: Shutdown,
    /// Its place among those of the listener.
    open: OpenTcp,
    /// Its place among those that wait for hooks that take long.
    waiting: Option<WaitingPlace>,
}

impl Worker {
    /// Reads from the sockets of UDP ports.
    pub(super) fn serve_ports(self: &Rc<Self>, key: &SocketKey, sockets: Vec<BoundUdp>) {
        let (key, sessions) = (Rc::new(key.clone()), Rc::<UdpSessions>::default());
        let mut reading = Vec::new();
        for socket in sockets {
            let own = socket.local_address().map(|it| self.shared.own_udp.listener(it));
            match own.and_then(|own| Ok((own, socket.into_port()?))) {
                Ok((own, port)) => {
                    let (worker, key) = (Rc::clone(self), Rc::clone(&key));
                    let read = worker.read_port(key, Rc::new(port), Rc::clone(&sessions));
                    let read = async move {
                        let _until_its_end = own;
                        read.await;
                    };
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
            let mut turn = TURN;
            while turn > 0 {
                match port.receive(&mut room) {
                    Ok(Some((length, client))) => {
                        let datagram = room.get(..length).unwrap_or_default();
                        let weight = self.take_datagram((&key, &port, &sessions), client, datagram);
                        turn = turn.saturating_sub(weight);
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

    /// Gives a datagram to the session of its client, the one that is there or a new one. Returns as how many it counts.
    fn take_datagram(
        self: &Rc<Self>,
        place: (&Rc<SocketKey>, &Rc<UdpPort>, &Rc<UdpSessions>),
        client: SocketAddr,
        datagram: &[u8],
    ) -> usize {
        let (_, _, sessions) = place;
        if sessions.find(client).is_some_and(|session| session.take(datagram)) {
            return 1;
        }
        let Some(session) = self.begin_session(place, client) else { return 1 };
        // A new session is not over.
        let _taken = session.take(datagram);
        SESSION_WEIGHT
    }

    /// Begins a session, if there is a place for it: what its client sends waits until the hooks were asked.
    fn begin_session(
        self: &Rc<Self>,
        (key, port, sessions): (&Rc<SocketKey>, &Rc<UdpPort>, &Rc<UdpSessions>),
        client: SocketAddr,
    ) -> Option<Rc<UdpSession>> {
        let state = self.state();
        let name = state.listeners_of(key).next()?.name.clone();
        drop(state);
        let counts = self.shared.udp.of(&name);
        let beginning = self.place_session((key, sessions, &counts), name, client)?;
        let clock = self.shared.clock;
        let session = Rc::new(UdpSession::new(client, port, &counts, &self.waiting_room, clock));
        let place = sessions.add(client, &session);
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        let counted = OpenConnection(Arc::clone(&self.shared));
        let (worker, served, sessions) =
            (Rc::clone(self), Rc::clone(&session), Rc::clone(sessions));
        drop(tokio::task::spawn_local(async move {
            let _until_its_end = (place, counted);
            worker.serve_session(&served, &sessions, beginning).await;
        }));
        Some(session)
    }

    /// Serves a session to its end, if the hooks allow it.
    async fn serve_session(
        &self,
        session: &UdpSession,
        sessions: &UdpSessions,
        beginning: UdpBeginning,
    ) {
        let UdpBeginning { name, client, connection, info, shutdown, open, waiting } = beginning;
        let (_open, shared) = (open, &self.shared);
        self.admission_turns(&name).await;
        let admission = self.admission(&name, &connection, &info);
        drop(waiting);
        let opening = match admission {
            Admission::Tcp(opening) if opening.decision.is_ok() => opening,
            refused => {
                session.refuse();
                sessions.refuse(client, shared.clock.now());
                if let Admission::Tcp(opening) = refused {
                    self.record_refusal(sessions, || Some(*opening));
                }
                return;
            }
        };
        shared.connections_total.fetch_add(1, Ordering::Relaxed);
        let (judged, state) = (Rc::clone(&opening.chain), self.followed.subscribe());
        let ends = ConnectionEnds {
            shutdown,
            is_served: || self.state().listener(&name).is_some(),
            refused: self.refused_later(judged, &connection, &info, state),
        };
        let (idle, mut swapped) = (opening.rules.idle_timeout, self.followed.subscribe());
        match udp::serve(session, *opening, shared, ends).await {
            UdpEnd::Over => {}
            // Until then its datagrams are dropped: each would be refused, and recorded.
            UdpEnd::Refused => tokio::time::sleep(REFUSED_FOR).await,
            // Chosen again, it would come to another backend, whose share is smaller.
            UdpEnd::Nowhere => tokio::select! {
                () = udp::silent(session, idle) => {}
                _ = swapped.changed() => {}
            },
        }
    }

    /// A place for a session; counts and records why there is none. The bounds come first: hooks are asked about no session that
    /// there is no place for.
    fn place_session(
        &self,
        (key, sessions, counts): (&SocketKey, &Rc<UdpSessions>, &Arc<UdpCounts>),
        name: String,
        client: SocketAddr,
    ) -> Option<UdpBeginning> {
        if self.shared.own_udp.has(client) {
            counts.note_dropped(DropReason::Loop);
            return None;
        }
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
        let waits = self.state().listener(&name).is_some_and(|(_, chain)| chain.connects_slowly());
        let waiting = waits.then(|| sessions.wait(client));
        if let Some(None) = waiting {
            counts.note_dropped(DropReason::Waiting);
            return None;
        }
        let waiting = waiting.flatten();
        let open = match self.place_of_session(&name, counts, &connection) {
            Ok(open) => open,
            Err(full) => {
                counts.note_dropped(DropReason::Full);
                sessions.refuse(client, now);
                self.record_refusal(sessions, || self.full(&name, full, (&connection, &info)));
                return None;
            }
        };
        Some(UdpBeginning { name, client, connection, info, shutdown, open, waiting })
    }

    /// A session that there is no place for. No hook is asked about it.
    fn full(
        &self,
        name: &str,
        full: TcpFull,
        by: (&Connection, &ConnectionInfo),
    ) -> Option<TcpConnection> {
        let state = self.state();
        let (listener, chain) = state.listener(name)?;
        let rules = listener.tcp.as_ref()?;
        let refusal = TcpRefusal::full_of_sessions(full, rules.max_connections);
        Some(refuse_unasked((chain, rules), self.id(), by, refusal))
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

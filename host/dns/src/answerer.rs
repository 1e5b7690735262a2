//! Sockets on a loopback address, and the thread that answers there.

use crate::forward::{self, Transport, read_framed, write_framed};
use crate::resolvers::{CurrentResolvers, Resolvers};
use crate::zone::{Zone, response};
use hickory_proto::op::{Message, ResponseCode};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tamis_ambient::{Clock, Random};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::LocalSet;

/// Questions that wait for a resolver at once; beyond them the answer is SERVFAIL.
const WAITING_MAX: usize = 512;
/// Connections at once; beyond them a new one is closed.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may be silent, and one question may take to arrive.
const SILENCE: Duration = Duration::from_secs(10);
/// Largest question over UDP: with one name it needs no more.
const QUESTION_MAX: usize = 4_096;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Why nobody answers at an address.
#[derive(Debug, Error)]
pub enum AnswererError {
    /// From elsewhere, anybody could ask.
    #[error(
        "DNS is answered on loopback addresses only, and {0} is not one: write 127.0.0.1:15053"
    )]
    NotLoopback(SocketAddr),
    /// The system refuses the address.
    #[error("cannot answer DNS at {address}: stop what listens there, or choose another port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// Answers at one address, until it is dropped.
pub struct Answerer {
    address: SocketAddr,
    zone: Arc<Mutex<Arc<Zone>>>,
    /// Dropped, it ends the thread.
    _end: oneshot::Sender<()>,
}

impl Answerer {
    /// Answers from now on at `address`, over UDP and TCP.
    ///
    /// Another process of the same user may answer there as well, as when one takes over from another.
    ///
    /// # Errors
    /// [`AnswererError`].
    pub fn start(
        address: SocketAddr,
        zone: Zone,
        resolvers: Resolvers,
        (clock, random): (Clock, Random),
    ) -> Result<Self, AnswererError> {
        if !address.ip().is_loopback() {
            return Err(AnswererError::NotLoopback(address));
        }
        let failed = |source| AnswererError::Listen { address, source };
        let datagrams = bound(address, Type::DGRAM).map_err(failed)?;
        // With port 0 both have the one that the system chose first.
        let address = datagrams.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
        let connections = bound(address, Type::STREAM).map_err(failed)?;
        connections.listen(BACKLOG).map_err(failed)?;
        let zone = Arc::new(Mutex::new(Arc::new(zone)));
        let (end, ended) = oneshot::channel();
        let shared = Arc::clone(&zone);
        let run = move || {
            let sockets = (datagrams.into(), connections.into());
            let asked = (shared, resolvers, clock, random);
            if let Err(error) = serve(sockets, asked, ended) {
                tracing::error!(%address, %error, "DNS is not answered any more");
            }
        };
        std::thread::Builder::new().name("tamis-dns".to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { address, zone, _end: end })
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from another zone from now on.
    pub fn set(&self, zone: Zone) {
        *self.zone.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(zone);
    }
}

fn bound(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let protocol = if kind == Type::DGRAM { Protocol::UDP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_port(true)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What all questions of an address share.
struct AnswererState {
    zone: Arc<Mutex<Arc<Zone>>>,
    resolvers: CurrentResolvers,
    random: Random,
    waiting: Semaphore,
}

fn serve(
    (datagrams, connections): (std::net::UdpSocket, std::net::TcpListener),
    (zone, resolvers, clock, random): (Arc<Mutex<Arc<Zone>>>, Resolvers, Clock, Random),
    ended: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let shared = Rc::new(AnswererState {
            zone,
            resolvers: CurrentResolvers::new(resolvers, clock),
            random,
            waiting: Semaphore::new(WAITING_MAX),
        });
        let datagrams = Rc::new(UdpSocket::from_std(datagrams)?);
        let connections = TcpListener::from_std(connections)?;
        tokio::select! {
            () = answer_datagrams(&datagrams, &shared) => {}
            () = answer_connections(&connections, &shared) => {}
            _ = ended => {}
        }
        Ok(())
    })
}

async fn answer_datagrams(socket: &Rc<UdpSocket>, shared: &Rc<AnswererState>) {
    let mut room = vec![0; QUESTION_MAX];
    loop {
        let (length, from) = match socket.recv_from(&mut room).await {
            Ok(received) => received,
            // The error of an earlier answer, such as that its application is gone.
            Err(error) => {
                tracing::debug!(%error, "a question could not be read");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let question = room.get(..length).unwrap_or_default().to_vec();
        let (socket, shared) = (Rc::clone(socket), Rc::clone(shared));
        drop(tokio::task::spawn_local(async move {
            if let Some(answer) = shared.answer(&question, Transport::Udp).await {
                // Whoever asked may be gone.
                let _ = socket.send_to(&answer, from).await;
            }
        }));
    }
}

async fn answer_connections(listener: &TcpListener, shared: &Rc<AnswererState>) {
    let places = Rc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept failed, trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (shared, places) = (Rc::clone(shared), Rc::clone(&places));
        drop(tokio::task::spawn_local(async move {
            let Ok(_place) = places.try_acquire() else { return };
            answer_connection(stream, &shared).await;
        }));
    }
}

/// Answers the questions of a connection, one after the other.
async fn answer_connection(mut stream: TcpStream, shared: &AnswererState) {
    while let Ok(Ok(question)) = tokio::time::timeout(SILENCE, read_framed(&mut stream)).await {
        let Some(answer) = shared.answer(&question, Transport::Tcp).await else { return };
        let written = tokio::time::timeout(SILENCE, write_framed(&mut stream, &answer)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

impl AnswererState {
    /// The answer to a message; `None`: it is none that could be answered.
    async fn answer(&self, octets: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let asked = Message::from_vec(octets).ok()?;
        let zone = Arc::clone(&self.zone.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(answer) = zone.answer(&asked) {
            return answer.to_vec().ok();
        }
        let failed = || {
            let mut answer = response(&asked);
            answer.metadata.response_code = ResponseCode::ServFail;
            answer.to_vec().ok()
        };
        let Ok(_turn) = self.waiting.try_acquire() else { return failed() };
        let resolvers = self.resolvers.list();
        let answer = forward::ask((octets, &asked), &resolvers, transport, self.random).await;
        answer.or_else(failed)
    }
}

#[cfg(test)]
mod tests;

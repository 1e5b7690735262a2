//! UDP sockets: one for each worker on the port of a listener, and one for each session on its way to an upstream.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;

use crate::listen::ListenError;

/// What the kernel should keep of packets that a worker has not read yet, in bytes; it may keep less.
const RECEIVE_BYTES: usize = 2 * 1024 * 1024;

/// A bound UDP socket that may still move to its worker's thread.
#[derive(Debug)]
pub struct BoundUdp(UdpSocket);

impl BoundUdp {
    /// The bound address.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// A duplicate of the socket: it stays open until both are closed.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Registers the socket with the current tokio runtime, for datagrams of any client.
    ///
    /// # Errors
    /// The runtime cannot watch the socket.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn into_port(self) -> io::Result<UdpPort> {
        tokio::net::UdpSocket::from_std(self.0).map(UdpPort)
    }

    pub(crate) fn into_socket(self) -> UdpSocket {
        self.0
    }

    /// A socket that another process bound; one that is connected, or is none of UDP, is refused.
    pub(crate) fn of_other(socket: Socket) -> io::Result<Self> {
        if socket.r#type()? != Type::DGRAM || socket.peer_addr().is_ok() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no UDP port"));
        }
        socket.set_nonblocking(true)?;
        let socket = Self(socket.into());
        // Fails for a socket of another family.
        socket.local_address().map(|_| socket)
    }
}

impl AsFd for BoundUdp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The socket of a listener in its worker.
#[derive(Debug)]
pub struct UdpPort(tokio::net::UdpSocket);

impl UdpPort {
    /// Waits until a datagram may be there. Cancel-safe.
    ///
    /// # Errors
    /// The runtime ends.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// The next datagram, as its length and its sender; `None`: none is there. What does not fit into `room` is cut off.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn receive(&self, room: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        or_none(self.0.try_recv_from(room))
    }

    /// Sends a datagram to a client; `false`: the system has no room for it now.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn send(&self, datagram: &[u8], client: SocketAddr) -> io::Result<bool> {
        // The runtime would first wait to hear that the socket is writable, which sockets of UDP are.
        let sent = SockRef::from(&self.0).send_to(datagram, &client.into());
        or_none(sent).map(|sent| sent.is_some())
    }
}

/// The socket of one session, which takes datagrams of its upstream alone.
#[derive(Debug)]
pub struct UdpPeer(tokio::net::UdpSocket);

impl UdpPeer {
    /// A socket with a port of its own, which the system chooses at random, to that address.
    ///
    /// # Errors
    /// The operating system's error: there is no port or descriptor left, or no way to the address.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        // From here on the kernel drops what comes from elsewhere.
        socket.connect(address)?;
        tokio::net::UdpSocket::from_std(socket).map(Self)
    }

    /// The address from which it sends.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Waits until a datagram may be there. Cancel-safe.
    ///
    /// # Errors
    /// What the network reported meanwhile: `ConnectionRefused` when nobody listens there. Or the runtime ends.
    pub async fn readable(&self) -> io::Result<()> {
        let ready = self.0.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_error() {
            // The runtime waits for the next report once it heard that there is none.
            let none = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _none = self.0.try_io(Interest::ERROR, none);
            if let Some(error) = self.0.take_error()? {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The length of the next datagram; `None`: none is there. What does not fit into `room` is cut off.
    ///
    /// # Errors
    /// The operating system's error; `ConnectionRefused` when nobody listens there.
    pub fn receive(&self, room: &mut [u8]) -> io::Result<Option<usize>> {
        or_none(self.0.try_recv(room))
    }

    /// Sends a datagram; `false`: the system has no room for it now.
    ///
    /// # Errors
    /// The operating system's error; `ConnectionRefused` when nobody listened there for an earlier one.
    pub fn send(&self, datagram: &[u8]) -> io::Result<bool> {
        or_none(SockRef::from(&self.0).send(datagram)).map(|sent| sent.is_some())
    }
}

fn or_none<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Binds one UDP socket for each worker on the same address, as [`bind`](crate::listen::bind) does for TCP: a port that another
/// process has is an error. The kernel gives each of them the datagrams of some clients, always the same. With port 0 all of them get the port that the system chose for the first.
///
/// # Errors
/// [`ListenError`] names the address and the way out.
pub fn bind_udp(address: SocketAddr, workers: NonZeroUsize) -> Result<Vec<BoundUdp>, ListenError> {
    bind(address, workers).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::UdpInUse { address },
        io::ErrorKind::PermissionDenied => ListenError::UdpDenied { address },
        _ => ListenError::UdpBind { address, source },
    })
}

fn bind(wanted: SocketAddr, workers: NonZeroUsize) -> io::Result<Vec<BoundUdp>> {
    // Without SO_REUSEPORT this fails when anybody has the port, even with SO_REUSEPORT.
    let alone = socket(wanted, false)?;
    if workers == NonZeroUsize::MIN {
        return Ok(vec![BoundUdp(alone)]);
    }
    drop(alone);
    let mut address = wanted;
    let mut sockets = Vec::with_capacity(workers.get());
    for _ in 0..workers.get() {
        let socket = socket(address, true)?;
        address = socket.local_addr()?;
        sockets.push(BoundUdp(socket));
    }
    Ok(sockets)
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // With less room packets are lost sooner, and sent again.
    let _less = socket.set_recv_buffer_size(RECEIVE_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_port_and_nobody_else_gets_it() {
        let two = NonZeroUsize::new(2).unwrap();
        let held = bind_udp("127.0.0.1:0".parse().unwrap(), two).unwrap();
        let address = held[0].local_address().unwrap();
        assert_eq!(held[1].local_address().unwrap(), address);
        for workers in [two, NonZeroUsize::MIN] {
            let error = bind_udp(address, workers).unwrap_err();
            assert!(matches!(error, ListenError::UdpInUse { .. }), "{error}");
            assert!(error.to_string().starts_with(&format!("UDP {address} is already in use")));
        }
        drop(held);
        bind_udp(address, NonZeroUsize::MIN).unwrap();
    }

    #[tokio::test]
    async fn a_session_hears_its_upstream_alone_and_learns_that_nobody_is_there() {
        let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = UdpPeer::connect(upstream.local_addr().unwrap()).unwrap();
        assert!(peer.send(b"asked").unwrap());
        let mut room = [0; 16];
        let (length, from) = upstream.recv_from(&mut room).unwrap();
        assert_eq!(&room[..length], b"asked");
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(b"forged", from).unwrap();
        upstream.send_to(b"answered", from).unwrap();
        let received = async |room: &mut [u8]| loop {
            peer.readable().await?;
            if let Some(length) = peer.receive(room).transpose() {
                return length;
            }
        };
        let length = received(&mut room).await.unwrap();
        assert_eq!(&room[..length], b"answered", "what the stranger sent came before");
        assert_eq!(peer.receive(&mut room).unwrap(), None);
        drop(upstream);
        assert!(peer.send(b"lost").unwrap(), "the first one is sent all the same");
        let error = received(&mut room).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_port_serves_many_clients_and_its_copy_is_the_same_port() {
        let bound = bind_udp("127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN).unwrap().remove(0);
        let address = bound.local_address().unwrap();
        let copy = bound.try_clone().unwrap();
        let port = bound.into_port().unwrap();
        drop(copy.into_socket());
        let clients = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        for (at, client) in clients.iter().enumerate() {
            client.send_to(&[b'0' + u8::try_from(at).unwrap()], address).unwrap();
        }
        let mut room = [0; 1];
        for _ in &clients {
            let (length, from) = loop {
                port.readable().await.unwrap();
                if let Some(received) = port.receive(&mut room).unwrap() {
                    break received;
                }
            };
            assert!(port.send(&room[..length], from).unwrap());
        }
        for (at, client) in clients.iter().enumerate() {
            let (length, from) = client.recv_from(&mut room).unwrap();
            assert_eq!((length, from, usize::from(room[0] - b'0')), (1, address, at));
        }
    }

    #[test]
    fn what_another_process_hands_over_is_a_port_of_udp() {
        let bound = bind_udp("127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN).unwrap().remove(0);
        let address = bound.local_address().unwrap();
        let taken = BoundUdp::of_other(bound.into_socket().into()).unwrap();
        assert_eq!(taken.local_address().unwrap(), address);
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect(address).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let unix = std::os::unix::net::UnixDatagram::bind(folder.path().join("s")).unwrap();
        for other in [Socket::from(connected), listener.into(), unix.into()] {
            assert!(BoundUdp::of_other(other).is_err());
        }
    }
}

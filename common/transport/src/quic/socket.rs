//! UDP sockets, one for each worker, on the port of a listener.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;

use socket2::{Domain, Protocol, Socket, Type};

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

    pub(super) fn into_socket(self) -> UdpSocket {
        self.0
    }
}

/// Binds one UDP socket for each worker on the same address, as [`bind`](crate::listen::bind) does for TCP: a port that another
/// process has is an error. With port 0 all of them get the port that the system chose for the first.
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
}

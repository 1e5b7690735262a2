//! Datagrams to an endpoint: the socket of one session, which has its place among the endpoint's connections.

use crate::attempt::Attempt;
use crate::pool::place::ConnectionPlace;
use crate::send::SendFailure;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tamis_exchange::Cause;
use tamis_transport::{Address, UdpPeer, causes};

/// The socket of a session. It keeps its place among the endpoint's connections until it is dropped.
pub struct UpstreamDatagrams {
    peer: UdpPeer,
    _place: ConnectionPlace,
}

impl UpstreamDatagrams {
    /// The address from which it sends.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.peer.local_address()
    }

    /// Waits until a datagram of the endpoint may be there. Cancel-safe.
    ///
    /// # Errors
    /// What the network reported meanwhile: `ConnectionRefused` when nobody listens there. Or the runtime ends.
    pub async fn readable(&self) -> io::Result<()> {
        self.peer.readable().await
    }

    /// The length of the next datagram; `None`: none is there.
    ///
    /// # Errors
    /// The operating system's error; `ConnectionRefused` when nobody listens there.
    pub fn receive(&self, room: &mut [u8]) -> io::Result<Option<usize>> {
        self.peer.receive(room)
    }

    /// Sends a datagram; `false`: the system has no room for it now.
    ///
    /// # Errors
    /// The operating system's error; `ConnectionRefused` when nobody listened there for an earlier one.
    pub fn send(&self, datagram: &[u8]) -> io::Result<bool> {
        self.peer.send(datagram)
    }
}

impl Attempt {
    /// Opens a socket of its own for datagrams, in the share of its caller if that is known. Nothing is sent yet, so that nobody may be there shows later.
    ///
    /// # Errors
    /// The endpoint has all its connections in use, or the caller its share of them; it is no IP address, or is reached over TLS; or the system has no socket
    /// left.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn open_datagrams(
        &self,
        caller: Option<&Arc<str>>,
    ) -> Result<UpstreamDatagrams, SendFailure> {
        let failed = |detail| SendFailure::untouched(Cause::ConnectFailure, detail);
        let address = match &self.pool.address {
            Address::Tcp(address) if !self.pool.is_secure() => *address,
            other => return Err(failed(format!("{other} takes no datagrams"))),
        };
        let place = ConnectionPlace::take_for(&self.pool, caller)?;
        let peer = UdpPeer::connect(address).map_err(|error| failed(causes(&error)))?;
        Ok(UpstreamDatagrams { peer, _place: place })
    }
}

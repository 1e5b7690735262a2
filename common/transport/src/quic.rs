//! QUIC under HTTP/3 (RFC 9000): the sockets of a port, which handshakes are answered, and by which listener.
//!
//! Each worker has a socket of its own, and the kernel gives it the packets of a client by the addresses and ports of both
//! sides. A connection that moved to another address might be another worker's then, so none may move (§5.1, §9): its client
//! begins a new one. Nothing is answered before a handshake is complete (no 0-RTT), and no client is sent more than three times what it
//! sent before its address is known to be its own (§8.1).

mod admission;
mod connection;
mod endpoint;
mod session;

pub use self::connection::QuicConnection;
pub(crate) use self::endpoint::SEND_BYTES;
pub use self::endpoint::{QuicEndpoint, QuicHandshake};
pub use self::session::{ChooseListener, QuicListener};

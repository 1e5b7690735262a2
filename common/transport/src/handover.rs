//! Hands listening sockets and UDP ports from one process to its successor, so that no connection is refused in between, and no
//! datagram is lost.
//!
//! For a while both processes share the sockets: either of them accepts the connections in their queues.
//! The successor reports when it serves, and then the old process closes its copies.
//!
//! Messages go over a unix socket that preserves their boundaries (`SOCK_SEQPACKET`): `take` is the
//! request, each answer is a socket with its listener's name and address, `end` ends the list, `serving`
//! reports that the old process may leave. Whoever can open the socket's file may ask, so it must be in a
//! private folder of its user.

mod descriptor;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::address::Address;
use crate::listen::BoundListener;
use crate::udp::BoundUdp;

/// Time limit for the other side.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time limit for a successor to serve: it first compiles and tests its filters.
const START: Duration = Duration::from_secs(600);
/// The longest message in bytes.
const MESSAGE_MAX: usize = 4_096;
/// Most sockets accepted: far more than listeners times workers.
const SOCKETS_MAX: usize = 16_384;
const BACKLOG: i32 = 8;

const TAKE: &[u8] = b"take";
const END: &[u8] = b"end";
const SERVING: &[u8] = b"serving";

/// A socket that passes to another process.
#[derive(Debug)]
pub enum HandedSocket {
    /// One that accepts connections.
    Listener(BoundListener),
    /// One that takes datagrams.
    Udp(BoundUdp),
}

impl HandedSocket {
    /// A duplicate of the socket: it stays open until both are closed.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Listener(listener) => listener.try_clone().map(Self::Listener),
            Self::Udp(port) => port.try_clone().map(Self::Udp),
        }
    }
}

/// A socket with its listener's name.
#[derive(Debug)]
pub struct NamedSocket {
    /// The listener's name; without a line break.
    pub name: String,
    /// The configured address; with port 0 it differs from the bound one.
    pub address: Address,
    /// The socket.
    pub socket: HandedSocket,
}

/// The socket at which successors ask.
#[derive(Debug)]
pub struct HandoverSocket(Socket);

impl HandoverSocket {
    /// Listens at `path`. A socket that a killed process left there is replaced: process ids are reused, and in a
    /// container the id is the same after each start.
    ///
    /// # Errors
    /// `AddrInUse` when a process listens there or when there is something other than a socket; otherwise the
    /// operating system's error.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        // Its file takes this mode, whatever the umask says.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        if let Err(error) = socket.bind(&address) {
            if error.kind() != io::ErrorKind::AddrInUse || !is_left_behind(path, &address)? {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        socket.listen(BACKLOG)?;
        Ok(Self(socket))
    }

    /// Waits for a successor and sends it the result of `sockets`; returns when it serves. Blocks.
    ///
    /// # Errors
    /// The successor failed before it served: the caller continues as before.
    pub fn give(&self, sockets: impl FnOnce() -> io::Result<Vec<NamedSocket>>) -> io::Result<()> {
        let (stream, _) = self.0.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        expect(&stream, TAKE)?;
        for one in sockets()? {
            let text = format!("{}\n{}", one.name, one.address);
            descriptor::send(&stream, text.as_bytes(), &one.socket)?;
        }
        stream.send(END)?;
        stream.set_read_timeout(Some(START))?;
        expect(&stream, SERVING)
    }
}

/// The old process, which waits for the report that its successor serves.
#[derive(Debug)]
pub struct Predecessor(Socket);

impl Predecessor {
    /// Asks the process at `path` for its sockets.
    ///
    /// # Errors
    /// No process listens there, or it does not send a list of sockets.
    pub fn ask(path: &Path) -> io::Result<(Self, Vec<NamedSocket>)> {
        let stream = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        stream.connect(&SockAddr::unix(path)?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.send(TAKE)?;
        let mut all = Vec::new();
        loop {
            let (message, socket) = descriptor::receive(&stream, MESSAGE_MAX)?;
            match socket {
                None if message == END => return Ok((Self(stream), all)),
                Some(socket) if all.len() < SOCKETS_MAX => all.push(handed(&message, socket)?),
                _ => return Err(unexpected()),
            }
        }
    }

    /// Reports that this process serves.
    ///
    /// # Errors
    /// The old process is already gone, which is fine.
    pub fn serving(self) -> io::Result<()> {
        self.0.send(SERVING).map(drop)
    }
}

/// Whether there is a socket on which no process listens.
fn is_left_behind(path: &Path, address: &SockAddr) -> io::Result<bool> {
    use std::os::unix::fs::FileTypeExt as _;
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let asked = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    // A full queue belongs to a process that lives, so there is no need to wait for it.
    asked.set_nonblocking(true)?;
    let refused = asked.connect(address);
    Ok(refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

fn handed(message: &[u8], socket: HandedSocket) -> io::Result<NamedSocket> {
    let text = std::str::from_utf8(message).map_err(|_| unexpected())?;
    let (name, address) = text.split_once('\n').ok_or_else(unexpected)?;
    let address = address.parse().map_err(|_| unexpected())?;
    Ok(NamedSocket { name: name.to_owned(), address, socket })
}

fn expect(stream: &Socket, message: &[u8]) -> io::Result<()> {
    let (said, _) = descriptor::receive(stream, MESSAGE_MAX)?;
    if said == message { Ok(()) } else { Err(unexpected()) }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other process does not hand over sockets")
}

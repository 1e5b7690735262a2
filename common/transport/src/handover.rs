//! Listening sockets go from one process to its successor, so that no connection is refused in between.
//!
//! Both processes have the same sockets for a while: what waits in their queues is accepted by the one or the other. The
//! successor says when it serves, and then the one before closes its copies.
//!
//! Messages go over a unix socket that keeps them apart (`SOCK_SEQPACKET`): `take` asks, each answer is a socket with its
//! listener's name and address, `end` ends them, `serving` says that the other may leave. Whoever may open the socket's
//! file may ask: it is to be in a folder of its user's own.

mod descriptor;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::address::Address;
use crate::listen::BoundListener;

/// How long the other side may think.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a successor may take until it serves: filters are compiled and tested before.
const START: Duration = Duration::from_secs(600);
/// The longest message in bytes.
const MESSAGE_MAX: usize = 4_096;
/// The most sockets that are taken: far more than listeners times workers.
const SOCKETS_MAX: usize = 16_384;
const BACKLOG: i32 = 8;

const TAKE: &[u8] = b"take";
const END: &[u8] = b"end";
const SERVING: &[u8] = b"serving";

/// A listening socket, and what it is for.
#[derive(Debug)]
pub struct Handed {
    /// The listener's name; without a line break.
    pub name: String,
    /// The address that was asked for, so with port 0 not the one it has.
    pub address: Address,
    /// The socket.
    pub socket: BoundListener,
}

/// Where successors ask.
#[derive(Debug)]
pub struct Giver(Socket);

impl Giver {
    /// Listens at `path`. A socket that a process left there when it was killed is replaced: a number of a process is
    /// given again, and in a container it is the same after each start.
    ///
    /// # Errors
    /// `AddrInUse` when a process listens there or when there is something other than a socket; else what the operating
    /// system reports.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
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

    /// Waits for a successor and gives it what `sockets` says; comes back when it serves. Blocks.
    ///
    /// # Errors
    /// When it does not come to serve: nothing has to change then.
    pub fn give(&self, sockets: impl FnOnce() -> io::Result<Vec<Handed>>) -> io::Result<()> {
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

/// A process that listens, and waits to be told that its successor serves.
#[derive(Debug)]
pub struct Predecessor(Socket);

impl Predecessor {
    /// Asks the process at `path` for its sockets.
    ///
    /// # Errors
    /// When nobody is there, or what it sends is no list of sockets.
    pub fn ask(path: &Path) -> io::Result<(Self, Vec<Handed>)> {
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

    /// Tells it that this process serves.
    ///
    /// # Errors
    /// When it is gone already, which is as good.
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
    // A queue that is full is one of a process that lives; it is not waited for.
    asked.set_nonblocking(true)?;
    let refused = asked.connect(address);
    Ok(refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

fn handed(message: &[u8], socket: BoundListener) -> io::Result<Handed> {
    let text = std::str::from_utf8(message).map_err(|_| unexpected())?;
    let (name, address) = text.split_once('\n').ok_or_else(unexpected)?;
    let address = address.parse().map_err(|_| unexpected())?;
    Ok(Handed { name: name.to_owned(), address, socket })
}

fn expect(stream: &Socket, message: &[u8]) -> io::Result<()> {
    let (said, _) = descriptor::receive(stream, MESSAGE_MAX)?;
    if said == message { Ok(()) } else { Err(unexpected()) }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other process does not hand sockets over")
}

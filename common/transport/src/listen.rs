//! Listening sockets, one per worker, and an accept loop that survives a lack of resources.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use thiserror::Error;

use crate::address::Address;
use crate::connect::PlainStream;

const BACKLOG: i32 = 4096;
/// Waits after a failed accept: they double up to the second value, so that a lack of descriptors does not
/// cost processor time and the worker recovers well within a second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// A bound, listening, non-blocking socket that may still move to its worker's thread.
#[derive(Debug)]
pub enum BoundListener {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// A socket registered with the runtime of the worker that accepts from it.
#[derive(Debug)]
pub enum SocketListener {
    /// TCP.
    Tcp(tokio::net::TcpListener),
    /// A unix socket.
    Unix(tokio::net::UnixListener),
}

/// Why listening on an address failed.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another process (or another listener of this one) uses the address.
    #[error(
        "{address} is already in use: stop the other process (`ss -lptn` names it), take over from it (`--take-over`, for a \
         proxy), or choose another address"
    )]
    InUse {
        /// The requested address.
        address: Address,
    },
    /// The operating system does not allow this user to use the address.
    #[error(
        "{address} needs more rights: choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE"
    )]
    Denied {
        /// The requested address.
        address: Address,
    },
    /// The path of a unix socket exists and is not a socket.
    #[error("{} exists and is not a socket: remove it or choose another path", path.display())]
    NotASocket {
        /// The requested path.
        path: PathBuf,
    },
    /// Another process uses the UDP port.
    #[error(
        "UDP {address} is already in use: stop the other process (`ss -lpun` names it), or choose another port"
    )]
    UdpInUse {
        /// The requested address.
        address: SocketAddr,
    },
    /// The operating system does not allow this user to use the UDP port.
    #[error(
        "UDP {address} needs more rights: choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE"
    )]
    UdpDenied {
        /// The requested address.
        address: SocketAddr,
    },
    /// The UDP port cannot be used for another reason.
    #[error(
        "cannot receive on UDP {address}: check that the address belongs to this machine, and that UDP is allowed"
    )]
    UdpBind {
        /// The requested address.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// Any other error; usually the address does not belong to this machine.
    #[error("cannot listen on {address}: check that the address belongs to this machine")]
    Bind {
        /// The requested address.
        address: Address,
        /// The operating system's error.
        source: io::Error,
    },
}

/// Binds one listening socket per worker on the same address.
///
/// TCP sockets of several workers share the port with `SO_REUSEPORT`; a test without it comes first, so
/// that a port held by another process is an error rather than silently shared (unless that process, of the
/// same user, tests at the same moment). A single worker's socket is not shared. With port 0 all workers
/// get the port that the system chose for the first. The path of a unix socket without a listening process
/// is reused.
///
/// # Errors
/// [`ListenError`] names the address and the way out.
pub fn bind(address: &Address, workers: NonZeroUsize) -> Result<Vec<BoundListener>, ListenError> {
    match address {
        Address::Tcp(wanted) => {
            bind_tcp(*wanted, workers).map_err(|source| explain(address, source))
        }
        Address::Unix(path) => {
            remove_stale(address, path)?;
            bind_unix(path, workers).map_err(|source| explain(address, source))
        }
    }
}

/// As [`bind`] for one worker; a unix socket is for the user of this process alone from its first moment, whatever the umask says.
/// Those who serve it still ask [`is_own_user`]: a folder may give others rights by its own rules.
///
/// # Errors
/// [`ListenError`] names the address and the way out.
pub fn bind_private(address: &Address) -> Result<BoundListener, ListenError> {
    let explained = |source| explain(address, source);
    match address {
        Address::Tcp(wanted) => {
            let socket = tcp_socket(*wanted, SocketSharing::Alone).map_err(explained)?;
            socket.listen(BACKLOG).map_err(explained)?;
            Ok(BoundListener::Tcp(socket.into()))
        }
        Address::Unix(path) => {
            remove_stale(address, path)?;
            bind_private_unix(path).map(BoundListener::Unix).map_err(explained)
        }
    }
}

/// Whether the process at the other end of a unix socket runs as the user of this one, or as root.
#[must_use]
pub fn is_own_user(stream: &tokio::net::UnixStream) -> bool {
    let (own, peer) = (tamis_private::effective_user(), stream.peer_cred());
    matches!((own, peer.map(|peer| peer.uid())), (Ok(own), Ok(peer)) if peer == own || peer == 0)
}

/// Gives each of `workers` at least one of `sockets`, and uses all of them: connections wait in the queue
/// of each.
///
/// Another process may hand over more or fewer sockets than there are workers here. With fewer sockets,
/// several workers accept from the same one.
///
/// # Errors
/// The system has no descriptor left.
pub fn spread(
    sockets: Vec<BoundListener>,
    workers: NonZeroUsize,
) -> io::Result<Vec<Vec<BoundListener>>> {
    let mut shares: Vec<Vec<BoundListener>> = (0..workers.get()).map(|_| Vec::new()).collect();
    let there = sockets.len();
    let mut more = Vec::new();
    for index in there..workers.get() {
        // `there` is not 0 wherever this yields a socket: otherwise there is nothing to distribute.
        if let Some(socket) = index.checked_rem(there).and_then(|index| sockets.get(index)) {
            more.push(socket.try_clone()?);
        }
    }
    let mut shares_in_turn = (0..workers.get()).cycle();
    for socket in sockets.into_iter().chain(more) {
        let share = shares_in_turn.next().and_then(|index| shares.get_mut(index));
        if let Some(share) = share {
            share.push(socket);
        }
    }
    Ok(shares)
}

impl BoundListener {
    /// A duplicate of the socket: it stays open until both are closed.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }

    /// The bound address, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn local_address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(listener) => listener
                .local_addr()
                .map(|name| Address::Unix(name.as_pathname().unwrap_or(Path::new("")).into())),
        }
    }

    /// Registers the socket with the current tokio runtime.
    ///
    /// # Errors
    /// The runtime cannot watch the socket.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn into_listener(self) -> io::Result<SocketListener> {
        match self {
            Self::Tcp(listener) => {
                tokio::net::TcpListener::from_std(listener).map(SocketListener::Tcp)
            }
            Self::Unix(listener) => {
                tokio::net::UnixListener::from_std(listener).map(SocketListener::Unix)
            }
        }
    }
}

impl SocketListener {
    /// The next connection and, over TCP, its peer; never fails.
    ///
    /// A connection that died in the queue is skipped. When descriptors or memory run out, it tries again
    /// after a short, growing wait. Cancel-safe.
    pub async fn accept(&self) -> (PlainStream, Option<SocketAddr>) {
        let (mut wait, longest) = BACKOFF;
        loop {
            match self.accept_once().await {
                Ok(accepted) => return accepted,
                Err(error) if died_in_queue(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "accept failed, trying again");
                    tokio::time::sleep(wait).await;
                    wait = wait.saturating_mul(2).min(longest);
                }
            }
        }
    }

    async fn accept_once(&self) -> io::Result<(PlainStream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Fails only when the peer has already left, which the first read will show.
                let _gone = stream.set_nodelay(true);
                Ok((PlainStream::Tcp(stream), Some(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _unnamed) = listener.accept().await?;
                Ok((PlainStream::Unix(stream), None))
            }
        }
    }
}

fn died_in_queue(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn bind_tcp(wanted: SocketAddr, workers: NonZeroUsize) -> io::Result<Vec<BoundListener>> {
    // Without SO_REUSEPORT this fails when anybody listens there, even with SO_REUSEPORT.
    let alone = tcp_socket(wanted, SocketSharing::Alone)?;
    if workers == NonZeroUsize::MIN {
        // No process can join it later either, not even one of the same user that tested at the same
        // moment.
        alone.listen(BACKLOG)?;
        return Ok(vec![BoundListener::Tcp(alone.into())]);
    }
    drop(alone);
    let mut address = wanted;
    let mut listeners = Vec::with_capacity(workers.get());
    for _ in 0..workers.get() {
        let socket = tcp_socket(address, SocketSharing::Workers)?;
        socket.listen(BACKLOG)?;
        let listener = std::net::TcpListener::from(socket);
        address = listener.local_addr()?;
        listeners.push(BoundListener::Tcp(listener));
    }
    Ok(listeners)
}

#[derive(PartialEq)]
enum SocketSharing {
    Alone,
    Workers,
}

fn tcp_socket(address: SocketAddr, sharing: SocketSharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == SocketSharing::Workers)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_unix(path: &Path, workers: NonZeroUsize) -> io::Result<Vec<BoundListener>> {
    let first = std::os::unix::net::UnixListener::bind(path)?;
    first.set_nonblocking(true)?;
    SockRef::from(&first).listen(BACKLOG)?;
    let mut listeners = Vec::with_capacity(workers.get());
    for _ in 1..workers.get() {
        listeners.push(BoundListener::Unix(first.try_clone()?));
    }
    listeners.push(BoundListener::Unix(first));
    Ok(listeners)
}

fn bind_private_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Before it has a name: the file takes the mode of the socket, less what the umask takes away (unix(7)). A mode that is
    // set by name comes later, and may be that of what somebody put in its place.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn remove_stale(address: &Address, path: &Path) -> Result<(), ListenError> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ListenError::NotASocket { path: path.to_owned() });
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(ListenError::InUse { address: address.clone() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| explain(address, source))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Its queue is full: somebody listens.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ListenError::InUse { address: address.clone() })
        }
        // Of another user, who may listen: it is not ours to remove.
        Err(source) => Err(explain(address, source)),
    }
}

fn explain(address: &Address, source: io::Error) -> ListenError {
    let address = address.clone();
    match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address },
        io::ErrorKind::PermissionDenied => ListenError::Denied { address },
        _ => ListenError::Bind { address, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn two() -> NonZeroUsize {
        NonZeroUsize::new(2).unwrap()
    }

    /// What the test below runs in processes of their own, as a umask is of the whole process.
    #[test]
    fn binds_the_private_socket_it_is_told_of() {
        let Some(path) = std::env::var_os("TAMIS_TEST_SOCKET").map(PathBuf::from) else { return };
        let address = Address::Unix(path.clone());
        // The second time it takes the place of one that nobody listens on.
        for _ in 0..2 {
            drop(bind_private(&address).unwrap());
            let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_private_socket_is_its_users_alone_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        let own = std::env::current_exe().unwrap();
        for umask in ["000", "022", "077", "177"] {
            let told = std::process::Command::new("sh")
                .args(["-c", "umask $0 && exec \"$@\"", umask])
                .arg(&own)
                .args(["--exact", "listen::tests::binds_the_private_socket_it_is_told_of"])
                .env("TAMIS_TEST_SOCKET", folder.path().join(umask))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&told.stdout).into_owned();
            assert!(told.status.success() && said.contains("1 passed"), "{umask}: {said}");
            assert!(folder.path().join(umask).exists(), "it was bound");
        }
        // What is no socket is no socket's place, and a link leads nowhere.
        let mine = folder.path().join("mine");
        std::fs::write(&mine, "precious").unwrap();
        std::os::unix::fs::symlink(&mine, folder.path().join("link")).unwrap();
        for planted in ["mine", "link"] {
            let address = Address::Unix(folder.path().join(planted));
            assert!(matches!(bind_private(&address), Err(ListenError::NotASocket { .. })));
        }
        assert_eq!(std::fs::read_to_string(&mine).unwrap(), "precious");
        // Of two processes one listens.
        let held = bind_private(&Address::Unix(folder.path().join("held"))).unwrap();
        let other = bind_private(&Address::Unix(folder.path().join("held")));
        assert!(matches!(other, Err(ListenError::InUse { .. })), "{held:?}");
    }

    #[test]
    fn workers_share_one_port() {
        let listeners = bind(&"127.0.0.1:0".parse().unwrap(), two()).unwrap();
        let addresses: Vec<_> = listeners.iter().map(|l| l.local_address().unwrap()).collect();
        assert_eq!(addresses[0], addresses[1]);
    }

    #[test]
    fn a_port_in_use_is_named_even_when_its_holder_shares_it() {
        let held = bind(&"127.0.0.1:0".parse().unwrap(), two()).unwrap();
        let address = held[0].local_address().unwrap();
        let error = bind(&address, two()).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }));
        assert!(error.to_string().starts_with(&address.to_string()), "{error}");
    }

    #[test]
    fn of_those_who_want_one_port_alone_at_the_same_moment_one_gets_it() {
        const MANY: usize = 8;
        for _ in 0..50 {
            let free = bind(&"127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN).unwrap();
            let address = free[0].local_address().unwrap();
            drop(free);
            let start = std::sync::Barrier::new(MANY);
            let got = std::thread::scope(|scope| {
                let try_it = || {
                    start.wait();
                    bind(&address, NonZeroUsize::MIN).ok()
                };
                let all: Vec<_> = (0..MANY).map(|_| scope.spawn(try_it)).collect();
                // All of them hold their socket until everybody has tried.
                let all: Vec<_> = all.into_iter().map(|one| one.join().unwrap()).collect();
                all.iter().flatten().count()
            });
            // Another process on this machine may have been faster than all of them.
            assert!(got <= 1, "{got} listen on {address}");
        }
    }

    #[test]
    fn every_worker_gets_a_socket_and_no_socket_is_left_out() {
        let count = |number: usize| NonZeroUsize::new(number).unwrap();
        for (there, workers) in [(1, 1), (1, 3), (2, 2), (2, 3), (3, 2), (4, 1)] {
            let sockets = bind(&"127.0.0.1:0".parse().unwrap(), count(there)).unwrap();
            let shares = spread(sockets, count(workers)).unwrap();
            let sizes: Vec<usize> = shares.iter().map(Vec::len).collect();
            assert!(sizes.iter().all(|size| *size > 0), "{there} for {workers}: {sizes:?}");
            assert_eq!(sizes.iter().sum::<usize>(), there.max(workers));
        }
        assert_eq!(spread(Vec::new(), count(2)).unwrap().iter().map(Vec::len).sum::<usize>(), 0);
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix(folder.path().join("s"));
        let first = bind(&address, two()).unwrap();
        assert!(matches!(bind(&address, two()), Err(ListenError::InUse { .. })));
        drop(first);
        bind(&address, two()).unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        let refused = bind(&Address::Unix(file), two());
        assert!(matches!(refused, Err(ListenError::NotASocket { .. })));
    }
}

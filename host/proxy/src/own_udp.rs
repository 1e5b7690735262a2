//! The UDP addresses of this process. A datagram from one of them to a listener of it would go round: each pass would begin
//! another session, or be answered by the listener that it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The addresses at which this process has UDP sockets, over all workers.
#[derive(Default)]
pub(crate) struct OwnUdpAddresses(Mutex<OwnSockets>);

#[derive(Default)]
struct OwnSockets {
    /// Those of listeners, with the number of sockets: each worker has one.
    listeners: BTreeMap<SocketAddr, usize>,
    /// Those from which sessions send to endpoints.
    sessions: BTreeSet<SocketAddr>,
}

/// An address that is one of this process until this is dropped.
pub(crate) struct OwnUdpAddress {
    all: Arc<OwnUdpAddresses>,
    address: SocketAddr,
    is_session: bool,
}

impl OwnUdpAddresses {
    fn sockets(&self) -> MutexGuard<'_, OwnSockets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The socket of a listener.
    pub(crate) fn listener(self: &Arc<Self>, address: SocketAddr) -> OwnUdpAddress {
        let address = canonical(address);
        let mut sockets = self.sockets();
        let count = sockets.listeners.entry(address).or_default();
        *count = count.saturating_add(1);
        OwnUdpAddress { all: Arc::clone(self), address, is_session: false }
    }

    /// The socket of a session, which is connected, so that its address is a single one.
    pub(crate) fn session(self: &Arc<Self>, address: SocketAddr) -> OwnUdpAddress {
        let address = canonical(address);
        self.sockets().sessions.insert(address);
        OwnUdpAddress { all: Arc::clone(self), address, is_session: true }
    }

    /// Whether an address is one of this process, where its listeners may have all addresses of the machine.
    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        let address = canonical(address);
        let sockets = self.sockets();
        let port = address.port();
        let listens = sockets.listeners.keys().any(|one| {
            one.port() == port && (one.ip() == address.ip() || one.ip().is_unspecified())
        });
        if sockets.sessions.contains(&address) || sockets.listeners.contains_key(&address) {
            return true;
        }
        drop(sockets);
        listens && is_of_this_machine(address.ip())
    }
}

impl Drop for OwnUdpAddress {
    fn drop(&mut self) {
        let mut sockets = self.all.sockets();
        if self.is_session {
            sockets.sessions.remove(&self.address);
        } else if let Some(count) = sockets.listeners.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                sockets.listeners.remove(&self.address);
            }
        }
    }
}

/// IPv4 as itself, where a socket of IPv6 shows it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether the machine has an address: the kernel binds no other.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_one_of_this_process_while_a_socket_has_it() {
        let all = Arc::new(OwnUdpAddresses::default());
        let (first, second) =
            (all.listener(address("0.0.0.0:53")), all.listener(address("0.0.0.0:53")));
        let _bound = all.listener(address("127.0.0.9:54"));
        let session = all.session(address("127.0.0.1:40000"));
        for (text, own) in [
            ("127.0.0.1:53", true),
            ("[::ffff:127.0.0.1]:53", true),
            ("127.0.0.1:54", false),
            ("127.0.0.9:54", true),
            ("127.0.0.1:40000", true),
            ("127.0.0.1:40001", false),
            // Somebody else who sends from the same port, as servers of DNS and of time do (TEST-NET-1, RFC 5737).
            ("192.0.2.1:53", false),
        ] {
            assert_eq!(all.has(address(text)), own, "{text}");
        }
        drop(first);
        assert!(all.has(address("127.0.0.1:53")), "the other worker's");
        drop((second, session));
        assert!(!all.has(address("127.0.0.1:53")) && !all.has(address("127.0.0.1:40000")));
    }
}

//! Listening sockets: new ones, or those of the previous process; and copies for the next one.

use super::{ProxyState, lock};
use crate::error::ProxyError;
use crate::generation::ListenerConfig;
use crate::worker::WorkerSockets;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use tamis_transport::handover::{HandedSocket, NamedSocket};
use tamis_transport::{Address, BoundListener, BoundUdp, ListenError, bind, bind_udp, spread};

/// Sockets of the previous process, by the addresses that were configured. Cheap to clone; each is used
/// once.
#[derive(Clone, Default)]
pub struct InheritedSockets(Arc<Mutex<Vec<NamedSocket>>>);

/// Name of the admin listener among inherited sockets; a listener in documents cannot have such a name.
pub(crate) const ADMIN: &str = "(admin)";

impl InheritedSockets {
    /// These sockets.
    #[must_use]
    pub fn new(sockets: Vec<NamedSocket>) -> Self {
        Self(Arc::new(Mutex::new(sockets)))
    }

    /// Closes those that were not used.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Removes and returns the sockets bound to `address` that accept connections; for port 0, where the address does not
    /// identify a listener, only those of the listener `name`.
    pub(crate) fn take(&self, name: &str, address: &Address) -> Vec<BoundListener> {
        self.taken(name, address, false)
            .into_iter()
            .filter_map(|socket| match socket {
                HandedSocket::Listener(listener) => Some(listener),
                HandedSocket::Udp(_) => None,
            })
            .collect()
    }

    /// The same of those that take datagrams.
    fn take_udp(&self, name: &str, address: &Address) -> Vec<BoundUdp> {
        self.taken(name, address, true)
            .into_iter()
            .filter_map(|socket| match socket {
                HandedSocket::Udp(port) => Some(port),
                HandedSocket::Listener(_) => None,
            })
            .collect()
    }

    fn taken(&self, name: &str, address: &Address, datagrams: bool) -> Vec<HandedSocket> {
        let mut all = lock(&self.0);
        let any_port = matches!(address, Address::Tcp(address) if address.port() == 0);
        let is_it = |one: &NamedSocket| {
            matches!(one.socket, HandedSocket::Udp(_)) == datagrams
                && one.address == *address
                && (!any_port || one.name == name)
        };
        let (taken, left) = all.drain(..).partition(is_it);
        *all = left;
        taken.into_iter().map(|one: NamedSocket| one.socket).collect()
    }
}

/// The sockets of a listener.
pub(crate) struct ListenerSockets {
    /// The address with the port that the system chose, where the listener left it open.
    pub(crate) local: Option<Address>,
    /// Copies for a successor.
    pub(crate) copies: Vec<HandedSocket>,
    /// By worker.
    pub(crate) sockets: Vec<WorkerSockets>,
}

/// The sockets of an address: the workers accept from their own; these are copies for a successor.
pub(crate) struct BoundSockets {
    /// Name of the listener for which the sockets were bound first.
    pub(crate) listener: String,
    /// The address with the port that the system chose, where the listener left it open.
    pub(crate) local: Option<Address>,
    pub(crate) copies: Vec<HandedSocket>,
}

/// The admin listener on the network.
pub(crate) struct AdminBound {
    pub(crate) asked: Address,
    pub(crate) local: Address,
    pub(crate) copy: BoundListener,
}

impl ProxyState {
    /// The sockets of a listener, by worker: inherited or new ones.
    pub(crate) fn sockets(&self, listener: &ListenerConfig) -> Result<ListenerSockets, ProxyError> {
        let count = NonZeroUsize::new(self.workers.len()).unwrap_or(NonZeroUsize::MIN);
        if listener.takes_datagrams() {
            return self.udp_sockets(listener, count);
        }
        let failed = |source| ProxyError::Listen { listener: listener.name.clone(), source };
        let inherited = self.inherited.take(&listener.name, &listener.address);
        let sockets = if inherited.is_empty() {
            bind(&listener.address, count).map_err(failed)?
        } else {
            inherited
        };
        let bad = |source| failed(ListenError::Bind { address: listener.address.clone(), source });
        let sockets = spread(sockets, count).map_err(bad)?;
        let local = sockets.iter().flatten().find_map(|socket| socket.local_address().ok());
        let copies =
            copies(&listener.name, sockets.iter().flatten().map(BoundListener::try_clone))?;
        Ok(ListenerSockets {
            local,
            copies: copies.into_iter().map(HandedSocket::Listener).collect(),
            sockets: sockets.into_iter().map(WorkerSockets::Listeners).collect(),
        })
    }

    /// The sockets of a listener for UDP. Each is read by one worker alone, so that the datagrams of a client always come to the same
    /// one; with fewer sockets than workers, some workers have none.
    fn udp_sockets(
        &self,
        listener: &ListenerConfig,
        count: NonZeroUsize,
    ) -> Result<ListenerSockets, ProxyError> {
        let failed = |source| ProxyError::Listen { listener: listener.name.clone(), source };
        let inherited = self.inherited.take_udp(&listener.name, &listener.address);
        let ports = match (&listener.address, inherited.is_empty()) {
            (_, false) => inherited,
            (Address::Tcp(address), true) => bind_udp(*address, count).map_err(failed)?,
            (Address::Unix(_), true) => {
                let source = std::io::ErrorKind::Unsupported.into();
                let address = listener.address.clone();
                return Err(failed(ListenError::Bind { address, source }));
            }
        };
        let local = ports.iter().find_map(|port| port.local_address().ok()).map(Address::Tcp);
        let copies = copies(&listener.name, ports.iter().map(BoundUdp::try_clone))?;
        let mut shares: Vec<Vec<BoundUdp>> = (0..count.get()).map(|_| Vec::new()).collect();
        for (at, port) in ports.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(at % count) {
                share.push(port);
            }
        }
        Ok(ListenerSockets {
            local,
            copies: copies.into_iter().map(HandedSocket::Udp).collect(),
            sockets: shares.into_iter().map(WorkerSockets::Udp).collect(),
        })
    }
}

/// Copies of all sockets, for another process.
pub(crate) fn handed(inner: &Weak<ProxyState>) -> std::io::Result<Vec<NamedSocket>> {
    let Some(inner) = inner.upgrade() else { return Err(std::io::ErrorKind::NotConnected.into()) };
    let mut all = Vec::new();
    for (key, bound) in lock(&inner.bound).iter() {
        for copy in &bound.copies {
            let (name, address) = (bound.listener.clone(), key.address().clone());
            all.push(NamedSocket { name, address, socket: copy.try_clone()? });
        }
    }
    if let Some(admin) = lock(&inner.admin).as_ref() {
        let (name, address) = (ADMIN.to_owned(), admin.asked.clone());
        let socket = HandedSocket::Listener(admin.copy.try_clone()?);
        all.push(NamedSocket { name, address, socket });
    }
    Ok(all)
}

/// The copies of a listener's sockets, for a successor.
fn copies<T>(
    name: &str,
    made: impl Iterator<Item = std::io::Result<T>>,
) -> Result<Vec<T>, ProxyError> {
    let failed = |source| ProxyError::Handover { path: PathBuf::from(name), source };
    made.map(|copy| copy.map_err(failed)).collect()
}

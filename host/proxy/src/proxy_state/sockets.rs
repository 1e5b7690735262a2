//! Listening sockets: new ones, or those of the previous process; and copies for the next one.

use super::{ProxyState, lock};
use crate::error::ProxyError;
use crate::generation::ListenerConfig;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use tamis_transport::handover::NamedSocket;
use tamis_transport::{Address, BoundListener, ListenError, bind, spread};

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

    /// Removes and returns the sockets bound to `address`; for port 0, where the address does not identify a listener,
    /// only those of the listener `name`.
    pub(crate) fn take(&self, name: &str, address: &Address) -> Vec<BoundListener> {
        let mut all = lock(&self.0);
        let any_port = matches!(address, Address::Tcp(address) if address.port() == 0);
        let is_it = |one: &NamedSocket| one.address == *address && (!any_port || one.name == name);
        let (taken, left) = all.drain(..).partition(is_it);
        *all = left;
        taken.into_iter().map(|one: NamedSocket| one.socket).collect()
    }
}

/// The sockets of an address: the workers accept from their own; these are copies for a successor.
pub(crate) struct BoundSockets {
    /// Name of the listener for which the sockets were bound first.
    pub(crate) listener: String,
    /// The address with the port that the system chose, where the listener left it open.
    pub(crate) local: Option<Address>,
    pub(crate) copies: Vec<BoundListener>,
}

/// The admin listener on the network.
pub(crate) struct AdminBound {
    pub(crate) asked: Address,
    pub(crate) local: Address,
    pub(crate) copy: BoundListener,
}

impl ProxyState {
    /// The sockets of a listener, by worker: inherited or new ones.
    pub(crate) fn sockets(
        &self,
        listener: &ListenerConfig,
    ) -> Result<Vec<Vec<BoundListener>>, ProxyError> {
        let count = NonZeroUsize::new(self.workers.len()).unwrap_or(NonZeroUsize::MIN);
        let failed = |source| ProxyError::Listen { listener: listener.name.clone(), source };
        let inherited = self.inherited.take(&listener.name, &listener.address);
        let sockets = if inherited.is_empty() {
            bind(&listener.address, count).map_err(failed)?
        } else {
            inherited
        };
        let bad = |source| failed(ListenError::Bind { address: listener.address.clone(), source });
        spread(sockets, count).map_err(bad)
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
        all.push(NamedSocket { name, address, socket: admin.copy.try_clone()? });
    }
    Ok(all)
}

/// A copy of each socket, for a successor.
pub(crate) fn copies(
    name: &str,
    sockets: &[Vec<BoundListener>],
) -> Result<Vec<BoundListener>, ProxyError> {
    let failed = |source| ProxyError::Handover { path: PathBuf::from(name), source };
    sockets.iter().flatten().map(|socket| socket.try_clone().map_err(failed)).collect()
}

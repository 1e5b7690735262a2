//! Listening sockets: new ones, or those of the previous process; and copies for the next one.

use super::{Inner, ProxyError, lock};
use crate::generation::Listener;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use tamis_transport::handover::Handed;
use tamis_transport::{Address, BoundListener, ListenError, bind, spread};

/// Sockets of the previous process, by the addresses that were configured. Cheap to clone; each is used
/// once.
#[derive(Clone, Default)]
pub struct Inherited(Arc<Mutex<Vec<Handed>>>);

/// Name of the admin listener among inherited sockets; a listener in documents cannot have such a name.
pub(super) const ADMIN: &str = "(admin)";

impl Inherited {
    /// These sockets.
    #[must_use]
    pub fn new(sockets: Vec<Handed>) -> Self {
        Self(Arc::new(Mutex::new(sockets)))
    }

    /// Closes those that were not used.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    /// The sockets of an address; if any port is accepted, those of the listener.
    pub(super) fn take(&self, name: &str, address: &Address) -> Vec<BoundListener> {
        let mut all = lock(&self.0);
        let any_port = matches!(address, Address::Tcp(address) if address.port() == 0);
        let is_it = |one: &Handed| one.address == *address && (!any_port || one.name == name);
        let (taken, left) = all.drain(..).partition(is_it);
        *all = left;
        taken.into_iter().map(|one: Handed| one.socket).collect()
    }
}

/// A listener's sockets: the workers accept from their own; these are copies for a successor.
pub(crate) struct Bound {
    pub(super) address: Address,
    pub(super) copies: Vec<BoundListener>,
}

/// The admin listener on the network.
pub(crate) struct AdminBound {
    pub(super) asked: Address,
    pub(super) local: Address,
    pub(super) copy: BoundListener,
}

impl Inner {
    /// The sockets of a listener, by worker: inherited or new ones.
    pub(super) fn sockets(
        &self,
        listener: &Listener,
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
pub(super) fn handed(inner: &Weak<Inner>) -> std::io::Result<Vec<Handed>> {
    let Some(inner) = inner.upgrade() else { return Err(std::io::ErrorKind::NotConnected.into()) };
    let mut all = Vec::new();
    for (name, bound) in lock(&inner.bound).iter() {
        for copy in &bound.copies {
            let (name, address) = (name.clone(), bound.address.clone());
            all.push(Handed { name, address, socket: copy.try_clone()? });
        }
    }
    if let Some(admin) = lock(&inner.admin).as_ref() {
        let (name, address) = (ADMIN.to_owned(), admin.asked.clone());
        all.push(Handed { name, address, socket: admin.copy.try_clone()? });
    }
    Ok(all)
}

/// A copy of each socket, for a successor.
pub(super) fn copies(
    name: &str,
    sockets: &[Vec<BoundListener>],
) -> Result<Vec<BoundListener>, ProxyError> {
    let failed = |source| ProxyError::Handover { path: PathBuf::from(name), source };
    sockets.iter().flatten().map(|socket| socket.try_clone().map_err(failed)).collect()
}

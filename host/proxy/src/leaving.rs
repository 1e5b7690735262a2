//! The own addresses of the connections that leave the mesh.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The own addresses of the connections that leave, of all workers. One of them as the address of an application means
/// that the kernel led a connection of the proxy back to it.
#[derive(Debug, Default)]
pub(crate) struct LeavingAddresses(Mutex<HashSet<SocketAddr>>);

/// A connection that leaves, until it is dropped.
pub(crate) struct LeavingConnection {
    all: Arc<LeavingAddresses>,
    address: Option<SocketAddr>,
}

impl LeavingAddresses {
    pub(crate) fn add(self: &Arc<Self>, address: Option<SocketAddr>) -> LeavingConnection {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(address);
        LeavingConnection { all: Arc::clone(self), address }
    }

    pub(crate) fn has(&self, address: Option<SocketAddr>) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        address.is_some_and(|address| all.contains(&address))
    }
}

impl Drop for LeavingConnection {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = self.address {
            all.remove(&address);
        }
    }
}

//! The pools of one worker.

use crate::config::{EndpointConfig, EndpointTarget, Protocol, ServiceConfig};
use crate::endpoint_state::EndpointState;
use crate::pool::Pool;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use tamis_transport::Address;

/// Pools by what makes connections interchangeable.
#[derive(Default)]
pub(crate) struct Pools(RefCell<HashMap<PoolKey, Rc<Pool>>>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct PoolKey {
    service: String,
    address: Address,
    tls_key: String,
    protocol: Protocol,
}

impl Pools {
    /// Keeps the pools that `services` still use, with their settings, and closes the others.
    pub(crate) fn adopt(&self, services: &[ServiceConfig]) {
        self.0.borrow_mut().retain(|key, pool| {
            let service = services.iter().find(|service| service.name == key.service);
            let live = service.is_some_and(|service| key.is_of(service));
            match service {
                Some(service) if live => {
                    pool.settings.replace(service.settings.clone());
                }
                _ => pool.close(),
            }
            live
        });
    }

    /// Closes connections that were idle for too long, and drops pools that are not used any more.
    pub(crate) fn sweep(&self) {
        self.0.borrow_mut().retain(|_, pool| {
            pool.sweep();
            pool.is_used()
        });
    }

    /// The pool of an endpoint's address; made at its first use.
    pub(crate) fn pool(
        &self,
        address: &Address,
        endpoint: &EndpointConfig,
        config: &ServiceConfig,
        state: &Arc<EndpointState>,
    ) -> Rc<Pool> {
        let key = PoolKey {
            service: config.name.clone(),
            address: address.clone(),
            tls_key: endpoint.tls_key.clone(),
            protocol: config.protocol,
        };
        let mut pools = self.0.borrow_mut();
        let new = || Rc::new(Pool::new(address, endpoint, config, state));
        Rc::clone(pools.entry(key).or_insert_with(new))
    }
}

impl PoolKey {
    /// Whether a service still uses such connections. Addresses behind names come and go independently.
    fn is_of(&self, service: &ServiceConfig) -> bool {
        service.protocol == self.protocol
            && service.endpoints.iter().any(|endpoint| {
                endpoint.tls_key == self.tls_key
                    && match &endpoint.target {
                        EndpointTarget::Address(address) => *address == self.address,
                        EndpointTarget::Dns { .. } => true,
                    }
            })
    }
}

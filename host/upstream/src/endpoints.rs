//! The endpoints of a service as one worker currently sees them.

use crate::config::{EndpointTarget, ServiceConfig};
use crate::endpoint_state::EndpointState;
use crate::pool::Pool;
use crate::pools::Pools;
use crate::resolve::{NameResolver, ResolvedName};
use crate::service_state::ServiceState;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tamis_transport::Address;

/// One address to send requests to.
pub(crate) struct Endpoint {
    pub(crate) state: Arc<EndpointState>,
    /// The balancer's last weight; before that, the configured one.
    pub(crate) weight: Cell<u32>,
    /// The configured weight.
    pub(crate) configured: u32,
    pub(crate) pool: Rc<Pool>,
}

/// All endpoints of a service; those behind names change with the names.
pub(crate) struct Endpoints {
    /// For each configured endpoint the name that stands for it, if any.
    names: Vec<Option<Rc<ResolvedName>>>,
    current: RefCell<CurrentList>,
}

#[derive(Clone, Default)]
struct CurrentList {
    /// Sum of the names' versions it was made from; `None` before the first time.
    version: Option<u64>,
    list: Rc<Vec<Endpoint>>,
}

/// There is no address at all.
pub(crate) struct ResolveFailure {
    pub(crate) host: String,
    pub(crate) cause: String,
}

impl Endpoints {
    pub(crate) fn new(config: &ServiceConfig, names: &Rc<NameResolver>) -> Self {
        let names = config.endpoints.iter().map(|endpoint| match &endpoint.target {
            EndpointTarget::Address(_) => None,
            EndpointTarget::Dns { host, port } => Some(names.follow(host, *port)),
        });
        Self { names: names.collect(), current: RefCell::default() }
    }

    /// The last list of endpoints; empty before the first one is known.
    pub(crate) fn known(&self) -> Rc<Vec<Endpoint>> {
        Rc::clone(&self.current.borrow().list)
    }

    /// The current endpoints. Waits for names that were never resolved; those that do not resolve are left
    /// out as long as there are others.
    pub(crate) async fn list(
        &self,
        config: &ServiceConfig,
        state: &ServiceState,
        pools: &Pools,
    ) -> Result<Rc<Vec<Endpoint>>, ResolveFailure> {
        let version = self.names.iter().flatten().map(|name| name.version()).sum();
        {
            let current = self.current.borrow();
            if current.version == Some(version) {
                return Ok(Rc::clone(&current.list));
            }
        }
        let before = self.known();
        let mut list = Vec::new();
        let mut unresolved = None;
        // The version of each name when it was read: another may change while one is awaited.
        let mut version = 0;
        for (endpoint, name) in config.endpoints.iter().zip(&self.names) {
            let addresses = match (&endpoint.target, name) {
                (EndpointTarget::Address(address), _) => vec![address.clone()],
                (EndpointTarget::Dns { .. }, None) => Vec::new(),
                (EndpointTarget::Dns { .. }, Some(name)) => match name.addresses().await {
                    Ok(addresses) => addresses.into_iter().map(Address::Tcp).collect(),
                    Err(cause) => {
                        let host = name.host().to_owned();
                        unresolved = Some(ResolveFailure { host, cause });
                        Vec::new()
                    }
                },
            };
            version += name.as_ref().map_or(0, |name| name.version());
            for address in addresses {
                let shared = state.endpoint(&address.to_string(), name.is_some());
                let pool = pools.pool(&address, endpoint, config, &shared);
                let configured = endpoint.weight;
                // The balancer's weights stay for endpoints that stay, until it is called again.
                let said = before.iter().find(|one| Arc::ptr_eq(&one.state, &shared));
                let weight = said.map_or(configured, |one| one.weight.get());
                let weight = Cell::new(weight);
                list.push(Endpoint { state: shared, weight, configured, pool });
            }
        }
        if let (true, Some(unresolved)) = (list.is_empty(), unresolved) {
            return Err(unresolved);
        }
        let size = list.iter().filter(|one| one.configured > 0).count();
        state.size.store(u32::try_from(size).unwrap_or(u32::MAX), Ordering::Relaxed);
        let list = Rc::new(list);
        self.current.replace(CurrentList { version: Some(version), list: Rc::clone(&list) });
        Ok(list)
    }
}

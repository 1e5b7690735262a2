//! The services that all workers share, by name. They outlive a generation.

use crate::config::ServiceConfig;
use crate::lock::lock;
use crate::service_state::{ServiceSnapshot, ServiceState};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use tamis_ambient::{Clock, Random};

/// State of services by name. Cheap to clone.
#[derive(Clone)]
pub struct ServiceTable {
    services: Arc<Mutex<HashMap<String, Arc<ServiceState>>>>,
    clock: Clock,
    random: Random,
}

impl ServiceTable {
    /// An empty table. Windows, budgets and circuits use `clock`; endpoints are drawn by `random`.
    pub fn new(clock: Clock, random: Random) -> Self {
        Self { services: Arc::default(), clock, random }
    }

    /// Drops services that `live` does not name, and endpoints that it does not name and that are no longer
    /// used.
    pub fn retain(&self, live: &[ServiceConfig]) {
        let live: HashMap<&str, &ServiceConfig> =
            live.iter().map(|service| (service.name.as_str(), service)).collect();
        let mut services = lock(&self.services);
        services.retain(|name, _| live.contains_key(name.as_str()));
        for (name, service) in services.iter() {
            let endpoints = live.get(name.as_str()).map_or(&[][..], |config| &config.endpoints);
            let named: HashSet<String> =
                endpoints.iter().map(|endpoint| endpoint.target.to_string()).collect();
            service.retain(&named);
        }
    }

    /// A snapshot of everything, ordered by name.
    pub fn snapshot(&self) -> Vec<ServiceSnapshot> {
        let mut services: Vec<_> = lock(&self.services).values().cloned().collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        services.iter().map(|service| service.snapshot()).collect()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn random(&self) -> Random {
        self.random
    }

    /// The state of a service, with its current settings.
    pub(crate) fn service(&self, config: &ServiceConfig) -> Arc<ServiceState> {
        let mut services = lock(&self.services);
        let new = || Arc::new(ServiceState::new(config, self.clock, self.random));
        let service = Arc::clone(services.entry(config.name.clone()).or_insert_with(new));
        service.adopt_settings(&config.settings);
        service
    }
}

impl std::fmt::Debug for ServiceTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceTable").field("services", &lock(&self.services).len()).finish()
    }
}

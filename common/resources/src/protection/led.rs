//! The services that rules of gateways lead to.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::GuardedListener;
use super::asked::asked;
use super::guard::Guard;
use crate::plan::{StreamRoutePlan, TcpPlan};

/// A rule that leads to a service.
pub(super) struct Lead<'a> {
    /// `namespace/route/rule`; `namespace/route/` of one for connections.
    pub(super) rule: String,
    /// `namespace/name` of the service: a guard of one of its ports is gone round at another one.
    pub(super) to: &'a str,
}

/// Services with the guards that were asked about every rule which led there. Computed when it is first asked for.
pub(super) struct GuardedServices<'b> {
    known: &'b [GuardedListener<'b>],
    /// By `namespace/name`.
    found: OnceCell<ServiceGuards<'b>>,
}

type ServiceGuards<'b> = BTreeMap<&'b str, Vec<&'b Guard<'b>>>;

impl<'b> GuardedServices<'b> {
    /// Those of the gateways among these listeners.
    pub(super) fn of(known: &'b [GuardedListener<'b>]) -> Self {
        Self { known, found: OnceCell::new() }
    }

    fn found(&self) -> &ServiceGuards<'b> {
        self.found.get_or_init(|| Self::find(self.known))
    }

    fn find(known: &'b [GuardedListener<'b>]) -> ServiceGuards<'b> {
        let mut services = ServiceGuards::new();
        for listener in known.iter().filter(|one| one.is_of_gateway()) {
            for Lead { rule, to } in leads(listener) {
                let asked = || listener.guards.iter().filter(|one| one.covers(&rule));
                match services.get_mut(to) {
                    Some(guards) => {
                        guards.retain(|one| asked().any(|it| it.is_same(one)));
                    }
                    None => drop(services.insert(to, asked().collect())),
                }
            }
        }
        services.retain(|_, guards| !guards.is_empty());
        services
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found().is_empty()
    }

    pub(super) fn guards(&self, service: &str) -> Option<&[&'b Guard<'b>]> {
        self.found().get(service).map(Vec::as_slice)
    }
}

/// Where the rules of a listener lead. Copies of requests count too: the service does what they ask for.
pub(super) fn leads<'a>(listener: &GuardedListener<'a>) -> Vec<Lead<'a>> {
    let mut leads = Vec::new();
    for one in asked(listener.routes()) {
        for to in one.backends.iter().chain(&one.mirrors) {
            leads.push(Lead { rule: one.name.clone(), to: service_of(to) });
        }
    }
    for route in listener.listener.tcp.iter().flat_map(routed) {
        for backend in &route.backends {
            leads.push(Lead { rule: format!("{}/", route.name), to: service_of(&backend.service) });
        }
    }
    leads
}

fn routed(tcp: &TcpPlan) -> impl Iterator<Item = &StreamRoutePlan> {
    tcp.routed.iter().chain(&tcp.datagrams).flat_map(|one| &one.routes)
}

/// `namespace/name` of a service with its port.
fn service_of(backend: &str) -> &str {
    backend.rsplit_once(':').map_or(backend, |(service, _)| service)
}

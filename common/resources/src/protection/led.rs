//! The services that rules of gateways lead to.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::asked::asked;
use super::guard::Guard;
use super::routes;
use crate::plan::{ListenerPlan, NodePlan, StreamRoutePlan, TcpPlan, TrafficDirection};

/// A rule that leads to a service.
pub(super) struct Lead<'a> {
    /// `namespace/route/rule`; `namespace/route/` of one for connections.
    pub(super) rule: String,
    /// `namespace/name` of the service: a guard of one of its ports is gone round at another one.
    pub(super) to: &'a str,
}

/// Services with the guards that were asked about every rule of a gateway which led there. Computed when it is first asked for.
pub(super) struct GuardedServices<'b> {
    gateways: Vec<&'b NodePlan>,
    /// By `namespace/name`.
    found: OnceCell<ServiceGuards<'b>>,
}

type ServiceGuards<'b> = BTreeMap<&'b str, Vec<Rc<Guard<'b>>>>;

impl<'b> GuardedServices<'b> {
    /// Those of these proxies, as far as they are gateways.
    pub(super) fn of(gateways: impl IntoIterator<Item = &'b NodePlan>) -> Self {
        Self { gateways: gateways.into_iter().collect(), found: OnceCell::new() }
    }

    /// The guards of everything that led to a service.
    pub(super) fn guards(&self, service: &str) -> &[Rc<Guard<'b>>] {
        let found = self.found.get_or_init(|| self.find());
        found.get(service).map_or(&[], Vec::as_slice)
    }

    fn find(&self) -> ServiceGuards<'b> {
        let mut services = ServiceGuards::new();
        for plan in self.gateways.iter().copied() {
            for listener in plan.listeners.iter().filter(|one| is_of_gateway(one)) {
                let guards: Vec<_> = Guard::all(plan, listener).into_iter().map(Rc::new).collect();
                for Lead { rule, to } in leads(plan, listener) {
                    let asked = || guards.iter().filter(|one| one.covers(&rule));
                    match services.get_mut(to) {
                        Some(common) => common.retain(|one| asked().any(|it| it.is_same(one))),
                        None => drop(services.insert(to, asked().map(Rc::clone).collect())),
                    }
                }
            }
        }
        services
    }
}

pub(super) fn is_of_gateway(listener: &ListenerPlan) -> bool {
    listener.direction == TrafficDirection::Gateway
}

/// Where the rules of a listener lead. Copies of requests count too: the service does what they ask for.
pub(super) fn leads<'a>(plan: &'a NodePlan, listener: &'a ListenerPlan) -> Vec<Lead<'a>> {
    let mut leads = Vec::new();
    for one in asked(routes(plan, listener)) {
        for to in one.backends.iter().chain(&one.mirrors) {
            leads.push(Lead { rule: one.name.clone(), to: service_of(to) });
        }
    }
    for route in listener.tcp.iter().flat_map(routed) {
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

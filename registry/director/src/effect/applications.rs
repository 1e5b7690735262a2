//! Applications that a change makes reachable through another service, past the guards in front of them.
//!
//! A guard stands at the sidecar of an application. A Service that leads to the same application, under another name or in
//! another namespace, has a sidecar of its own or none, and what guards the first does not guard the second.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tamis_resources::plan::NodePlan;
use tamis_resources::{
    NodeName, Resource, ServiceEndpoint, ServiceSpec, lost_of_application as lost,
};

use super::ChangeEffect;
use crate::desired::DesiredState;

/// What a Service is called that is not the author's to name.
const OF_OTHERS: &str = "a guard of another namespace";

/// Services that lead to applications to which others led before.
#[derive(Debug, Default)]
pub(super) struct SharedApplications {
    leads: Vec<NewLead>,
    /// The plans of the proxies in front of them before the change, by their names.
    before: BTreeMap<String, Arc<NodePlan>>,
    /// The same after the change.
    after: BTreeMap<String, Arc<NodePlan>>,
}

/// A Service that leads to an application from now on.
#[derive(Debug)]
struct NewLead {
    /// `namespace/name`.
    service: String,
    /// The address as it is written.
    address: String,
    /// Its sidecar; `None`: whoever calls it reaches the application itself.
    sidecar: Option<String>,
    /// The sidecars that led there, by name, each with its Service.
    known: BTreeMap<String, String>,
}

/// Where an application listens: its machine and its port. All loopback addresses of a machine are one, since most
/// applications listen at all of them.
type Place = (String, String);

impl SharedApplications {
    pub(super) fn of(before: &DesiredState, after: &DesiredState) -> Self {
        let mut leads: BTreeMap<Place, Vec<NewLead>> = BTreeMap::new();
        for (key, held) in &after.documents.by_key {
            let old = before.documents.by_key.get(key);
            let (Some(service), Resource::Service(spec)) =
                (key.strip_prefix("Service/"), held.resource())
            else {
                continue;
            };
            if old.is_some_and(|old| old.digest == held.digest) {
                continue;
            }
            let known: BTreeSet<Place> = match old.map(|old| old.resource()) {
                Some(Resource::Service(old)) => places(old).map(|(_, _, place)| place).collect(),
                _ => BTreeSet::new(),
            };
            for (at, address, place) in places(spec).filter(|(_, _, place)| !known.contains(place))
            {
                let sidecar = sidecar(service, spec, at);
                let (service, address) = (service.to_owned(), address.to_owned());
                let lead = NewLead { service, address, sidecar, known: BTreeMap::new() };
                leads.entry(place).or_default().push(lead);
            }
        }
        if leads.is_empty() {
            return Self::default();
        }
        for (key, held) in &before.documents.by_key {
            let (Some(service), Resource::Service(spec)) =
                (key.strip_prefix("Service/"), held.resource())
            else {
                continue;
            };
            for (at, _, place) in places(spec) {
                let Some(all) = leads.get_mut(&place) else { continue };
                match sidecar(service, spec, at) {
                    Some(node) => all
                        .iter_mut()
                        .for_each(|one| drop(one.known.insert(node.clone(), service.to_owned()))),
                    // Whoever wanted to reached it without a guard.
                    None => all.clear(),
                }
            }
        }
        let leads = leads.into_values().flatten().filter(|one| !one.known.is_empty());
        Self { leads: leads.collect(), ..Self::default() }
    }

    /// Takes note of a proxy before and after the change.
    pub(super) fn node(
        &mut self,
        node: &NodeName,
        (before, after): (Option<&Arc<NodePlan>>, Option<&Arc<NodePlan>>),
    ) {
        if self.leads.is_empty() {
            return;
        }
        let name = node.to_string();
        if let Some(plan) =
            before.filter(|_| self.leads.iter().any(|one| one.known.contains_key(&name)))
        {
            self.before.insert(name.clone(), Arc::clone(plan));
        }
        let leads = |one: &NewLead| one.sidecar.as_ref() == Some(&name);
        if let Some(plan) = after.filter(|_| self.leads.iter().any(leads)) {
            self.after.insert(name, Arc::clone(plan));
        }
    }
}

impl ChangeEffect {
    /// Adds what does not guard an application any more where another service leads to it.
    pub(super) fn applications(&mut self, shared: &SharedApplications) {
        for lead in &shared.leads {
            let NewLead { service, address, sidecar, known } = lead;
            let now = sidecar.as_ref().and_then(|node| shared.after.get(node));
            if sidecar.is_some() && now.is_none() {
                // It has no plan, so it serves nothing.
                continue;
            }
            let mut common: Option<BTreeSet<String>> = None;
            for (node, owner) in known {
                let was = shared.before.get(node);
                let gone = was.map(|was| lost(was, now.map(|now| &**now))).unwrap_or_default();
                let gone = gone.into_iter().map(|guard| {
                    if space(owner) == space(service) { guard } else { OF_OTHERS.to_owned() }
                });
                let gone: BTreeSet<String> = gone.collect();
                common = Some(match common {
                    Some(all) => all.intersection(&gone).cloned().collect(),
                    None => gone,
                });
            }
            let words = common.into_iter().flatten().map(|guard| {
                format!(
                    "{guard} does not guard {address} behind Service {service}, and it guarded everything that arrived there"
                )
            });
            let words: BTreeSet<String> = words.collect();
            if !words.is_empty() {
                self.unguarded.entry(service.clone()).or_default().extend(words);
            }
        }
    }
}

/// The namespace of a service.
fn space(service: &str) -> &str {
    service.split_once('/').map_or(service, |(space, _)| space)
}

fn sidecar(service: &str, spec: &ServiceSpec, index: usize) -> Option<String> {
    spec.endpoints.get(index)?.sidecar.as_ref()?;
    Some(NodeName::Sidecar { key: service.to_owned(), index }.to_string())
}

/// The index of each endpoint with each address of its application, as written and as a place.
fn places(spec: &ServiceSpec) -> impl Iterator<Item = (usize, &str, Place)> {
    spec.endpoints.iter().enumerate().flat_map(|(at, endpoint)| {
        let ports = endpoint.ports.iter().map(|port| port.address.as_str());
        let all = std::iter::once(endpoint.address.as_str()).chain(ports);
        all.map(move |address| (at, address, place(endpoint, address)))
    })
}

/// The place of an address of an endpoint. A loopback address is on the machine of the sidecar, and all of them are one there.
pub(super) fn place(endpoint: &ServiceEndpoint, address: &str) -> Place {
    let (host, port) = split(address);
    let Some(host) = elsewhere(host) else {
        let sidecar = endpoint.sidecar.as_deref().map(|sidecar| split(sidecar).0);
        return (sidecar.map_or_else(|| HERE.to_owned(), machine), port.to_owned());
    };
    (host, port.to_owned())
}

/// The machine that a loopback address is of where no sidecar says which.
const HERE: &str = "127.0.0.1";

/// A host in one form, IPv4 in IPv6 as IPv4; `None`: it is the machine of whoever connects. A connection to the unspecified
/// address goes there too.
fn elsewhere(host: &str) -> Option<String> {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) => (!ip.is_loopback() && !ip.is_unspecified()).then(|| ip.to_string()),
        Err(_) => Some(host.to_ascii_lowercase()).filter(|name| name != "localhost"),
    }
}

/// The machine of a sidecar. Sidecars with loopback addresses are on one machine where these are the same.
fn machine(host: &str) -> String {
    let ip = host.parse::<IpAddr>().map(|ip| ip.to_canonical());
    let own = ip.ok().filter(|ip| ip.is_ipv4() && ip.is_loopback()).map(|ip| ip.to_string());
    own.or_else(|| elsewhere(host)).unwrap_or_else(|| HERE.to_owned())
}

/// Host and port; of a path of a socket, the path and nothing.
fn split(address: &str) -> (&str, &str) {
    match address.rsplit_once(':') {
        Some((host, port)) if !address.starts_with("unix:") => (host, port),
        _ => (address, ""),
    }
}

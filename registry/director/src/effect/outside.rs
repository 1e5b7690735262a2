//! What a change changes in a proxy outside its slots: listeners, upstreams, identity, trust.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tamis_resources::NodeName;
use tamis_resources::plan::{
    AddressPlan, CapturedPlan, EndpointPlan, ListenerPlan, ListenerRulesPlan, NodePlan,
    ServicePlan, TcpPlan,
};

use super::ChangeEffect;

/// Changes of a proxy outside its slots, in words.
#[derive(Default)]
struct OutsideChanges {
    /// Those that count its service as touched.
    touching: BTreeSet<String>,
    /// Those that follow from endpoints of other services, or that no exchange notices.
    others: BTreeSet<String>,
}

/// Applications that the sidecars of a service no longer find where they were: the number of its sidecars, by service. When it
/// is all of them, nothing of the service is where it was.
pub(super) type MovedApplications = BTreeMap<String, usize>;

impl ChangeEffect {
    /// Adds the changes of a proxy outside its slots.
    pub(super) fn outside_slots(
        &mut self,
        node: &NodeName,
        (before, after): (&NodePlan, &NodePlan),
        moved: &mut MovedApplications,
    ) {
        let mut changes = OutsideChanges::default();
        changes.compare(before, after);
        self.listeners(node, (before, after), &mut changes);
        for (name, old, new) in upstreams(before, after) {
            changes.others.insert(format!("upstream {name}"));
            let (Some(old), Some(new)) = (old, new) else { continue };
            let has_moved = has_moved(&old.endpoints, &new.endpoints);
            if old.policy != new.policy || (has_moved && local(name).is_none()) {
                self.touched.insert(service_of(name).to_owned());
            } else if has_moved {
                let known = moved.entry(service_of(name).to_owned()).or_default();
                *known = known.saturating_add(1);
            }
        }
        let OutsideChanges { mut touching, mut others } = changes;
        if !touching.is_empty() {
            self.touched.insert(node.key().to_owned());
        }
        others.append(&mut touching);
        if !others.is_empty() {
            self.others.entry(node.key().to_owned()).or_default().append(&mut others);
        }
    }

    fn listeners(
        &mut self,
        node: &NodeName,
        (before, after): (&NodePlan, &NodePlan),
        changes: &mut OutsideChanges,
    ) {
        let old: BTreeMap<_, _> = before.listeners.iter().map(|one| (&one.name, one)).collect();
        let new: BTreeMap<_, _> = after.listeners.iter().map(|one| (&one.name, one)).collect();
        let names: BTreeSet<&&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (Some(old), Some(new)) = (old.get(name), new.get(name)) else {
                changes.touching.insert(format!("listener {name}"));
                continue;
            };
            changes.listener(old, new);
            if !old.chain.attachments.is_empty() && new.chain.attachments.is_empty() {
                self.emptied.push((node.to_string(), (*name).clone()));
            }
        }
    }
}

impl OutsideChanges {
    /// Compares everything but slots, listeners and upstreams. Each part is named, so that none is forgotten.
    fn compare(&mut self, before: &NodePlan, after: &NodePlan) {
        let NodePlan {
            node: _,
            identity,
            listeners: _,
            services: _,
            filters: _,
            admin,
            dns,
            acme,
            trust,
            federated,
        } = before;
        let touching = [
            ("identity", *identity != after.identity),
            ("trust policies", *trust != after.trust),
            ("acme", *acme != after.acme),
            ("federated trust domains", *federated != after.federated),
        ];
        // The names of DNS are those of all services.
        let others = [("admin listener", *admin != after.admin), ("dns", *dns != after.dns)];
        self.touching.extend(named(touching));
        self.others.extend(named(others));
    }

    /// Compares a listener without its chain. Each part is named, so that none is forgotten.
    fn listener(&mut self, old: &ListenerPlan, new: &ListenerPlan) {
        let ListenerPlan {
            name,
            address,
            tls,
            direction,
            chain: _,
            rules,
            tcp,
            captured,
            plaintext,
        } = old;
        let mut settings = settings(rules, &new.rules);
        settings.extend(named([
            ("address", *address != new.address),
            ("tls", *tls != new.tls),
            ("direction", *direction != new.direction),
            ("mtls", *plaintext != new.plaintext),
        ]));
        match (tcp, &new.tcp) {
            (Some(old), Some(new)) => settings.extend(connections(old, new)),
            (None, None) => {}
            _ => settings.push("protocol".to_owned()),
        }
        match (captured, &new.captured) {
            (Some(old), Some(new)) => {
                let (egress, addresses) = capture(old, new);
                settings.extend(egress.then(|| "egress".to_owned()));
                self.others
                    .extend(addresses.then(|| format!("listener {name}: captured addresses")));
            }
            (None, None) => {}
            _ => settings.push("capture".to_owned()),
        }
        self.touching.extend(settings.iter().map(|one| format!("listener {name}: {one}")));
    }
}

/// The settings of a listener that differ, as documents name them.
fn settings(old: &ListenerRulesPlan, new: &ListenerRulesPlan) -> Vec<String> {
    let ListenerRulesPlan {
        upgrades,
        reasons,
        grpc_web,
        interim_responses,
        empty_segments,
        escaped_slashes,
        parameters,
        escapes,
        client_address,
        hostname,
        elsewhere,
        proxy_protocol,
        http3,
    } = old;
    let rows = [
        ("upgrades", *upgrades != new.upgrades),
        ("reasons", *reasons != new.reasons),
        ("grpcWeb", *grpc_web != new.grpc_web),
        ("interimResponses", *interim_responses != new.interim_responses),
        ("paths.emptySegments", *empty_segments != new.empty_segments),
        ("paths.escapedSlashes", *escaped_slashes != new.escaped_slashes),
        ("paths.parameters", *parameters != new.parameters),
        ("paths.escapes", *escapes != new.escapes),
        ("clientAddress", *client_address != new.client_address),
        ("hostname", *hostname != new.hostname),
        ("hosts of the other listeners of its port", *elsewhere != new.elsewhere),
        ("proxyProtocol", *proxy_protocol != new.proxy_protocol),
        ("http3", *http3 != new.http3),
    ];
    named(rows).collect()
}

/// The settings that differ of a listener whose connections are carried unread.
fn connections(old: &TcpPlan, new: &TcpPlan) -> Vec<String> {
    let TcpPlan {
        service,
        asked,
        idle_timeout_ms,
        max_connections,
        proxy_header,
        routed,
        datagrams,
    } = old;
    let rows = [
        ("service", (service, asked) != (&new.service, &new.asked)),
        ("idleTimeout", *idle_timeout_ms != new.idle_timeout_ms),
        ("maxConnections", *max_connections != new.max_connections),
        ("proxyProtocol", *proxy_header != new.proxy_header),
        ("routes", (routed, datagrams) != (&new.routed, &new.datagrams)),
    ];
    named(rows).collect()
}

/// Whether the rule for captured connections differs, and whether the addresses of endpoints do.
fn capture(old: &CapturedPlan, new: &CapturedPlan) -> (bool, bool) {
    let CapturedPlan { destinations, others } = old;
    let egress = |one: &CapturedPlan| one.others.as_ref().map(|others| others.egress);
    let addresses = *destinations != new.destinations
        || others.as_ref().map(|one| &one.refused) != new.others.as_ref().map(|one| &one.refused);
    (egress(old) != egress(new), addresses)
}

fn named<const N: usize>(rows: [(&str, bool); N]) -> impl Iterator<Item = String> {
    rows.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned())
}

/// An upstream that differs, before and after.
type UpstreamPair<'a> = (&'a str, Option<&'a ServicePlan>, Option<&'a ServicePlan>);

/// The upstreams that are added, removed or changed. Most are shared in memory, in the same order.
fn upstreams<'a>(
    before: &'a NodePlan,
    after: &'a NodePlan,
) -> impl Iterator<Item = UpstreamPair<'a>> {
    let (old, new) = (&before.services, &after.services);
    let same = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| Arc::ptr_eq(a, b));
    let by_name = |all: &'a [Arc<ServicePlan>]| -> BTreeMap<&'a str, &'a ServicePlan> {
        all.iter().filter(|_| !same).map(|one| (one.name.as_str(), &**one)).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let pairs =
        names.into_iter().map(move |name| (name, old.get(name).copied(), new.get(name).copied()));
    pairs.filter(|(_, old, new)| old != new)
}

/// Whether an upstream had endpoints of which none is where it was.
fn has_moved(before: &[EndpointPlan], after: &[EndpointPlan]) -> bool {
    let there: BTreeSet<String> = after.iter().map(|one| place(&one.address)).collect();
    !before.is_empty() && !before.iter().any(|one| there.contains(&place(&one.address)))
}

fn place(address: &AddressPlan) -> String {
    match address {
        AddressPlan::Tcp(place) | AddressPlan::Dns(place) => place.clone(),
        AddressPlan::Unix(path) => format!("unix:{path}"),
    }
}

/// The rest of the name of an upstream that is the application of a sidecar.
fn local(name: &str) -> Option<&str> {
    name.strip_prefix("local/")
}

/// `namespace/name` of the service of an upstream.
fn service_of(upstream: &str) -> &str {
    let name = local(upstream).unwrap_or(upstream);
    name.rsplit_once(':').map_or(name, |(service, _)| service)
}

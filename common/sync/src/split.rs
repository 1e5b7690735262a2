//! Splits a plan into parts, and the next plan without building unchanged parts again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;
use tamis_resources::plan::{NodePlan, ServicePlan};

use crate::part::{Part, Parts};
use crate::shape::{
    Activation, LISTENER, ListenerPart, NODE, NodePart, TRUST, UPSTREAM, part, slot_part,
};
use crate::slots::{named, placed};

/// With fewer cached upstreams than this, a cleanup is not worthwhile.
const FEW: usize = 1_000;

/// Parts of upstreams, each built once for all plans that share the upstream in memory.
#[derive(Debug, Default)]
pub struct UpstreamParts {
    /// By address in memory, which is not reused while the upstream is held here.
    made: HashMap<usize, (Arc<ServicePlan>, Arc<Part>)>,
    /// Number of entries at which those that no plan uses any more are dropped.
    most: usize,
}

impl UpstreamParts {
    fn part(&mut self, service: &Arc<ServicePlan>) -> Option<Arc<Part>> {
        let place = Arc::as_ptr(service).addr();
        if let Some((_, part)) = self.made.get(&place) {
            return Some(Arc::clone(part));
        }
        if self.made.len() >= self.most.max(FEW) {
            self.made.retain(|_, (service, _)| Arc::strong_count(service) > 1);
            self.most = self.made.len().saturating_mul(2);
        }
        let part = Arc::new(part(format!("{UPSTREAM}{}", service.name), service.as_ref())?);
        self.made.insert(place, (Arc::clone(service), Arc::clone(&part)));
        Some(part)
    }
}

/// Splits a plan into parts. A slot without an activation contains its filter and no proof.
#[must_use]
pub fn split(plan: &NodePlan, activations: &BTreeMap<String, Activation>) -> Parts {
    let bare = |filter: &Arc<_>| Activation {
        filter: Arc::clone(filter),
        manifest: None,
        bundles: Vec::new(),
        envelopes: Vec::new(),
        logged: Vec::new(),
    };
    let placed = placed(plan).into_iter();
    let without = placed.filter(|(slot, _)| !activations.contains_key(slot));
    let without = without.filter_map(|(slot, filter)| slot_part(&slot, &bare(filter)));
    let with = activations.iter().filter_map(|(slot, activation)| slot_part(slot, activation));
    let slots: Vec<Arc<Part>> = without.chain(with).map(Arc::new).collect();
    split_again(None, &mut UpstreamParts::default(), plan, slots)
}

/// Splits a plan whose slots are split already. Parts equal to those in `before`, or in `upstreams`, are
/// shared in memory.
#[must_use]
pub fn split_again(
    before: Option<(&NodePlan, &Parts)>,
    upstreams: &mut UpstreamParts,
    plan: &NodePlan,
    slots: impl IntoIterator<Item = Arc<Part>>,
) -> Parts {
    let same = before.filter(|(old, _)| share(&old.services, &plan.services));
    let mut parts = match same {
        Some((_, parts)) => parts.clone(),
        None => plan.services.iter().filter_map(|service| upstreams.part(service)).collect(),
    };
    let mut others: BTreeMap<String, Arc<Part>> = BTreeMap::new();
    let own = own(plan).into_iter().map(Arc::new);
    for part in own.chain(slots) {
        others.insert(part.name.clone(), part);
    }
    let gone = parts.iter().filter(|part| !part.name.starts_with(UPSTREAM));
    let gone = gone.filter(|part| !others.contains_key(&part.name));
    let gone: Vec<String> = gone.map(|part| part.name.clone()).collect();
    gone.iter().for_each(|name| parts.remove(name));
    let known = before.map(|(_, parts)| parts);
    for (name, part) in others {
        let known = known.and_then(|known| known.get(&name));
        match known.filter(|known| known.version == part.version) {
            Some(known) if same.is_none() => parts.insert(Arc::clone(known)),
            Some(_) => {}
            None => parts.insert(part),
        }
    }
    parts
}

/// The parts of a plan other than upstreams and slots.
fn own(plan: &NodePlan) -> Vec<Part> {
    let mut parts = Vec::new();
    let node = NodePart {
        node: plan.node.clone(),
        identity: plan.identity.clone(),
        admin: plan.admin.clone(),
        dns: plan.dns.clone(),
        acme: plan.acme.clone(),
        federated: plan.federated.clone(),
    };
    parts.extend(part(NODE.to_owned(), &node));
    let named = named(plan);
    for listener in &plan.listeners {
        let chain = listener.chain.attachments.iter();
        let place = |at: &usize| named.get(&(listener.name.as_str(), *at)).cloned();
        let cut = ListenerPart {
            name: listener.name.clone(),
            address: listener.address.clone(),
            tls: listener.tls.clone(),
            direction: listener.direction,
            chain: chain.filter_map(place).collect(),
            rules: listener.rules.clone(),
            tcp: listener.tcp.clone(),
            captured: listener.captured.clone(),
            plaintext: listener.plaintext.clone(),
        };
        parts.extend(part(format!("{LISTENER}{}", listener.name), &cut));
    }
    for (at, policy) in plan.trust.iter().enumerate() {
        let name = policy.get("name").and_then(Value::as_str);
        let name = name.map_or_else(|| at.to_string(), str::to_owned);
        parts.push(Part::new(format!("{TRUST}{name}"), policy.clone()));
    }
    parts
}

/// Whether two lists share all their items in memory.
fn share<T>(one: &[Arc<T>], other: &[Arc<T>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan() -> NodePlan {
        let service = |name: &str| {
            json!({
                "name": name, "protocol": "http2",
                "endpoints": [{ "address": { "tcp": "10.0.0.1:80" }, "weight": 1, "tls": null }],
                "policy": {
                    "algorithm": "p2c", "connectTimeoutMs": 1, "idleTimeoutMs": 1, "maxConnections": 1,
                    "maxPending": 1, "maxRequests": null, "slowCallMs": 1, "statsWindowMs": 1,
                    "retryPercent": 1, "retryMinPerSecond": 1, "keepAliveMs": null,
                },
            })
        };
        let listener = |name: &str| {
            json!({
                "name": name, "address": { "tcp": "10.0.0.1:15006" }, "tls": null,
                "direction": "inbound", "chain": { "attachments": [0] },
            })
        };
        let filter = json!({
            "attachment": "shop/f", "filter": "acme/f", "version": "1.0.0", "digest": "",
            "phase": "authn", "order": 1, "config": { "a": 1 }, "onFailure": "closed",
            "isolation": "worker", "scope": null, "signedBy": null,
            "grant": {
                "imports": {}, "reads": [], "writes": [], "requestBody": false, "responseBody": false,
                "limits": { "timeUs": 1, "configureUs": 1, "memoryBytes": 1 },
            },
        });
        let plan = json!({
            "node": "sidecar:shop/a/0", "identity": "spiffe://shop.example/a", "admin": null,
            "listeners": [listener("inbound"), listener("outbound")], "filters": [filter],
            "services": [service("shop/a:80"), service("shop/b:80")],
            "trust": [{ "name": "security/all" }],
        });
        serde_json::from_value(plan).unwrap()
    }

    #[test]
    fn a_plan_cut_again_is_the_plan_cut_anew_and_keeps_in_memory_what_stays() {
        let mut upstreams = UpstreamParts::default();
        let cut = |before: Option<(&NodePlan, &Parts)>,
                   upstreams: &mut UpstreamParts,
                   plan: &NodePlan| {
            let whole = split(plan, &BTreeMap::new());
            let slots = whole.iter().filter(|part| part.name.starts_with("slot/")).cloned();
            let parts = split_again(before, upstreams, plan, slots);
            assert_eq!(parts, whole);
            parts
        };
        let old = plan();
        let before = cut(None, &mut upstreams, &old);
        let service = old.services.first().unwrap();
        let name = format!("upstream/{}", service.name);
        let mut moved = old.clone();
        moved.identity = Some("spiffe://other.example/a".to_owned());
        moved.listeners.pop();
        let after = cut(Some((&old, &before)), &mut upstreams, &moved);
        assert!(Arc::ptr_eq(before.get(&name).unwrap(), after.get(&name).unwrap()));
        // Of another proxy with the same upstream.
        let other = NodePlan { node: "sidecar:shop/b/0".to_owned(), ..old.clone() };
        let other = cut(None, &mut upstreams, &other);
        assert!(Arc::ptr_eq(before.get(&name).unwrap(), other.get(&name).unwrap()));
        let mut changed = old.clone();
        Arc::make_mut(&mut changed.services[0]).endpoints.clear();
        cut(Some((&old, &before)), &mut upstreams, &changed);
        changed.services.clear();
        assert!(cut(Some((&old, &before)), &mut upstreams, &changed).get(&name).is_none());
    }
}

//! The protection that a change takes away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tamis_resources::plan::NodePlan;
use tamis_resources::{
    NodeName, Resource, ServiceSpec, inbound_guards, lost_protection, unguarded_gateway,
};

use super::ChangeEffect;
use super::applications::place;
use crate::desired::DesiredState;
use crate::documents::DocumentInForce;

/// Endpoints that a text names.
const NAMED: usize = 3;

/// Endpoints that requests would reach without a sidecar, in words, by service.
#[derive(Debug, Default)]
pub(super) struct BareEndpoints(BTreeMap<String, String>);

impl BareEndpoints {
    /// Those of a change: endpoints that lose their sidecar, and those without one of services that had none such.
    pub(super) fn of(before: &DesiredState, after: &DesiredState) -> Self {
        let changed = after.documents.by_key.iter().filter_map(|(key, new)| {
            let old = before.documents.by_key.get(key).filter(|old| old.digest != new.digest)?;
            let service = key.strip_prefix("Service/")?;
            Some((service.to_owned(), bare(spec(old)?, spec(new)?)?))
        });
        Self(changed.collect())
    }
}

impl ChangeEffect {
    /// Adds the protection that a proxy loses.
    pub(super) fn protection(
        &mut self,
        node: &NodeName,
        (before, after): (&NodePlan, Option<&NodePlan>),
        (bare, gateways): (&BareEndpoints, &[Arc<NodePlan>]),
    ) {
        let gateways: Vec<&NodePlan> = gateways.iter().map(|plan| &**plan).collect();
        let lost = after.map(|after| lost_protection(before, after, &gateways));
        let mut lost = lost.unwrap_or_default();
        if let (NodeName::Sidecar { key, .. }, Some(endpoints)) = (node, bare.0.get(node.key())) {
            let words = |guard| {
                format!(
                    "{guard} no longer guards {endpoints} of Service {key}, which has no sidecar"
                )
            };
            lost.extend(inbound_guards(before).into_iter().map(words));
        }
        if !lost.is_empty() {
            self.unguarded.entry(node.key().to_owned()).or_default().append(&mut lost);
        }
    }

    /// Adds what a new gateway does not guard of the rules of others.
    pub(super) fn new_gateway(
        &mut self,
        node: &NodeName,
        others: &[Arc<NodePlan>],
        after: &NodePlan,
    ) {
        let others: Vec<&NodePlan> = others.iter().map(|plan| &**plan).collect();
        let mut lost = unguarded_gateway(&others, after);
        if !lost.is_empty() {
            self.unguarded.entry(node.key().to_owned()).or_default().append(&mut lost);
        }
    }
}

fn spec(held: &DocumentInForce) -> Option<&ServiceSpec> {
    match held.resource() {
        Resource::Service(spec) => Some(spec),
        _ => None,
    }
}

/// The endpoints without a sidecar that make a difference, in words.
fn bare(before: &ServiceSpec, after: &ServiceSpec) -> Option<String> {
    let without = |spec: &ServiceSpec| -> BTreeSet<String> {
        let bare = spec.endpoints.iter().filter(|one| one.sidecar.is_none());
        bare.map(|one| one.address.clone()).collect()
    };
    let had: BTreeSet<_> = before
        .endpoints
        .iter()
        .filter(|one| one.sidecar.is_some())
        .map(|one| place(one, &one.address))
        .collect();
    let known = without(before);
    let new = after.endpoints.iter().filter(|one| one.sidecar.is_none());
    let new = new.filter(|one| {
        let is_new = !known.contains(&one.address) && had.contains(&place(one, &one.address));
        known.is_empty() || is_new
    });
    let new: BTreeSet<String> = new.map(|one| one.address.clone()).collect();
    let more = new.len().saturating_sub(NAMED);
    let names: Vec<&str> = new.iter().take(NAMED).map(String::as_str).collect();
    let names = names.join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!new.is_empty()).then(|| format!("endpoint {names}{more}"))
}

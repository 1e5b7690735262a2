//! The slots of a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use tamis_resources::plan::{FilterPlan, NodePlan};

/// The ending of the slot name of a shadow. No name of an attachment or listener contains it.
pub const SHADOW: &str = "~shadow";

/// The filter in each slot of a proxy, by the name of the slot.
///
/// A slot is named after its attachment, `namespace/name`. Where an attachment differs between listeners,
/// as a router does for inbound and outbound traffic, every listener has a slot of its own:
/// `namespace/name/listener`. So a slot has one configuration, and its assignment one digest of it.
#[must_use]
pub fn placed(plan: &NodePlan) -> BTreeMap<String, &Arc<FilterPlan>> {
    let mut placed = BTreeMap::new();
    for ((_, at), name) in named(plan) {
        if let Some(filter) = plan.filters.get(at) {
            placed.entry(name).or_insert(filter);
        }
    }
    placed
}

/// The slot of each filter of a plan, in the order of its filters. Of a filter that has several, because another listener has
/// its attachment differently, it is the first.
#[must_use]
pub fn slots_of_filters(plan: &NodePlan) -> Vec<String> {
    let mut first: BTreeMap<usize, String> = BTreeMap::new();
    for ((_, at), name) in named(plan) {
        first.entry(at).or_insert(name);
    }
    let filters = plan.filters.iter().enumerate();
    filters.map(|(at, one)| first.remove(&at).unwrap_or_else(|| one.attachment.clone())).collect()
}

/// The slot of each place in a chain: of a listener and an index into the filters of the plan.
pub(crate) fn named(plan: &NodePlan) -> BTreeMap<(&str, usize), String> {
    type Places<'a> = Vec<(&'a str, usize, &'a Arc<FilterPlan>)>;
    let mut attachments: BTreeMap<&str, Places<'_>> = BTreeMap::new();
    for listener in &plan.listeners {
        for at in &listener.chain.attachments {
            if let Some(filter) = plan.filters.get(*at) {
                let places = attachments.entry(&filter.attachment).or_default();
                places.push((&listener.name, *at, filter));
            }
        }
    }
    let mut named = BTreeMap::new();
    for (attachment, places) in attachments {
        let first = places.first().map(|(_, _, filter)| *filter);
        let same = places.iter().all(|(_, _, filter)| {
            first.is_some_and(|first| Arc::ptr_eq(first, filter) || first == *filter)
        });
        for (listener, at, _) in places {
            let own = || format!("{attachment}/{listener}");
            named.insert((listener, at), if same { attachment.to_owned() } else { own() });
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_has_the_slot_of_its_attachment_or_that_of_the_first_of_its_listeners() {
        let filter = |name: &str, order: i32| {
            json!({
                "attachment": name, "filter": "acme/f", "version": "1.0.0", "digest": "",
                "phase": "authn", "order": order, "config": {}, "onFailure": "closed",
                "isolation": "worker", "scope": null, "signedBy": null,
                "grant": {
                    "imports": {}, "reads": [], "writes": [], "requestBody": false, "responseBody": false,
                    "limits": { "timeUs": 1, "configureUs": 1, "memoryBytes": 1 },
                },
            })
        };
        let listener = |name: &str, chain: &[usize]| {
            json!({
                "name": name, "address": { "tcp": "10.0.0.1:1" }, "tls": null,
                "direction": "inbound", "chain": { "attachments": chain },
            })
        };
        let plan: NodePlan = serde_json::from_value(json!({
            "node": "gateway:shop/edge", "identity": null, "admin": null, "trust": [], "services": [],
            "filters": [filter("shop/same", 1), filter("shop/f", 1), filter("shop/f", 2), filter("shop/idle", 1)],
            "listeners": [listener("a", &[0, 1]), listener("b", &[0, 2]), listener("c", &[0, 1])],
        }))
        .unwrap();
        let slots = slots_of_filters(&plan);
        assert_eq!(slots, ["shop/same", "shop/f/a", "shop/f/b", "shop/idle"]);
    }
}

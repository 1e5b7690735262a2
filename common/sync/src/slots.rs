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

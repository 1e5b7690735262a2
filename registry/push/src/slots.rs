//! The slots of a plan: what is assigned, piece by piece.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tamis_resources::plan::{FilterPlan, NodePlan};
use tamis_trust::{Digest, config_digest};

/// Ends the name of the slot of a shadow. No attachment and no listener has a name with it.
pub const SHADOW: &str = "~shadow";

/// A slot of a proxy, and what its plan wants in it.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotPlan {
    /// Its name, as assignments write it.
    pub slot: String,
    /// The filter in its place.
    pub filter: FilterPlan,
    /// The pinned digest; none when nothing may run.
    pub digest: Option<Digest>,
    /// Digest of the configuration, by [`config_digest`].
    pub config: Digest,
}

/// The slots of a proxy, by name.
///
/// A slot has the name of its attachment, `namespace/name`. Where an attachment is otherwise in each
/// listener, as a router is for inbound and outbound traffic, every listener has a slot of its own:
/// `namespace/name/listener`. So a slot has one configuration, and its assignment one digest of it.
#[must_use]
pub fn slots(plan: &NodePlan) -> BTreeMap<String, SlotPlan> {
    let mut slots = BTreeMap::new();
    for ((_, at), name) in named(plan) {
        if let Some(filter) = plan.filters.get(at) {
            slots.entry(name.clone()).or_insert_with(|| slot(name, filter));
        }
    }
    slots
}

/// The slot of each place in a chain: of a listener and an index into the filters of the plan.
pub(crate) fn named(plan: &NodePlan) -> BTreeMap<(&str, usize), String> {
    let mut attachments: BTreeMap<&str, Vec<(&str, usize, &FilterPlan)>> = BTreeMap::new();
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
        let same = places.iter().all(|(_, _, filter)| Some(*filter) == first);
        for (listener, at, _) in places {
            let own = || format!("{attachment}/{listener}");
            named.insert((listener, at), if same { attachment.to_owned() } else { own() });
        }
    }
    named
}

fn slot(name: String, filter: &FilterPlan) -> SlotPlan {
    let digest = filter.digest.parse().ok().filter(|_| filter.refused.is_none());
    SlotPlan { slot: name, filter: filter.clone(), digest, config: config_digest(&filter.config) }
}

impl SlotPlan {
    /// Why nothing may run in it, as a code.
    #[must_use]
    pub fn refused(&self) -> Option<&str> {
        self.filter.refused.as_ref().map(|refused| refused.code.as_str())
    }

    /// Where it stands and whom it is about.
    #[must_use]
    pub fn placement(&self) -> Value {
        json!([self.filter.phase, self.filter.order, self.filter.scope])
    }

    /// What it may do, and who must have signed it.
    #[must_use]
    pub fn grant(&self) -> Value {
        json!([self.filter.grant, self.filter.signed_by])
    }

    /// What its faults do.
    #[must_use]
    pub fn faults(&self) -> Value {
        json!([self.filter.on_failure, self.filter.isolation])
    }
}

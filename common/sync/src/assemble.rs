//! A plan assembled from its parts, where it is received.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use tamis_resources::plan::{ChainPlan, ListenerPlan, NodePlan, ServicePlan};
use thiserror::Error;

use crate::part::{Part, Parts};
use crate::shape::{Activation, LISTENER, ListenerPart, NODE, NodePart, SLOT, TRUST, UPSTREAM};
use crate::slots::SHADOW;

/// A plan assembled from its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct AssembledPlan {
    /// The plan; each of its filters belongs to one slot.
    pub plan: NodePlan,
    /// The slot of each filter of the plan, in the same order.
    pub slot_of_filter: Vec<String>,
    /// The activation of each slot, by slot; those of shadows are in `shadows`.
    pub slots: BTreeMap<String, Activation>,
    /// The candidates in shadows, by their own slots, whose names end with [`SHADOW`].
    pub shadows: BTreeMap<String, Activation>,
}

/// Parts that do not form a plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartsError {
    /// A part is missing that another names, or that every plan needs.
    #[error("part {0} is missing; reconnect, and everything is sent again")]
    Missing(String),
    /// A part does not have the form that its name requires.
    #[error("part {name} cannot be read: {why}")]
    Malformed {
        /// Its name.
        name: String,
        /// The fault, cut to 300 characters.
        why: String,
    },
}

/// Assembles a plan. Parts with other names are left to the caller.
///
/// # Errors
/// [`PartsError`].
pub fn assemble(parts: &Parts) -> Result<AssembledPlan, PartsError> {
    let node: NodePart = one(parts, NODE)?;
    let mut all: BTreeMap<String, Activation> = BTreeMap::new();
    for (slot, part) in below(parts, SLOT) {
        all.insert(slot.to_owned(), read(part)?);
    }
    let (mut slots, mut shadows) = (BTreeMap::new(), BTreeMap::new());
    for (slot, activation) in all {
        let all = if slot.ends_with(SHADOW) { &mut shadows } else { &mut slots };
        all.insert(slot, activation);
    }
    let slot_of_filter: Vec<String> = slots.keys().cloned().collect();
    let filters = slots.values().map(|one| Arc::clone(&one.filter)).collect();
    let mut listeners = Vec::new();
    for (_, part) in below(parts, LISTENER) {
        let listener: ListenerPart = read(part)?;
        let mut attachments = Vec::new();
        for slot in &listener.chain {
            let at = slot_of_filter.iter().position(|one| one == slot);
            attachments.push(at.ok_or_else(|| PartsError::Missing(format!("{SLOT}{slot}")))?);
        }
        listeners.push(ListenerPlan {
            name: listener.name,
            address: listener.address,
            tls: listener.tls,
            direction: listener.direction,
            chain: ChainPlan { attachments },
            rules: listener.rules,
            tcp: listener.tcp,
            captured: listener.captured,
            plaintext: listener.plaintext,
        });
    }
    let services = below(parts, UPSTREAM).map(|(_, part)| read::<ServicePlan>(part).map(Arc::new));
    let plan = NodePlan {
        node: node.node,
        identity: node.identity,
        listeners,
        services: services.collect::<Result<_, _>>()?,
        filters,
        admin: node.admin,
        dns: node.dns,
        acme: node.acme,
        federated: node.federated,
        trust: below(parts, TRUST).map(|(_, part)| part.body.clone()).collect(),
    };
    Ok(AssembledPlan { plan, slot_of_filter, slots, shadows })
}

fn below<'a>(parts: &'a Parts, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Part)> {
    parts.iter().filter_map(move |part| Some((part.name.strip_prefix(prefix)?, part.as_ref())))
}

fn one<T: for<'de> Deserialize<'de>>(parts: &Parts, name: &str) -> Result<T, PartsError> {
    read(parts.get(name).ok_or_else(|| PartsError::Missing(name.to_owned()))?)
}

fn read<T: for<'de> Deserialize<'de>>(part: &Part) -> Result<T, PartsError> {
    T::deserialize(&part.body).map_err(|error| PartsError::Malformed {
        name: part.name.clone(),
        why: error.to_string().chars().take(300).collect(),
    })
}

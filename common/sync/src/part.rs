//! A plan in parts, as it is sent.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tamis_resources::plan::{
    AddressPlan, ChainPlan, FilterPlan, ListenerPlan, ListenerRulesPlan, NodePlan, ServicePlan,
    TlsPlan, TrafficDirection,
};
use tamis_trust::{Digest, config_digest};
use thiserror::Error;

use crate::slots::SHADOW;

pub(crate) const NODE: &str = "node";
pub(crate) const LISTENER: &str = "listener/";
pub(crate) const UPSTREAM: &str = "upstream/";
pub(crate) const SLOT: &str = "slot/";
pub(crate) const TRUST: &str = "trust/";

/// A named, versioned part of a proxy's plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name: `node`, `listener/NAME`, `upstream/NAME`, `slot/SLOT`, `trust/NAME`, or one of the caller's.
    pub name: String,
    /// [`config_digest`] of `body`.
    pub version: Digest,
    /// Its content.
    pub body: Value,
}

impl Part {
    /// A part with the version of its body.
    #[must_use]
    pub fn new(name: String, body: Value) -> Self {
        Self { name, version: config_digest(&body), body }
    }

    /// Whether its version matches its body.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.version == config_digest(&self.body)
    }
}

/// All parts of a proxy, by name. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts(Arc<BTreeMap<Arc<str>, Arc<Part>>>);

impl Parts {
    /// Adds a part, replacing one of the same name.
    pub fn insert(&mut self, part: impl Into<Arc<Part>>) {
        let part = part.into();
        let all = Arc::make_mut(&mut self.0);
        match all.get_mut(part.name.as_str()) {
            Some(there) => *there = part,
            None => drop(all.insert(part.name.as_str().into(), part)),
        }
    }

    /// Removes a part.
    pub fn remove(&mut self, name: &str) {
        Arc::make_mut(&mut self.0).remove(name);
    }

    /// The part with a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Part>> {
        self.0.get(name)
    }

    /// All parts, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Part>> {
        self.0.values()
    }

    /// Their number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no parts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The version of each part.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, Digest> {
        self.iter().map(|part| (part.name.clone(), part.version)).collect()
    }

    /// The parts that are new or changed since `before`, and the names of those removed. Parts shared in
    /// memory are not compared.
    pub(crate) fn since(&self, before: &Self) -> (Vec<Arc<Part>>, Vec<String>) {
        let (mut upserts, mut removes) = (Vec::new(), Vec::new());
        if Arc::ptr_eq(&self.0, &before.0) {
            return (upserts, removes);
        }
        let (mut new, mut old) = (self.iter().peekable(), before.iter().peekable());
        loop {
            let order = match (new.peek(), old.peek()) {
                (None, None) => return (upserts, removes),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(new), Some(old)) if Arc::ptr_eq(new, old) => Ordering::Equal,
                (Some(new), Some(old)) => new.name.cmp(&old.name),
            };
            let new = if order.is_le() { new.next() } else { None };
            let old = if order.is_ge() { old.next() } else { None };
            match (new, old) {
                (Some(new), Some(old)) if Arc::ptr_eq(new, old) || new.version == old.version => {}
                (Some(new), _) => upserts.push(Arc::clone(new)),
                (None, Some(old)) => removes.push(old.name.clone()),
                (None, None) => {}
            }
        }
    }
}

impl<T: Into<Arc<Part>>> FromIterator<T> for Parts {
    fn from_iter<I: IntoIterator<Item = T>>(parts: I) -> Self {
        let mut all = Self::default();
        parts.into_iter().for_each(|part| all.insert(part));
        all
    }
}

/// Everything that configures and proves one slot, except the component itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Activation {
    /// The filter and its configuration; its digest is the assigned one.
    pub filter: Arc<FilterPlan>,
    /// The manifest, byte for byte; `None` when nothing may run or the manifest is not available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Signatures of authors, each a Sigstore bundle on one line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<String>,
    /// The director's signatures over the assignment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub envelopes: Vec<String>,
    /// Where the log recorded each bundle, according to the director.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logged: Vec<Option<u64>>,
}

/// The plan of a proxy without its listeners, upstreams and slots.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NodePart {
    pub(crate) node: String,
    pub(crate) identity: Option<String>,
    pub(crate) admin: Option<String>,
}

/// A listener whose chain is a list of slots in order.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListenerPart {
    pub(crate) name: String,
    pub(crate) address: AddressPlan,
    pub(crate) tls: Option<TlsPlan>,
    pub(crate) direction: TrafficDirection,
    pub(crate) chain: Vec<String>,
    /// Omitted at its default, so that an older proxy can read the part.
    #[serde(default, skip_serializing_if = "says_nothing")]
    pub(crate) rules: ListenerRulesPlan,
}

fn says_nothing(rules: &ListenerRulesPlan) -> bool {
    *rules == ListenerRulesPlan::default()
}

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
        trust: below(parts, TRUST).map(|(_, part)| part.body.clone()).collect(),
    };
    Ok(AssembledPlan { plan, slot_of_filter, slots, shadows })
}

fn below<'a>(parts: &'a Parts, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Part)> {
    let all = parts.0.iter();
    all.filter_map(move |(name, part)| Some((name.strip_prefix(prefix)?, part.as_ref())))
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
